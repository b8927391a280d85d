"""TensorProto <-> numpy, with the rules of a TensorFlow Serving process and without tensorflow.

Source of the rules: the parser of TensorFlow itself (a `Tensor` built from a `TensorProto`), which differs from
`tf.make_ndarray` in three ways that clients meet: too few typed values repeat the last one, too many are dropped,
and narrow integers wrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfserving.wire.messages_pb2 import TensorProto, TensorShapeProto

Array = NDArray[Any]

MAX_RANK = 254
"""TensorFlow's limit on the number of dimensions."""

_LARGEST_COUNT = (1 << 63) - 1
_MAX_ELEMENTS = 1 << 40
MOST_FILLED = 1 << 22
"""Elements that a few bytes of a client may turn into."""


class TensorError(ValueError):
    """A TensorProto that TensorFlow would refuse to parse, or an array that has no TensorProto form."""


class TooManyFilled(TensorError):
    """A large tensor of few values."""


@dataclass(frozen=True, slots=True)
class DType:
    """One element type: its number on the wire, TensorFlow's name, the numpy type and the typed field.

    `storage` is the little-endian numpy type whose bytes are the tensor's bytes. Types that numpy lacks (bfloat16,
    float8, int4 …) are stored as unsigned integers with the same bits.
    """

    number: int
    name: str
    storage: np.dtype[Any]
    field: str


def _table() -> dict[int, DType]:
    rows = """
    1 float <f4 float_val        | 2 double <f8 double_val      | 3 int32 <i4 int_val        | 4 uint8 u1 int_val
    5 int16 <i2 int_val          | 6 int8 i1 int_val            | 7 string O string_val
    8 complex64 <c8 scomplex_val
    9 int64 <i8 int64_val        | 10 bool ?  bool_val          | 11 qint8 i1 int_val        | 12 quint8 u1 int_val
    13 qint32 <i4 int_val        | 14 bfloat16 <u2 half_val     | 15 qint16 <i2 int_val      | 16 quint16 <u2 int_val
    17 uint16 <u2 int_val        | 18 complex128 <c16 dcomplex_val | 19 half <f2 half_val    | 22 uint32 <u4 uint32_val
    23 uint64 <u8 uint64_val     | 24 float8_e5m2 u1 float8_val | 25 float8_e4m3fn u1 float8_val
    26 float8_e4m3fnuz u1 float8_val | 27 float8_e4m3b11fnuz u1 float8_val | 28 float8_e5m2fnuz u1 float8_val
    29 int4 i1 int_val           | 30 uint4 u1 int_val          | 31 int2 i1 int_val         | 32 uint2 u1 int_val
    """
    table = {}
    for cell in rows.replace("\n", "|").split("|"):
        if cell.strip():
            number, name, storage, field = cell.split()
            table[int(number)] = DType(int(number), name, np.dtype(storage), field)
    return table


DTYPES: dict[int, DType] = _table()
"""Element types by their number in `TensorProto.dtype`."""

BY_NAME: dict[str, DType] = {d.name: d for d in DTYPES.values()}
"""Element types by TensorFlow's name ("float", "half") and by numpy's where it differs ("float32", "float16")."""
BY_NAME |= {"float32": BY_NAME["float"], "float64": BY_NAME["double"], "float16": BY_NAME["half"]}

_EXTENSION_TYPES = frozenset(DTYPES[n].name for n in (14, *range(24, 33)))
"""Types that numpy knows only by an extension (ml_dtypes), by name."""

_NO_NUMPY_FORM = frozenset(DTYPES[n].name for n in (11, 12, 13, 15, 16, *range(24, 29)))
"""Quantized numbers, which mean nothing without their scale, and floats of 8 bits."""

_BY_NUMPY: dict[np.dtype[Any], DType] = {
    DTYPES[n].storage.newbyteorder("="): DTYPES[n] for n in (1, 2, 3, 4, 5, 6, 8, 9, 10, 17, 18, 19, 22, 23)
}


def dtype_of(array: Array) -> DType:
    """The element type that an array travels as; text and objects travel as strings.

    Errors: TensorError for a numpy type without counterpart (datetime64, float128 …).
    """
    known = _BY_NUMPY.get(array.dtype)
    if known is not None:
        return known
    if array.dtype.kind in "OSUT":
        return BY_NAME["string"]
    if array.dtype.name in _EXTENSION_TYPES:
        return BY_NAME[array.dtype.name]
    native = _BY_NUMPY.get(array.dtype.newbyteorder("="))
    if native is None:
        raise TensorError(f"numpy type {array.dtype} has no TensorFlow counterpart")
    return native


