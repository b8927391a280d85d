"""Records streamed from JSONL, CSV and Parquet files, encoded as the gateway takes them.

A row that cannot be read is a row with a problem, so that whoever reads the others can go on. Only what makes a whole
file unreadable is an error.
"""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import glob
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from deployer.errors import SpecError, UsageError
from deployer.extras import pip_line
from deployer.records.values import cell, no_constant

SUFFIXES: Final = (".jsonl", ".csv", ".parquet")
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of a line, and characters of a CSV cell: memory stays bounded when line ends or quotes are missing."""
PARQUET_ROWS: Final = 1024
BOM: Final = b"\xef\xbb\xbf"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record: `number` counts from 1 over all files, `line` from 1 in its file (for Parquet: its row).

    `record` is a JSON object; empty when it cannot be read, and then `problem` says why.
    """

    number: int
    file: Path
    line: int
    record: bytes
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a table cannot say of itself: columns that hold text even where it looks like a number, and the length of
    lists that stand in columns NAME_0, NAME_1 …"""

    text: frozenset[str] = frozenset()
    vectors: Mapping[str, int] = field(default_factory=dict)


Read = tuple[int, bytes, str]
"""Line, record and problem."""


def expand(patterns: Sequence[str]) -> tuple[Path, ...]:
    """The files that paths and globs name, each once, those of a glob by name.

    Errors: SpecError when nothing matches, for an empty file, or for one of an unknown format.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise SpecError(f"there is no file {pattern}", hint="--input takes files and globs, in quotes")
        found |= dict.fromkeys(Path(match) for match in matches)
    for path in found:
        if path.suffix not in SUFFIXES:
            raise SpecError(f"{path}: {path.suffix or 'no suffix'} is not a known format", hint=", ".join(SUFFIXES))
        if not path.is_file():
            raise SpecError(f"{path} is not a file", hint=f"name its files: '{path}/*.jsonl'")
        if path.stat().st_size == 0:
            raise SpecError(f"{path} is empty", hint="leave it out, or write one record per line")
    return tuple(found)


def count(path: Path) -> int:
    """The number of rows that `read` will yield. Errors: SpecError for a file that cannot be read as a whole."""
    match path.suffix:
        case ".parquet":
            return int(_parquet(path).metadata.num_rows)
        case ".csv":
            return sum(1 for _ in _csv_rows(path))
        case _:
            with path.open("rb") as opened:
                return sum(1 for _ in _lines(opened))


def read(files: Sequence[Path], columns: Columns, *, skip: int = 0, counts: Sequence[int]) -> Iterator[Row]:
    """The rows of all files in order, without the first `skip`; `counts` is the number of rows of each file.

    Errors: SpecError for a file that cannot be read as a whole.
    """
    before = 0
    for path, rows in zip(files, counts, strict=True):
        passed = min(max(skip - before, 0), rows)
        if passed < rows:
            for number, (line, record, problem) in enumerate(_read(path, columns, passed), before + passed + 1):
                yield Row(number=number, file=path, line=line, record=record, problem=problem)
        before += rows


def parse_line(line: bytes) -> tuple[bytes, str]:
    """The record in a line of JSON, bare or as {"record": {…}, "expected": …}; else what is wrong with it."""
    try:
        found = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return b"", what_is_wrong(line, error)
    if isinstance(found, dict) and isinstance(found.get("record"), dict) and found.keys() <= {"record", "expected"}:
        found = found["record"]
    if not isinstance(found, dict):
        return b"", "expected a JSON object of features"
    return _encode(found), ""


def what_is_wrong(line: bytes, error: Exception) -> str:
    """Why a line is not JSON, in more words than the decoder has for it."""
    try:
        json.loads(line.decode(), parse_constant=no_constant)
    except UnicodeDecodeError as found:
        return f"not UTF-8: byte 0x{line[found.start]:02x}; save the file as UTF-8"
    except RecursionError:
        return "the JSON is nested too deeply"
    except json.JSONDecodeError as found:
        return f"not JSON: {found.msg[:1].lower()}{found.msg[1:]} at column {found.colno}"
    except ValueError as found:
        return f"not JSON: {found}"
    return str(error)


def _read(path: Path, columns: Columns, skip: int) -> Iterator[Read]:
    match path.suffix:
        case ".parquet":
            yield from _read_parquet(path, skip)
        case ".csv":
            yield from _read_csv(path, columns, skip)
        case _:
            with path.open("rb") as opened:
                for number, line in itertools.islice(_lines(opened), skip, None):
                    if len(line) > LINE_BYTES_MAX:
                        yield number, b"", f"the line is longer than {LINE_BYTES_MAX} bytes"
                    else:
                        yield number, *parse_line(line)


