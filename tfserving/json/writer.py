"""JSON as TensorFlow Serving writes it: number formats, layout and the dumps inside error messages.

Text is built as str; bytes that are not UTF-8 travel as surrogates and become the same bytes again in `encode`.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

import numpy as np

from tfserving.json.values import JsonValue, flushed, is_double, members
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import Array

_DUMP_LIMIT = 256
"""Bytes after which a dump stops; the value that crosses the limit is still written whole."""

_TO_ESCAPE = re.compile(r'[\x00-\x1f"\\]')
_ESCAPES = {chr(code): f"\\u{code:04X}" for code in range(0x20)} | {
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    '"': r"\"",
    "\\": r"\\",
}
_NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
_INTEGERS = frozenset({"int32", "int16", "int8", "uint8", "int64", "uint32", "uint64"})


def encode(text: str) -> bytes:
    """The bytes of a JSON text."""
    return text.encode("utf-8", "surrogateescape")


def error_body(message: str) -> bytes:
    """The body of every failure."""
    return encode(f'{{\n    "error": {quoted(message)}\n}}')


def quoted(text: str) -> str:
    """A JSON string. Only what JSON demands is escaped."""
    return f'"{_TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], text)}"'


def row_body(outputs: Mapping[str, Tensor]) -> bytes:
    """The response to `instances`: one item for each row of the outputs.

    Errors: INVALID_ARGUMENT for a scalar output, different numbers of rows, or a type that has no JSON form.
    """
    batch = -1
    for name, tensor in outputs.items():
        if not tensor.shape:
            raise invalid(f"Tensor name: {name} has no shape information ")
        rows = tensor.shape[0]
        if batch not in (-1, rows):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {rows} expecting: {batch}")
        batch = rows
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        items = _rows(name, tensor, level=2)
        text = f"[{', '.join(items)}\n    ]" if items else "[]"
    else:
        columns = [(quoted(name), _rows(name, tensor, level=3)) for name, tensor in outputs.items()]
        objects = [
            "        {\n" + ",\n".join(f"            {name}: {items[row]}" for name, items in columns) + "\n        }"
            for row in range(batch)
        ]
        text = "[\n" + ",\n".join(objects) + "\n    ]" if objects else "[]"
    return encode(f'{{\n    "predictions": {text}\n}}')


def column_body(outputs: Mapping[str, Tensor]) -> bytes:
    """The response to `inputs`: each output as a whole. Errors: INVALID_ARGUMENT for a type that has no JSON form."""
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        text = _column(name, tensor, level=1)
    else:
        values = [f"        {quoted(name)}: {_column(name, tensor, level=2)}" for name, tensor in outputs.items()]
        text = "{\n" + ",\n".join(values) + "\n    }"
    return encode(f'{{\n    "outputs": {text}\n}}')


def classification_body(result: m.ClassificationResult) -> bytes:
    """The response to a classify request: for each example its [label, score] pairs."""
    rows = []
    for classifications in result.classifications:
        labels = [c.label.decode("utf-8", "surrogateescape") for c in classifications.classes]
        scores = _floats(np.array([c.score for c in classifications.classes], np.float32))
        pairs = (f"[{quoted(label)}, {score}]" for label, score in zip(labels, scores, strict=True))
        rows.append(f"[{', '.join(pairs)}]")
    if not rows:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    return encode(f'{{\n    "results": [{", ".join(rows)}\n    ]\n}}')


def regression_body(result: m.RegressionResult) -> bytes:
    """The response to a regress request: one number for each example."""
    values = _floats(np.array([r.value for r in result.regressions], np.float32))
    if not values:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return encode(f'{{\n    "results": [{", ".join(values)}]\n}}')


def _rows(name: str, tensor: Tensor, level: int) -> list[str]:
    """Each row of a tensor on one line; `level` is how deep the row is nested."""
    shape = tensor.shape
    items = _leaves(name, tensor, level + len(shape) - 1)
    for axis in range(len(shape) - 1, 0, -1):
        groups = _grouped(items, shape[axis], math.prod(shape[:axis]))
        items = [f"[{', '.join(group)}]" for group in groups]
    return items


def _column(name: str, tensor: Tensor, level: int) -> str:
    """A whole tensor with every element on its own line; `level` is how deep the tensor is nested."""
    shape = tensor.shape
    items = _leaves(name, tensor, level + len(shape))
    for axis in range(len(shape) - 1, -1, -1):
        groups = _grouped(items, shape[axis], math.prod(shape[:axis]))
        outer = "\n" + "    " * (level + axis)
        inner = outer + "    "
        separator = "," + inner
        items = [f"[{inner}{separator.join(group)}{outer}]" if group else "[]" for group in groups]
    return items[0]


def _grouped(items: list[str], size: int, count: int) -> list[list[str]]:
    return [items[i * size : (i + 1) * size] for i in range(count)]


def _leaves(name: str, tensor: Tensor, level: int) -> list[str]:
    """The JSON text of every element in row-major order."""
    array, dtype = tensor.array, tensor.dtype.name
    if not array.size:
        return []
    flat = array.reshape(-1)
    if dtype == "float":
        return _floats(flat)
    if dtype == "double":
        return [_double(value) for value in flat.tolist()]
    if dtype in _INTEGERS:
        return list(map(str, flat.tolist()))
    if dtype == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    if dtype == "string":
        if name.endswith("_bytes"):
            return [_base64_object(value, level) for value in flat.tolist()]
        return [quoted(value.decode("utf-8", "surrogateescape")) for value in flat.tolist()]
    raise invalid(f"Failed to write JSON value for tensor type: {dtype}")


def _base64_object(value: bytes, level: int) -> str:
    outer = "\n" + "    " * level
    return f'{{{outer}    "b64": "{base64.b64encode(value).decode()}"{outer}}}'


def _floats(values: Array) -> list[str]:
    return [_float(value) for value in values.tolist()]


def _float(value: float) -> str:
    """Six digits where they give the same float32 again, else nine. `value` is a float32."""
    text = f"{value:.6g}"
    error = abs(float(text) - value)
    # Half the distance to the next float32 is between these two bounds.
    if error > abs(value) * 2**-25 and (error > abs(value) * 2**-24 or np.float32(text) != value):
        text = f"{value:.9g}"
    return text if "." in text or "e" in text else _whole(text)


def _double(value: float) -> str:
    text = f"{value:.6g}"
    if float(text) != value:
        text = f"{value:.17g}"
    return text if "." in text or "e" in text else _whole(text)


def _whole(text: str) -> str:
    """A number without point or exponent keeps its kind: a float stays recognisable."""
    return _NOT_FINITE.get(text) or f"{text}.0"


def dump(value: JsonValue) -> str:
    """A JSON value inside an error message: pretty-printed, arrays on one line, cut off after 256 bytes."""
    parts: list[str] = []
    size = 0
    for event in _events(value, 0, ""):
        if event is None or size >= _DUMP_LIMIT:
            break
        parts.append(event)
        size += len(encode(event))
    return "".join(parts)


def _events(value: JsonValue, level: int, prefix: str) -> Iterator[str | None]:
    """The pieces of a dump. None ends it: rapidjson's writer stops at a number that is not finite."""
    if isinstance(value, dict):
        outer = "\n" + "    " * level
        yield prefix + "{"
        comma = ""
        for name, item in members(value):
            yield f"{comma}{outer}    {quoted(name)}"
            yield from _events(item, level + 1, ": ")
            comma = ","
        yield outer + "}" if comma else "}"
    elif isinstance(value, list):
        yield prefix + "["
        for number, item in enumerate(value):
            yield from _events(item, level + 1, ", " if number else "")
        yield "]"
    elif isinstance(value, float) and not math.isfinite(value):
        yield prefix
        yield None
    else:
        yield prefix + _scalar(value)


def _scalar(value: str | int | float | bool | None) -> str:
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not is_double(value):
        return str(value)
    return _dumped(float(value))


def _dumped(value: float) -> str:
    """A finite double in the fewest digits, in rapidjson's layout: up to 21 places before the point, 6 zeros after."""
    value = flushed(value)
    if not value or 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(repr(value)):f}"
        return text if "." in text else f"{text}.0"
    digits, _, power = repr(value).partition("e")
    return f"{digits}e{int(power)}"