def shape_of(proto: TensorShapeProto) -> tuple[int, ...]:
    """Dimensions of a complete shape. Errors: TensorError for unknown (-1) sizes and for more than 254 dimensions."""
    dims = tuple([d.size for d in proto.dim])
    if len(dims) > MAX_RANK or (dims and min(dims) < 0):
        raise TensorError(f"shape {dims[:8]} is not a complete tensor shape")
    return dims


def to_array(proto: TensorProto) -> Array:
    """Decode one tensor into a read-only or fresh numpy array of its `DType.storage`; strings become objects (bytes).

    Both forms are accepted, `tensor_content` wins. Typed values: the last one fills what is missing, zero when there
    is none; surplus ones are dropped; integers keep their low bits.
    Errors: TensorError for what TensorFlow refuses with "tensor parsing error".
    """
    _, values, shape = to_flat(proto)
    try:
        return values.reshape(shape)
    except ValueError as error:
        raise TensorError(f"{len(shape)} dimensions are more than numpy holds") from error


def to_values(proto: TensorProto) -> Array:
    """As `to_array`, in a numpy type that holds the values: bfloat16 becomes float32, which loses nothing.

    Errors: also TensorError for a type whose values numpy cannot hold, by its name.
    """
    dtype = DTYPES.get(proto.dtype)
    if dtype is not None and dtype.name in _NO_NUMPY_FORM:
        raise TensorError(f"values of type {dtype.name} have no numpy form; cast them to float32 in the model")
    return values_of(to_array(proto), dtype) if dtype is not None else to_array(proto)


def values_of(stored: Array, dtype: DType) -> Array:
    """Values of an array of `dtype.storage`: bfloat16 widened to float32, all else as it is."""
    if dtype.name != "bfloat16":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def to_flat(proto: TensorProto, most_filled: int = MOST_FILLED) -> tuple[DType, Array, tuple[int, ...]]:
    """Element type, values in row-major order and shape of one tensor, see `to_array`.

    Errors: TensorError, and TooManyFilled for more than `most_filled` elements of which some were not sent.
    """
    dtype = DTYPES.get(proto.dtype)
    if dtype is None:
        raise TensorError(f"dtype {proto.dtype} cannot be decoded")
    shape = shape_of(proto.tensor_shape)
    count = 1
    for size in shape:
        count *= size
        if count > _LARGEST_COUNT:
            raise TensorError(f"shape {shape[:8]} has more elements than 64 bits count")
    if count > _MAX_ELEMENTS:
        raise TensorError(f"shape {shape} has too many elements")
    if proto.tensor_content and count:  # of a tensor without elements nothing is looked at
        return dtype, _from_content(dtype, proto.tensor_content, shape, count), shape
    return dtype, _fill(_typed_values(dtype, proto), dtype, count, most_filled), shape


def _from_content(dtype: DType, content: bytes, shape: tuple[int, ...], count: int) -> Array:
    if dtype.name == "string":
        return _strings_from_content(content, count)
    if len(content) != count * dtype.storage.itemsize:
        need = count * dtype.storage.itemsize
        raise TensorError(f"tensor_content has {len(content)} bytes; shape {shape} of {dtype.name} needs {need}")
    if dtype.name == "bool" and content.translate(None, b"\x00\x01"):
        raise TensorError("bool tensor_content with bytes other than 0 and 1")
    return np.frombuffer(content, dtype.storage)


def _strings_from_content(content: bytes, count: int) -> Array:
    """TensorFlow's own coding: all lengths as varints, then the bytes back to back."""
    lengths, at = [], 0
    for _ in range(count):
        value = shift = 0
        while True:
            if at >= len(content) or shift > 63:
                raise TensorError("tensor_content of a string tensor ends early")
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(value)
    if at + sum(lengths) != len(content):
        raise TensorError("tensor_content of a string tensor does not match its lengths")
    out = np.empty(count, object)
    for i, length in enumerate(lengths):
        out[i] = content[at : at + length]
        at += length
    return out


def _typed_values(dtype: DType, proto: TensorProto) -> Array:
    field, storage = dtype.field, dtype.storage
    if field == "float8_val":
        return np.frombuffer(proto.float8_val, np.uint8)
    values = getattr(proto, field)[:]  # numpy reads a list twice as fast as protobuf's container
    if field == "string_val":
        out = np.empty(len(values), object)
        out[:] = values
        return out
    if field == "half_val":
        return np.array(values, np.int32).astype(np.uint16).view(storage)
    if field in ("scomplex_val", "dcomplex_val"):
        return np.array(values[: len(values) & ~1], np.dtype(f"<f{storage.itemsize // 2}")).view(storage)
    if field == "int_val" and storage.itemsize < 4:
        return _wrap(np.array(values, np.int32), dtype)
    return np.array(values, storage)


