"""Records with their expected predictions from a JSONL file, packed into batches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from deployer.errors import SpecError
from deployer.records.rows import BOM, what_is_wrong

STDIN: Final = "-"
_HINT: Final = 'each line is {"record": {…}, "expected": …}'


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: a `record` for a gateway, or one row of `inputs` for a model server; and the `expected` value."""

    record: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None
    expected: Any = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that is not blank, with its number counted from 1; without a `sample`, `problem` says why."""

    number: int
    sample: Sample | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The samples of one request; `indices` are their positions in the file."""

    indices: tuple[int, ...]
    samples: tuple[Sample, ...]


def load(path: str | Path) -> tuple[Sample, ...]:
    """Read a JSONL file. Errors: SpecError with the line number, or for an empty file."""
    return tuple(readable(path, line) for line in read(path))


def readable(path: str | Path, line: Line) -> Sample:
    """The sample of a line. Errors: SpecError with the line number."""
    if line.sample is None:
        raise SpecError(f"{path}:{line.number}: {line.problem}", hint=_HINT)
    return line.sample


def read(path: str | Path) -> tuple[Line, ...]:
    """Read a JSONL file, `-` for standard input, with the lines that are wrong. Errors: SpecError for an empty file."""
    try:
        content = sys.stdin.buffer.read() if str(path) == STDIN else Path(path).read_bytes()
    except OSError as error:
        raise SpecError(f"records {path} cannot be read", hint="name a JSONL file with --records") from error
    lines = tuple(_lines(content.removeprefix(BOM)))
    if not lines:
        raise SpecError(f"{path} has no records", hint='write one {"record": {…}, "expected": …} per line')
    return lines


def _lines(content: bytes) -> Iterator[Line]:
    decode = msgspec.json.Decoder(Sample).decode
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            sample = decode(line)
        except msgspec.ValidationError as error:
            yield Line(number=number, sample=None, problem=str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            yield Line(number=number, sample=None, problem=what_is_wrong(line, error))
        else:
            wrong = (sample.record is None) == (sample.inputs is None)
            problem = 'a line must have either "record" or "inputs"' if wrong else ""
            yield Line(number=number, sample=None if wrong else sample, problem=problem)


def batches(samples: Sequence[Sample], size: int) -> tuple[Batch, ...]:
    """Pack samples in order into batches of exactly `size`; the last one is filled up from the beginning."""
    groups = []
    for start in range(0, len(samples), size):
        indices = tuple(i % len(samples) for i in range(start, start + size))
        groups.append(Batch(indices=indices, samples=tuple(samples[i] for i in indices)))
    return tuple(groups)
