"""Records with their expected predictions from a JSONL file, packed into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deployer.errors import SpecError


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: a `record` for a gateway, or one row of `inputs` for a model server; and the `expected` value."""

    record: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None
    expected: Any = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The samples of one request; `indices` are their positions in the file."""

    indices: tuple[int, ...]
    samples: tuple[Sample, ...]


def load(path: str | Path) -> tuple[Sample, ...]:
    """Read a JSONL file. Errors: SpecError with the line number, or for an empty file."""
    path = Path(path)
    decoder = msgspec.json.Decoder(Sample)
    samples = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SpecError(f"records {path} cannot be read", hint="name a JSONL file with --records") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            sample = decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise SpecError(f"{path}:{number}: {error}", hint='each line is {"record": {…}, "expected": …}') from error
        if (sample.record is None) == (sample.inputs is None):
            raise SpecError(f'{path}:{number}: a line must have either "record" or "inputs"')
        samples.append(sample)
    if not samples:
        raise SpecError(f"{path} has no records", hint='write one {"record": {…}, "expected": …} per line')
    return tuple(samples)


def batches(samples: Sequence[Sample], size: int) -> tuple[Batch, ...]:
    """Pack samples in order into batches of exactly `size`; the last one is filled up from the beginning."""
    groups = []
    for start in range(0, len(samples), size):
        indices = tuple(i % len(samples) for i in range(start, start + size))
        groups.append(Batch(indices=indices, samples=tuple(samples[i] for i in indices)))
    return tuple(groups)