def _wrap(values: NDArray[np.int32], dtype: DType) -> Array:
    if dtype.name in ("int4", "int2"):
        bits = 4 if dtype.name == "int4" else 2
        low = values & ((1 << bits) - 1)
        return (low - ((low >> (bits - 1)) << bits)).astype(dtype.storage)
    if dtype.name in ("uint4", "uint2"):
        return (values & (15 if dtype.name == "uint4" else 3)).astype(dtype.storage)
    return values.astype(dtype.storage)


def _fill(values: Array, dtype: DType, count: int, most: int) -> Array:
    have = len(values)
    if have >= count:
        return values[:count]
    if count > most:
        raise TooManyFilled(f"{count} elements from {have} values; so many are not allocated")
    out = np.empty(count, dtype.storage)
    out[:have] = values
    out[have:] = values[-1] if have else (b"" if dtype.name == "string" else 0)
    return out


def to_bytes(array: Array) -> bytes:
    """`to_proto(array).SerializeToString()`; numbers go without the message, which is cheaper."""
    dtype = _BY_NUMPY.get(array.dtype)
    if dtype is None or array.dtype != dtype.storage:  # text, types that numpy lacks, foreign byte order
        return to_proto(array).SerializeToString()
    content = array.tobytes()
    head = _head(dtype.number, array.shape)
    return head + delimited(4, content) if content else head


def content_bytes(dtype: DType, shape: tuple[int, ...], content: bytes) -> bytes:
    """A serialized TensorProto with this `tensor_content`, whose length the caller has checked."""
    head = _head(dtype.number, shape)
    return head + delimited(4, content) if content else head


def to_typed_bytes(array: Array, dtype: DType, shape: tuple[int, ...]) -> bytes:
    """`to_proto(array, typed=True, dtype=dtype).SerializeToString()` with this shape, written even for a scalar.

    So the real server responds. A packed field of floats is their little-endian bytes, so these go without the message.
    """
    field = _PACKED_FLOATS.get(dtype.number)
    if field is None or array.dtype != dtype.storage:
        proto = to_proto(array, typed=True, dtype=dtype)
        set_shape(proto, shape)
        return proto.SerializeToString()
    content = array.tobytes()
    head = _head(dtype.number, shape) if shape else _SCALAR_HEAD % dtype.number
    return head + delimited(field, content) if content else head


_PACKED_FLOATS = {1: 5, 2: 6}
"""Number of the field of float and double in a TensorProto."""
_SCALAR_HEAD = b"\x08%c\x12\x00"
"""dtype, and a shape without dimensions."""


@lru_cache(maxsize=1024)
def _head(number: int, shape: tuple[int, ...]) -> bytes:
    proto = TensorProto(dtype=number)  # type: ignore[arg-type]
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto.SerializeToString()


def set_shape(proto: TensorProto, shape: tuple[int, ...]) -> None:
    """Replace the shape of a message; also a scalar's, which is empty, is written."""
    proto.tensor_shape.CopyFrom(TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape]))


def delimited(field: int, content: bytes) -> bytes:
    """A field of text, bytes or a message as protobuf writes it; field numbers up to 15."""
    tag, size = field << 3 | 2, len(content)
    if size < 128:
        return bytes((tag, size)) + content
    head = bytearray((tag,))
    while size >= 128:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + content


def to_proto(array: Array, *, typed: bool = False, dtype: DType | None = None) -> TensorProto:
    """Encode an array of any shape.

    Numbers travel as `tensor_content` (fast) or, with `typed`, in the typed field as TensorFlow Serving itself
    answers. Text is encoded as UTF-8. `dtype` names the element type where numpy lacks it and the array holds its bits.
    Errors: TensorError for an element type or an object that cannot travel.
    """
    dtype = dtype or dtype_of(array)
    proto = TensorProto(dtype=dtype.number)  # type: ignore[arg-type]
    dims = proto.tensor_shape.dim
    for size in array.shape:
        dims.add().size = size
    if dtype.name == "string":
        proto.string_val.extend([_to_bytes(v) for v in array.ravel().tolist()])
        return proto
    storage = dtype.storage
    if array.dtype != storage:
        same_bits = array.dtype.itemsize == storage.itemsize and array.dtype.kind not in "biufc"
        array = np.ascontiguousarray(array).view(storage) if same_bits else array.astype(storage)
    if not typed:
        proto.tensor_content = array.tobytes()
        return proto
    flat = np.ascontiguousarray(array).reshape(-1)
    if dtype.field == "float8_val":
        proto.float8_val = flat.tobytes()
    elif dtype.field == "half_val":
        proto.half_val.extend(flat.view(np.uint16).tolist())
    elif dtype.field in ("scomplex_val", "dcomplex_val"):
        getattr(proto, dtype.field).extend(flat.view(np.dtype(f"<f{storage.itemsize // 2}")).tolist())
    else:
        getattr(proto, dtype.field).extend(flat.tolist())
    return proto


def _to_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TensorError(f"a string tensor holds text or bytes, not {type(value).__name__}")
