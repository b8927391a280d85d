"""Files of sample inputs, read into one array per input of a signature, rows first.

- `.npz`: one array per input.
- `.jsonl`: a line is an object by input name, or only the value if there is one input; bytes are `{"b64": "…"}`,
  as in TensorFlow Serving's REST API.
- `.csv`, `.parquet`: a column per input; an input with k values per row has k columns `NAME_0` … `NAME_k-1`, or, if it
  is the only input, any k columns. Parquet may also contain lists.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from deployer.domain.store import SignatureFact
from deployer.errors import ExportError
from deployer.extras import pip_line
from deployer.records.text import text_of
from deployer.records.values import cell, no_constant
from tfserving.wire.tensors import Array

HINT = "one array, column or JSON key per input, rows first"
FORMATS = ".npz, .jsonl, .csv or .parquet"


def read_columns(path: Path, signature: SignatureFact) -> dict[str, Array]:
    """The arrays of a file by input. Errors: ExportError naming the file and the wrong line or input."""
    if not path.is_file():
        raise ExportError(f"file {path} does not exist", hint=f"pass a {FORMATS} file with --samples")
    if path.stat().st_size == 0:
        raise _misfit(path, "it is empty")
    match path.suffix:
        case ".npz":
            return _from_npz(path)
        case ".jsonl" | ".json":
            return _from_lines(path, signature)
        case ".csv":
            return _from_table(path, _csv(path), signature)
        case ".parquet":
            return _from_table(path, _parquet(path), signature)
        case other:
            raise ExportError(
                f"samples {path} cannot be read: {other or 'no suffix'} is not a known format",
                hint=f"pass a {FORMATS} file",
            )


def _from_npz(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except ValueError as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise _misfit(
                path,
                "it contains Python objects, which are not read because they could run code",
                'write bytes as JSON lines with {"b64": "…"}, and strings as numpy strings',
            ) from error
        raise _misfit(path, "it is not a .npz file of plain arrays") from error
    except (TypeError, EOFError, BadZipFile, OSError) as error:
        raise _misfit(path, "it is not a .npz file of plain arrays") from error


def _from_lines(path: Path, signature: SignatureFact) -> dict[str, Array]:
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(text_of(path, ExportError).splitlines(), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line, parse_constant=no_constant)))
            except ValueError as error:
                raise _misfit(path, f"line {number} is not JSON ({error})") from error
    if not rows:
        raise _misfit(path, "it has no rows")
    names = sorted(signature.inputs)
    bare = len(names) == 1 and not (isinstance(rows[0][1], dict) and set(rows[0][1]) != {"b64"})
    if bare:
        rows = [(number, {names[0]: row}) for number, row in rows]
    return {
        name: _column(path, name, [(number, _at(path, number, row, name)) for number, row in rows]) for name in names
    }


def _at(path: Path, number: int, row: Any, name: str) -> Any:
    if not isinstance(row, dict) or name not in row:
        raise _misfit(path, f"line {number} has no value for '{name}'")
    return row[name]


def _column(path: Path, name: str, rows: Sequence[tuple[int, Any]]) -> Array:
    values = [_decoded(path, number, name, value) for number, value in rows]
    if any(_holds_text(value) for value in values):
        return _objects(path, name, rows, values)
    try:
        return np.array(values)
    except ValueError as error:
        raise _misfit(path, f"the rows of input '{name}' differ in shape") from error


def _decoded(path: Path, number: int, name: str, value: Any) -> Any:
    """The value with every {"b64": …} in it as bytes."""
    if isinstance(value, dict):
        if set(value) != {"b64"} or not isinstance(value["b64"], str):
            raise _misfit(path, f'line {number}, \'{name}\': an object must be {{"b64": "…"}}')
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise _misfit(path, f"line {number}, '{name}': b64 is not valid base64 ({error})") from error
    if isinstance(value, list):
        return [_decoded(path, number, name, item) for item in value]
    if value is None:
        raise _misfit(path, f"line {number}, '{name}' is null")
    return value


def _holds_text(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds_text(item) for item in value)
    return isinstance(value, str | bytes)


def _objects(path: Path, name: str, rows: Sequence[tuple[int, Any]], values: Sequence[Any]) -> Array:
    """Strings and bytes as an array of objects: numpy's own type would remove NUL bytes at the end."""
    shape = _shape(values[0])
    found = np.empty((len(values), *shape), object)
    for at, value in enumerate(values):
        if _shape(value) != shape:
            raise _misfit(path, f"line {rows[at][0]}: input '{name}' has another shape than in line {rows[0][0]}")
        found[at] = _filled(value, shape)
    return found


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    return (len(value), *(_shape(value[0]) if value else ()))


def _filled(value: Any, shape: tuple[int, ...]) -> Any:
    if not shape:
        return value
    array = np.empty(shape, object)
    for at, item in enumerate(value):
        array[at] = _filled(item, shape[1:])
    return array


def _csv(path: Path) -> dict[str, list[Any]]:
    reader = csv.reader(io.StringIO(text_of(path, ExportError)), strict=True)
    try:
        header, *lines = [row for row in reader if row]
    except ValueError:
        raise _misfit(path, "it has no header") from None
    except csv.Error as error:
        raise _misfit(path, f"line {reader.line_num} is not CSV ({error})") from error
    if not lines:
        raise _misfit(path, "it has no rows")
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise _misfit(path, f"line {number} has {len(line)} values for {len(header)} columns")
    return {name: [cell(line[at]) for line in lines] for at, name in enumerate(header)}


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ExportError("pyarrow is required to read Parquet", hint=pip_line("pyarrow")) from error
    try:
        return dict(parquet.read_table(path).to_pydict())
    except pyarrow.ArrowException as error:
        raise _misfit(path, f"it is not Parquet ({str(error).splitlines()[0]})") from error


def _from_table(path: Path, table: Mapping[str, list[Any]], signature: SignatureFact) -> dict[str, Array]:
    names = sorted(signature.inputs)
    found = {}
    for name in names:
        shape = signature.inputs[name].shape
        width = shape[1] if shape is not None and len(shape) == 2 else None
        numbered = [f"{name}_{at}" for at in range(width or 0)]
        if name in table:
            values = _column(path, name, list(enumerate(table[name], 1)))
            found[name] = values[:, None] if width == 1 and values.ndim == 1 else values
        elif numbered and all(column in table for column in numbered):
            found[name] = _beside(path, name, [table[column] for column in numbered])
        elif len(names) == 1 and width is not None and len(table) == width:
            found[name] = _beside(path, name, list(table.values()))
        else:
            raise _misfit(
                path,
                f"it has no column for input '{name}': its columns are {', '.join(table) or 'none'}",
                f"name a column {name}" + (f", or {width} columns {name}_0 … {name}_{width - 1}" if width else ""),
            )
    return found


def _beside(path: Path, name: str, columns: Sequence[list[Any]]) -> Array:
    rows = [list(row) for row in zip(*columns, strict=True)]
    return _column(path, name, list(enumerate(rows, 1)))


def _misfit(path: Path, what: str, hint: str = HINT) -> ExportError:
    return ExportError(f"samples {path} cannot be used: {what}", hint=hint)