def _lines(opened: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers, without a byte order mark; one that is too long is cut."""
    for number in itertools.count(1):
        line = opened.readline(LINE_BYTES_MAX + 1)
        if not line:
            return
        rest = line
        while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
            rest = opened.readline(LINE_BYTES_MAX + 1)
        if number == 1:
            line = line.removeprefix(BOM)
        if line.strip():
            yield number, line


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """The line where each row begins, and its cells or what is wrong with it; the header is not among them."""
    rows = _csv_cells(path)
    next(rows)
    return rows


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    csv.field_size_limit(LINE_BYTES_MAX)
    # A byte that is not UTF-8 is kept as a surrogate, and found in the row that it is in.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        reader = csv.reader(opened, strict=True)
        header, at = False, 1
        while True:
            try:
                row: list[str] | str = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                row = f"not CSV: {error}"
            if row:
                if not header and isinstance(row, str):
                    raise SpecError(f"{path}:{at}: {row}", hint="the first line names the columns")
                header = True
                yield at, row
            at = reader.line_num + 1
        if not header:
            raise SpecError(f"{path} has no header", hint="the first line names the columns")


def _read_csv(path: Path, columns: Columns, skip: int) -> Iterator[Read]:
    rows = _csv_cells(path)
    first, found = next(rows)
    header = [] if isinstance(found, str) else found
    if bad := _not_utf8(header):
        raise SpecError(f"{path}:{first}: {bad}", hint="save the file as UTF-8")
    if len(set(header)) < len(header):
        raise SpecError(f"{path}:{first}: two columns have the same name", hint=", ".join(header))
    joined = {
        name: [f"{name}_{at}" for at in range(length)]
        for name, length in columns.vectors.items()
        if name not in header and all(f"{name}_{at}" in header for at in range(length))
    }
    for line, row in itertools.islice(rows, skip, None):
        yield line, *(_table_row(row, header, columns, joined) if not isinstance(row, str) else (b"", row))


def _table_row(
    row: list[str], header: list[str], columns: Columns, joined: Mapping[str, list[str]]
) -> tuple[bytes, str]:
    if len(row) != len(header):
        return b"", f"{len(row)} values for {len(header)} columns"
    if bad := _not_utf8(row):
        return b"", bad
    record: dict[str, Any] = {}
    for name, text in zip(header, row, strict=True):
        if text == "":  # a table has no other way to leave a feature out
            continue
        value = text if name in columns.text else _cell(text)
        if isinstance(value, float) and not math.isfinite(value):
            return b"", f"column '{name}': {text} is not a number"
        record[name] = value
    for name, parts in joined.items():
        values = [record.pop(part, None) for part in parts]
        if any(value is not None for value in values):
            record[name] = values
    return _encoded(record)


def _encoded(record: Mapping[str, Any]) -> tuple[bytes, str]:
    try:
        return _encode(record), ""
    except (TypeError, OverflowError, UnicodeEncodeError) as error:
        return b"", f"not a record: {error}"


def _cell(text: str) -> Any:
    if text.startswith("["):
        try:
            return _decode(text)
        except msgspec.DecodeError:
            return text
    return cell(text)


def _not_utf8(cells: list[str]) -> str:
    for one in cells:
        if not one.isascii():
            for character in one:
                if 0xDC80 <= ord(character) <= 0xDCFF:
                    return f"not UTF-8: byte 0x{ord(character) - 0xDC00:02x}; save the file as UTF-8"
    return ""


def _parquet(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow", hint=pip_line("pyarrow")) from error
    try:
        return parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise SpecError(f"{path} is not Parquet", cause=str(error).splitlines()[0]) from error


def _read_parquet(path: Path, skip: int) -> Iterator[Read]:
    file = _parquet(path)
    groups: list[int] = []
    before = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if groups or before + rows > skip:
            groups.append(group)
        else:
            before += rows
    number = before
    with file:
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, row_groups=groups):
            for row in batch.to_pylist():
                number += 1
                if number > skip:
                    yield number, *_parquet_row(row)


def _parquet_row(row: Mapping[str, Any]) -> tuple[bytes, str]:
    record = {}
    for name, value in row.items():
        if value is None:
            continue
        plain = _plain(value)
        if not _finite(plain):
            return b"", f"column '{name}': {plain!r} is not a number" if isinstance(plain, float) else (
                f"column '{name}' holds a value that is not a number"
            )
        record[name] = plain
    return _encoded(record)


def _plain(value: Any) -> Any:
    """A value of Arrow as JSON has it: bytes as base64, which is how a record carries a picture."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case decimal.Decimal():
            return float(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case list():
            return [_plain(one) for one in value]
        case _:
            return value


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
