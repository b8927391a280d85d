"""JSON values to tensors: the rules and the error texts of a predict request's `instances` and `inputs`.

Well-formed requests, which are nearly all, are converted column by column in bulk. Whatever that cannot do is left to
`_Filler`, which goes value by value in TensorFlow Serving's order and so finds the same first error.
"""

from __future__ import annotations

import base64
import contextlib
import math
import re
from collections.abc import Mapping
from itertools import chain
from typing import Final

import numpy as np

from tfserving.json.values import JsonValue, members, until_nul
from tfserving.json.writer import dump
from tfserving.wire.status import Code, StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import MAX_RANK, Array, DType

Inputs = Mapping[str, DType]
"""The inputs of a signature: the element type by alias."""

_FLOATS = frozenset({"float", "double"})
_INTEGER_RANGES: Final[dict[str, tuple[int, int]]] = {
    # The narrow types are read as int32 and keep their low bits.
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int16": (-(1 << 31), (1 << 31) - 1),
    "int8": (-(1 << 31), (1 << 31) - 1),
    "uint8": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
_BASE64 = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")
"""Padding may be left out, and a point is as good as an equals sign."""
_BLANK = re.compile(r"[ \t\n\v\f\r]")
_TINY = {"float": np.finfo(np.float32).tiny, "double": np.finfo(np.float64).tiny}


def from_instances(instances: list[JsonValue], inputs: Inputs) -> dict[str, Tensor]:
    """The tensors of a row request: item i of `instances` becomes row i of every input.

    Errors: StatusError, always INVALID_ARGUMENT.
    """
    columns = _columns(instances, inputs)
    if columns is not None:
        tensors = {name: _in_bulk(column, inputs[name]) for name, column in columns.items()}
        if all(tensors.values()):
            return {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return _instances_one_by_one(instances, inputs)


def from_inputs(value: JsonValue, inputs: Inputs) -> dict[str, Tensor]:
    """The tensors of a columnar request: every input whole, with its own shape.

    Errors: StatusError, INVALID_ARGUMENT, or UNIMPLEMENTED for an element type that has no JSON form.
    """
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((name, dtype),) = inputs.items()
        return {name: _tensor(value, name, dtype)}
    tensors = {}
    for name, dtype in inputs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        tensors[name] = _tensor(value[name], name, dtype)
    return tensors


def is_base64(value: JsonValue) -> bool:
    """Whether a value is `{"b64": "..."}`, the JSON form of bytes."""
    return isinstance(value, dict) and len(list(members(value))) == 1 and isinstance(value.get("b64"), str)


def base64_bytes(value: JsonValue) -> bytes:
    """The bytes of `{"b64": "..."}`. Errors: INVALID_ARGUMENT for another object and for invalid base64."""
    if not is_base64(value):
        raise invalid(f"JSON Value: {dump(value)} not formatted correctly for base64 data")
    assert isinstance(value, dict)
    text = value["b64"]
    assert isinstance(text, str)
    if len(text) % 4 == 0 and not text.endswith("==="):  # as nearly all is written, and much the fastest
        with contextlib.suppress(ValueError):
            return base64.b64decode(text, validate=True)
    parts = _BASE64.fullmatch(_BLANK.sub("", text))
    if parts is None:
        raise invalid("Unable to base64 decode")
    digits, padding = parts.groups()
    missing = -len(digits) % 4
    if missing == 3 or len(padding) not in (0, missing):
        raise invalid("Unable to base64 decode")
    return base64.b64decode(digits + "=" * missing)


def type_name(value: JsonValue) -> str:
    """rapidjson's name for the type of a value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    names: tuple[tuple[type, str], ...] = ((dict, "Object"), (list, "Array"), (str, "String"))
    return next((name for kind, name in names if isinstance(value, kind)), "Number")


def _tensor(value: JsonValue, name: str, dtype: DType) -> Tensor:
    tensor = _in_bulk(value, dtype)
    if tensor is not None:
        return tensor
    filler = _Filler(dtype)
    shape = _shape(value)
    filler.fill(value, shape)
    return filler.tensor(name, shape)


def _columns(instances: list[JsonValue], inputs: Inputs) -> dict[str, JsonValue] | None:
    """The items of each input, or None when the rows need a closer look."""
    if not isinstance(instances[0], dict):
        return {next(iter(inputs)): instances} if len(inputs) == 1 else None
    if len(inputs) == 1 and "b64" in inputs:
        return None
    columns: dict[str, list[JsonValue]] = {name: [] for name in inputs}
    names = columns.keys()
    for item in instances:
        if type(item) is not dict or item.keys() != names:  # nor a `Repeated`
            return None
        for name, column in columns.items():
            column.append(item[name])
    return dict(columns)


def _in_bulk(value: JsonValue, dtype: DType) -> Tensor | None:
    """A tensor whose lists are regular and whose values all fit, or None."""
    shape = _shape(value)
    if len(shape) > MAX_RANK:
        return None
    flat: list[JsonValue] = [value]
    for size in shape:
        if not all(isinstance(item, list) and len(item) == size for item in flat):
            return None
        flat = list(chain.from_iterable(flat))  # type: ignore[arg-type]
    array = _bulk_array(flat, dtype)
    return None if array is None else Tensor.shaped(dtype, array, shape)


def _bulk_array(flat: list[JsonValue], dtype: DType) -> Array | None:
    kinds = set(map(type, flat))
    if dtype.name in _FLOATS:
        if not kinds <= {float, int}:
            return None
        return _float_array(flat, dtype)
    if dtype.name in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[dtype.name]
        if kinds - {int} or (flat and not (low <= min(flat) and max(flat) <= high)):  # type: ignore[type-var, operator]
            return None
        return _integer_array(flat, dtype)
    if dtype.name == "bool":
        return None if kinds - {bool} else np.array(flat, np.bool_)
    if dtype.name == "string" and not kinds - {str}:
        return _string_array([text.encode("utf-8", "surrogateescape") for text in flat])  # type: ignore[union-attr]
    return None


def _float_array(flat: list[JsonValue], dtype: DType) -> Array:
    with np.errstate(over="ignore"):
        array = np.array(flat, dtype.storage)
    # Below the normal range everything is zero: TensorFlow Serving converts with denormals off.
    np.multiply(array, np.abs(array) >= _TINY[dtype.name], out=array)
    return array


def _integer_array(flat: list[JsonValue], dtype: DType) -> Array:
    if dtype.storage.itemsize < 4:
        return np.array(flat, np.int32).astype(dtype.storage)
    return np.array(flat, dtype.storage)


def _string_array(values: list[bytes]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _shape(value: JsonValue) -> tuple[int, ...]:
    """The shape that the first element of every list announces."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _instances_one_by_one(instances: list[JsonValue], inputs: Inputs) -> dict[str, Tensor]:
    first = instances[0]
    if not isinstance(first, dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    rows = _Rows(inputs)
    named = _is_named(first)
    for number, item in enumerate(instances):
        if named:
            rows.add_object(number, item)
        else:
            rows.add_value(number, item)
    return rows.tensors(len(instances))


def _is_named(item: JsonValue) -> bool:
    return isinstance(item, dict) and not is_base64(item)


class _Rows:
    """Collects the items of `instances`, each of which must have the size and the shape of the first."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._fillers: dict[str, _Filler] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._sizes: dict[str, int] = {}

    def add_object(self, number: int, item: JsonValue) -> None:
        if not _is_named(item):
            raise invalid(f"Expecting object but got list at item {number} of input list")
        assert isinstance(item, dict)
        names = set()
        for key, value in members(item):
            name = until_nul(key)
            names.add(name)
            try:
                self._add(name, value)
            except StatusError as error:
                raise invalid(
                    f"Failed to process element: {number} key: {name} of 'instances' list. Error: {error}"
                ) from error
        if names != self._inputs.keys():
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: {dump(item)} keys must be "
                f"equal to: {','.join(sorted(self._inputs))}"
            )

    def add_value(self, number: int, item: JsonValue) -> None:
        if _is_named(item):
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
        try:
            self._add(next(iter(self._inputs)), item)
        except StatusError as error:
            raise invalid(f"Failed to process element: {number} of 'instances' list. Error: {error}") from error

    def tensors(self, count: int) -> dict[str, Tensor]:
        return {name: filler.tensor(name, (count, *self._shapes[name])) for name, filler in self._fillers.items()}

    def _add(self, name: str, value: JsonValue) -> None:
        if name not in self._inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
        filler = self._fillers.setdefault(name, _Filler(self._inputs[name]))
        shape = _shape(value)
        before = len(filler)
        filler.fill(value, shape)
        size = len(filler) - before
        if self._sizes.setdefault(name, size) != size:
            raise invalid(f"Expecting tensor size: {self._sizes[name]} but got: {size}")
        expected = self._shapes.setdefault(name, shape)
        if expected != shape:
            raise invalid(f"Expecting shape {_shape_text(expected)} but got: {_shape_text(shape)}")


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


class _Filler:
    """The values of one tensor, added in TensorFlow Serving's order with its checks."""

    def __init__(self, dtype: DType) -> None:
        self._dtype = dtype
        self._values: list[JsonValue | bytes] = []

    def __len__(self) -> int:
        return len(self._values)

    def fill(self, value: JsonValue, shape: tuple[int, ...]) -> None:
        """Add the values of a (nested) list that should have this shape."""
        stack: list[tuple[JsonValue, int]] = [(value, 0)]
        rank = len(shape)
        while stack:
            item, level = stack.pop()
            if not isinstance(item, list):
                if level != rank:
                    raise invalid(
                        f"JSON Value: {dump(item)} found at incorrect level: {level + 1} in the JSON DOM. "
                        f"Expected at level: {rank}"
                    )
                self._values.append(self._element(item))
                continue
            if level >= rank:
                raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
            if len(item) != shape[level]:
                raise invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
                )
            stack.extend((inner, level + 1) for inner in reversed(item))

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor of what was added. Errors: INVALID_ARGUMENT for more dimensions than a tensor can have."""
        if len(shape) > MAX_RANK:
            raise invalid(f"tensor parsing error: {name}")
        # Surplus values, from a repeated key, are dropped as in a TensorProto.
        values = self._values[: math.prod(shape)]
        if self._dtype.name == "string":
            array = _string_array(values)  # type: ignore[arg-type]
        elif self._dtype.name in _FLOATS:
            array = _float_array(values, self._dtype)  # type: ignore[arg-type]
        elif self._dtype.name in _INTEGER_RANGES:
            array = _integer_array(values, self._dtype)  # type: ignore[arg-type]
        else:
            array = np.array(values, self._dtype.storage)
        return Tensor.shaped(self._dtype, array, shape)

    def _element(self, value: JsonValue) -> JsonValue | bytes:
        name = self._dtype.name
        if isinstance(value, dict):
            if name == "string":
                return base64_bytes(value)
            raise self._type_error(value)
        if name in _FLOATS:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        elif name in _INTEGER_RANGES:
            low, high = _INTEGER_RANGES[name]
            fits = type(value) is int and low <= value <= high
        elif name == "bool":
            fits = isinstance(value, bool)
        elif name == "string":
            if isinstance(value, str):
                return value.encode("utf-8", "surrogateescape")
            fits = False
        else:
            raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {dump(value)} to type: {name}")
        if not fits:
            raise self._type_error(value)
        return value

    def _type_error(self, value: JsonValue) -> StatusError:
        return invalid(
            f"JSON Value: {dump(value)} Type: {type_name(value)} is not of expected type: {self._dtype.name}"
        )
