"""Predictions as CSV and Parquet, made from JSON lines in constant memory."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from deployer.errors import UsageError
from deployer.extras import pip_line
from gateway.spec import Binary, Classification, FeatureSpec, Regression

CHUNK_ROWS: Final = 10_000
"""Rows in memory, and in a row group of Parquet."""

Columns = tuple[str, ...]


class Format(StrEnum):
    """How predictions are written."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def columns_of(specs: Iterable[FeatureSpec]) -> Columns:
    """The columns that the predictions of any of these versions fill, so that every shard has the same."""
    found = ["row", "version"]
    for spec in specs:
        match spec.output:
            case Classification() | Binary():
                found += ["top_prediction", "confidence", "score", "alternatives"]
                found += ["calibrated"] if spec.output.calibration is not None else []
                found += ["decision"] if spec.output.decision is not None else []
            case Regression():
                found += ["value"] + (["decision"] if spec.output.decision is not None else [])
            case _:
                found += ["values"]
    return tuple(dict.fromkeys(found))


def require(form: Format) -> None:
    """Errors: UsageError when a library is missing that the format needs."""
    if form is Format.PARQUET:
        _pyarrow()


def convert(lines: Path, made: Path, form: Format, columns: Columns) -> None:
    """Write `made` from a file of JSON lines, and put it on the disk. Errors: OSError."""
    with lines.open("rb") as opened:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        write(map(decode, opened), made, form, columns)


def write(rows: Iterable[Mapping[str, Any]], made: Path, form: Format, columns: Columns) -> None:
    """Write a table, and put it on the disk. Errors: OSError."""
    {Format.PARQUET: _parquet, Format.CSV: _csv, Format.JSONL: _jsonl}[form](iter(rows), made, columns)
    with made.open("rb") as written:
        os.fsync(written.fileno())


def _jsonl(rows: Iterator[Mapping[str, Any]], made: Path, columns: Columns) -> None:
    with made.open("wb") as opened:
        for row in rows:
            opened.write(msgspec.json.encode({name: row[name] for name in columns if name in row}) + b"\n")


def _csv(rows: Iterator[Mapping[str, Any]], made: Path, columns: Columns) -> None:
    with made.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_text(row.get(name)) for name in columns])


def _text(value: Any) -> Any:
    return _json(value) if isinstance(value, list | dict | tuple) else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _parquet(rows: Iterator[Mapping[str, Any]], made: Path, columns: Columns) -> None:
    pyarrow, parquet = _pyarrow()
    alternative = pyarrow.struct([("label", pyarrow.string()), ("score", pyarrow.float64())])
    known = {
        "row": pyarrow.int64(),
        "version": pyarrow.int64(),
        "score": pyarrow.float64(),
        "value": pyarrow.float64(),
        "calibrated": pyarrow.float64(),
        "alternatives": pyarrow.list_(alternative),
    }
    schema = pyarrow.schema([(name, known.get(name, pyarrow.string())) for name in columns])
    with parquet.ParquetWriter(made, schema) as writer:
        while some := list(islice(rows, CHUNK_ROWS)):
            taken = {name: [_typed(name, row.get(name)) for row in some] for name in columns}
            writer.write_table(pyarrow.table(taken, schema=schema))


def _typed(name: str, value: Any) -> Any:
    """What has any shape or type is text: JSON, unless it is text already."""
    if value is None or name not in ("values", "expected", "prediction"):
        return value
    return value if isinstance(value, str) else _json(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow", hint=pip_line("pyarrow")) from error
    return pyarrow, parquet
