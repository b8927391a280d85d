"""Element types of the Open Inference Protocol, and tensors in its two forms: JSON values and bytes.

Bytes are little-endian and row-major; an element of BYTES is four bytes of length and its content, a BOOL one byte of
0 or 1. JSON values may be nested as the shape is or flat. FP16 and BF16 have a JSON form here: their values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from struct import pack, unpack_from
from typing import Final

import numpy as np

from tfserving.wire.tensors import BY_NAME, DTYPES, MAX_RANK, Array, DType, content_bytes, to_proto, values_of

MOST_ELEMENTS: Final = 1 << 40
_NAMES: Final = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "half", "BF16": "bfloat16", "FP32": "float",
    "FP64": "double", "BYTES": "string",
}  # fmt: skip

DATATYPES: Final = {name: BY_NAME[tensorflow] for name, tensorflow in _NAMES.items()}
"""Element types by the protocol's name."""
_BY_NUMBER: Final = {dtype.number: name for name, dtype in DATATYPES.items()}

_LENGTH: Final = 4
"""Bytes of the length before each element of BYTES."""


class TensorProblem(ValueError):
    """A tensor that is not what it says it is; the message has no name of it."""


def datatype_of(number: int) -> str | None:
    """The protocol's name for a number of `TensorProto.dtype`; None for types that it does not know (complex64 …)."""
    return _BY_NUMBER.get(number)


def name_of(number: int) -> str:
    """A name for any number of `TensorProto.dtype`: the protocol's, else TensorFlow's."""
    dtype = DTYPES.get(number)
    return _BY_NUMBER.get(number) or (dtype.name if dtype is not None else f"type {number}")


def dtype_named(name: object) -> DType:
    """The element type by the protocol's name. Errors: TensorProblem."""
    dtype = DATATYPES.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise TensorProblem(f"datatype: expected one of {', '.join(DATATYPES)}, got '{str(name)[:40]}'")
    return dtype


def shape_given(shape: object) -> tuple[int, ...]:
    """The dimensions of a request. Errors: TensorProblem."""
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise TensorProblem("shape: expected an array of whole numbers")
    dims = tuple(shape)
    if not all(type(size) is int and size >= 0 for size in dims):
        raise TensorProblem("shape: expected whole numbers, none of them below 0")
    if len(dims) > MAX_RANK or math.prod(dims) > MOST_ELEMENTS:
        raise TensorProblem(f"shape: {len(dims)} dimensions of {math.prod(dims)} elements are too many")
    return dims


# ---- bytes ----------------------------------------------------------------------------------------------------------


def from_raw(dtype: DType, shape: tuple[int, ...], raw: bytes | memoryview) -> bytes:
    """A serialized TensorProto of a tensor in bytes. Errors: TensorProblem when they do not fit type and shape."""
    count = math.prod(shape)
    if dtype.name == "string":
        return to_proto(_strings_of(raw, count).reshape(shape), dtype=dtype).SerializeToString()
    need = count * dtype.storage.itemsize
    if len(raw) != need:
        raise TensorProblem(f"{len(raw)} bytes, but its shape and datatype need {need}")
    content = bytes(raw)
    if dtype.name == "bool" and content.translate(None, b"\x00\x01"):
        raise TensorProblem("bytes of BOOL other than 0 and 1")
    return content_bytes(dtype, shape, content)


def to_raw(array: Array) -> bytes:
    """The bytes of an array as it is stored."""
    if array.dtype != object:
        return array.tobytes()
    return b"".join(piece for value in array.ravel().tolist() for piece in (pack("<I", len(value)), value))


def _strings_of(raw: bytes | memoryview, count: int) -> Array:
    found: list[bytes] = []
    at, end = 0, len(raw)
    while at < end:
        if end - at < _LENGTH or (size := unpack_from("<I", raw, at)[0]) > end - at - _LENGTH:
            raise TensorProblem("the bytes of BYTES end inside an element")
        at += _LENGTH
        found.append(bytes(raw[at : at + size]))
        at += size
    if len(found) != count:
        raise TensorProblem(f"{len(found)} elements of BYTES, but its shape needs {count}")
    strings = np.empty(count, object)
    strings[:] = found
    return strings


# ---- JSON -----------------------------------------------------------------------------------------------------------


def from_values(dtype: DType, shape: tuple[int, ...], data: object, *, infinite: bool = False) -> bytes:
    """A serialized TensorProto of values. Errors: TensorProblem for values that the type does not hold.

    JSON has no `infinite` numbers and no NaN: there they come of numbers that are too large.
    """
    flat = _flat(data)
    if len(flat) != math.prod(shape):
        raise TensorProblem(f"data: {len(flat)} elements, but its shape needs {math.prod(shape)}")
    return to_proto(_array_of(dtype, flat, infinite).reshape(shape), dtype=dtype).SerializeToString()


def to_values(dtype: DType, array: Array) -> list[object]:
    """The JSON values of an array as it is stored, flat. Errors: TensorProblem for BYTES that are no text."""
    values: list[object] = values_of(array, dtype).ravel().tolist()
    if dtype.name != "string":
        return values
    try:
        return [value.decode() for value in values if isinstance(value, bytes)]
    except UnicodeDecodeError as error:
        raise TensorProblem("has bytes that are not UTF-8 text; request it as binary data") from error


def _flat(data: object) -> list[object]:
    if not isinstance(data, list):
        raise TensorProblem("data: expected an array")
    while any(type(item) is list for item in data):
        if not all(type(item) is list for item in data):
            raise TensorProblem("data: arrays and values side by side")
        if len({len(item) for item in data}) > 1:
            raise TensorProblem("data: arrays of different lengths side by side")
        data = [value for item in data for value in item]
    return data


def _array_of(dtype: DType, values: list[object], infinite: bool) -> Array:
    types = set(map(type, values))
    if dtype.name == "string":
        _require(types <= {str, bytes}, "text")
        strings = np.empty(len(values), object)
        strings[:] = [value.encode() if isinstance(value, str) else value for value in values]
        return strings
    if dtype.name == "bool":
        _require(types <= {bool}, "true and false")
        return np.array(values, np.bool_)
    if dtype.storage.kind in "iu" and dtype.name != "bfloat16":
        _require(types <= {int}, "whole numbers")
        try:
            return np.array(values, dtype.storage)
        except OverflowError as error:
            raise TensorProblem(f"data: a number that {dtype.name} does not hold") from error
    _require(types <= {int, float}, "numbers")
    storage = np.dtype(np.float32) if dtype.name == "bfloat16" else dtype.storage
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float64).astype(storage)
    except OverflowError as error:
        raise TensorProblem(f"data: a number that {dtype.name} does not hold") from error
    stored = _bfloat16(array) if dtype.name == "bfloat16" else array
    if not infinite and not np.isfinite(values_of(stored, dtype)).all():
        raise TensorProblem(f"data: a number that {dtype.name} does not hold")
    return stored


def _bfloat16(array: Array) -> Array:
    """The bits of the nearest bfloat16, ties to even."""
    bits = array.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise TensorProblem(f"data: expected {what}")
