"""A `model.tflite` as bytes: the signatures that TensorFlow Serving reads from it, and how they are written there.

TensorFlow Serving does not read the signatures that the converter writes. It reads the metadata entry
`signature_defs_metadata`: a FlexBuffer map from the name of a signature to its SignatureDef as a string. The names of
the tensors in it are those of the flat buffer. A model without the entry gets a signature of its tensors' names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from tfserving.wire import messages_pb2 as m

MODEL_FILE = "model.tflite"
"""The name of the file in a version directory."""

METADATA = "signature_defs_metadata"
IDENTIFIER = b"TFL3"
_VERSION, _SUBGRAPHS, _BUFFERS, _METADATA, _SIGNATURES, _FIELDS = 0, 2, 4, 6, 7, 8
"""Fields of the table Model, counted from 0, and how many it has."""
_MAP, _STRING = 9, 5
"""Types of a FlexBuffer."""


class TfLiteError(ValueError):
    """Bytes that are not a model, or whose signatures cannot be read."""


def read_signatures(content: bytes) -> dict[str, m.SignatureDef]:
    """The signatures in the metadata by name; empty without the entry. Errors: TfLiteError."""
    if content[4:8] != IDENTIFIER:
        raise TfLiteError("it does not begin as a TFLite model")
    try:
        model = _Table(content, _offset(content, 0))
        for entry in model.tables(_METADATA):
            if entry.text(0) == METADATA.encode():
                buffer = model.table(_BUFFERS, entry.number(1))
                return {name.decode(): m.SignatureDef.FromString(text) for name, text in _entries(buffer.data(0))}
    except (struct.error, IndexError, DecodeError, UnicodeDecodeError, OverflowError) as error:
        raise TfLiteError(f"its signatures cannot be read: {error}") from error
    return {}


@dataclass(frozen=True, kw_only=True)
class Names:
    """The tensors of a converted signature: the name in the flat buffer by the name in the signature."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def converted_names(content: bytes) -> dict[str, Names]:
    """What the converter wrote about each signature. Errors: TfLiteError."""
    try:
        model = _Table(content, _offset(content, 0))
        found = {}
        for signature in model.tables(_SIGNATURES):
            graph = model.table(_SUBGRAPHS, signature.number(4))
            inputs, outputs = (
                {one.text(0).decode(): graph.table(0, one.number(1)).text(3).decode() for one in signature.tables(kind)}
                for kind in (0, 1)
            )
            found[signature.text(2).decode()] = Names(inputs=inputs, outputs=outputs)
        return found
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise TfLiteError(f"its signatures cannot be read: {error}") from error


def with_signatures(content: bytes, signatures: Mapping[str, m.SignatureDef]) -> bytes:
    """The model with the metadata entry, which it must not have yet.

    Offsets only point forward, so a new root goes in front of the old content. That moves by whole units of 16 bytes
    and stays as it is: the weights keep their alignment.
    """
    model = _Table(content, _offset(content, 0))
    head = _Head()
    buffers = [table.at for table in model.tables(_BUFFERS)]
    entries = [table.at for table in model.tables(_METADATA)]
    fields = {number: model.target(number) for number in range(1, _FIELDS) if model.has(number)}
    fields |= {_BUFFERS: head.later(), _METADATA: head.later()}
    head.root(model.number(_VERSION), fields)
    buffer, entry, data = head.later(), head.later(), head.later()
    head.vector(fields[_BUFFERS], [*buffers, buffer])
    head.vector(fields[_METADATA], [*entries, entry])
    head.table(buffer, data)
    head.named(entry, METADATA.encode(), len(buffers))
    head.data(data, write_signatures(signatures))
    return head.before(content)


class _Head:
    """What is put in front of a flat buffer. A place in the old content is its offset there; a new one is negative."""

    def __init__(self) -> None:
        self._out = bytearray(b"\0" * 4 + IDENTIFIER)
        self._known: dict[int, int] = {}
        self._open: list[tuple[int, int]] = []

    def later(self) -> int:
        """A new place, to be filled."""
        self._known[-len(self._known) - 1] = 0
        return -len(self._known)

    def _here(self, place: int) -> None:
        self._out += b"\0" * (-len(self._out) % 4)
        self._known[place] = len(self._out)

    def _point(self, place: int) -> None:
        self._open.append((len(self._out), place))
        self._out += b"\0" * 4

    def _table(self, place: int, fields: int) -> None:
        """The vtable of a table whose first `fields` fields all have 4 bytes, and the start of the table."""
        size = 4 + 2 * fields
        self._out += b"\0" * ((-len(self._out) - size) % 4)
        self._out += struct.pack(f"<HH{fields}H", size, 4 + 4 * fields, *(4 + 4 * i for i in range(fields)))
        self._here(place)
        self._out += struct.pack("<i", size)

    def root(self, version: int, fields: Mapping[int, int]) -> None:
        """The table Model. Fields that it does not have are left out."""
        size = 4 + 2 * _FIELDS
        offsets, at = [4], 8
        for number in range(1, _FIELDS):
            offsets.append(at if number in fields else 0)
            at += 4 if number in fields else 0
        self._out += struct.pack(f"<HH{_FIELDS}H", size, at, *offsets)
        start = len(self._out)
        self._out[:4] = struct.pack("<I", start)
        self._out += struct.pack("<iI", size, version)
        for number in sorted(fields):
            self._point(fields[number])

    def table(self, place: int, data: int) -> None:
        """A table Buffer."""
        self._table(place, 1)
        self._point(data)

    def named(self, place: int, name: bytes, buffer: int) -> None:
        """A table Metadata."""
        self._table(place, 2)
        text = self.later()
        self._point(text)
        self._out += struct.pack("<I", buffer)
        self.data(text, name)
        self._out += b"\0"

    def vector(self, place: int, tables: Sequence[int]) -> None:
        """A vector of tables."""
        self._here(place)
        self._out += struct.pack("<I", len(tables))
        for table in tables:
            self._point(table)

    def data(self, place: int, content: bytes) -> None:
        """A vector of bytes, or a string without its last NUL."""
        self._here(place)
        self._out += struct.pack("<I", len(content)) + content

    def before(self, content: bytes) -> bytes:
        """The whole file."""
        self._out += b"\0" * (-len(self._out) % 16)
        size = len(self._out)
        for at, place in self._open:
            struct.pack_into("<I", self._out, at, (self._known[place] if place < 0 else size + place) - at)
        return bytes(self._out) + content


def write_signatures(signatures: Mapping[str, m.SignatureDef]) -> bytes:
    """The content of the metadata entry: a FlexBuffer."""
    texts = {name: signatures[name].SerializeToString(deterministic=True) for name in sorted(signatures)}
    out = bytearray()
    keys, values = [], []
    for name, text in texts.items():
        keys.append(len(out))
        out += name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + struct.pack("<I", len(text))
        values.append(len(out))
        out += text + b"\0"
    out += b"\0" * (-len(out) % 4) + struct.pack("<I", len(keys))
    at_keys = len(out)
    out += b"".join(struct.pack("<I", at_keys + 4 * i - key) for i, key in enumerate(keys))
    out += struct.pack("<III", len(out) - at_keys, 4, len(values))
    at_values = len(out)
    out += b"".join(struct.pack("<I", at_values + 4 * i - value) for i, value in enumerate(values))
    out += bytes([_STRING << 2 | 2]) * len(values)
    # The root: the distance back to the map, the map's type with elements of 4 bytes, and the width of this distance.
    out += b"\0" * (-len(out) % 4)
    out += struct.pack("<I", len(out) - at_values) + bytes([_MAP << 2 | 2, 4])
    return bytes(out)


class _Table:
    """A table of a flat buffer."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self.at = at

    def _field(self, number: int) -> int:
        """Where a field is; 0 when the table does not have it."""
        table = self.at - struct.unpack_from("<i", self._content, self.at)[0]
        entry = 4 + 2 * number
        if table < 0 or entry >= struct.unpack_from("<H", self._content, table)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self._content, table + entry)[0]
        return self.at + offset if offset else 0

    def has(self, number: int) -> bool:
        """Whether the table has a field."""
        return bool(self._field(number))

    def target(self, number: int) -> int:
        """Where what a field points to begins."""
        field = self._field(number)
        return field + _offset(self._content, field)

    def _vector(self, number: int) -> tuple[int, int]:
        """Where the elements of a vector begin, and how many they are."""
        field = self._field(number)
        if not field:
            return 0, 0
        start = field + _offset(self._content, field)
        return start + 4, _offset(self._content, start)

    def tables(self, number: int) -> Iterator[_Table]:
        """The tables of a vector."""
        start, count = self._vector(number)
        for index in range(min(count, len(self._content))):
            at = start + 4 * index
            yield _Table(self._content, at + _offset(self._content, at))

    def table(self, number: int, index: int) -> _Table:
        """One table of a vector. Errors: IndexError."""
        start, count = self._vector(number)
        if index >= count:
            raise IndexError(f"there is no element {index}")
        at = start + 4 * index
        return _Table(self._content, at + _offset(self._content, at))

    def number(self, number: int) -> int:
        """A number without sign, 0 when it is left out."""
        field = self._field(number)
        return _offset(self._content, field) if field else 0

    def data(self, number: int) -> bytes:
        """A vector of bytes."""
        start, count = self._vector(number)
        return self._content[start : start + count]

    text = data


def _entries(flexbuffer: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and strings of a FlexBuffer that is a map."""
    width, kind = flexbuffer[-1], flexbuffer[-2]
    if kind >> 2 != _MAP:
        raise TfLiteError("its signatures cannot be read: the metadata is not a map")
    end = len(flexbuffer) - 2 - width
    start, wide = end - _int(flexbuffer, end, width), 1 << (kind & 3)
    count = _int(flexbuffer, start - wide, wide)
    at_keys = start - 3 * wide
    keys, key_width = at_keys - _int(flexbuffer, at_keys, wide), _int(flexbuffer, start - 2 * wide, wide)
    for index in range(min(count, len(flexbuffer))):
        at = keys + index * key_width
        key = at - _int(flexbuffer, at, key_width)
        at, kind = start + index * wide, flexbuffer[start + count * wide + index]
        text = at - _int(flexbuffer, at, wide)
        if kind >> 2 != _STRING or min(key, text) < 0:
            raise TfLiteError("its signatures cannot be read: the metadata holds something else than strings")
        length = _int(flexbuffer, text - (1 << (kind & 3)), 1 << (kind & 3))
        yield flexbuffer[key : flexbuffer.find(b"\0", key)], flexbuffer[text : text + length]


def _int(content: bytes, at: int, width: int) -> int:
    if at < 0 or at + width > len(content):
        raise IndexError(f"offset {at} is outside of the buffer")
    return int.from_bytes(content[at : at + width], "little")


def _offset(content: bytes, at: int) -> int:
    return _int(content, at, 4)
