"""The records of one request, read by feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from gateway.preprocess.findings import Findings

Array = NDArray[Any]
Tensors = Mapping[str, Array]
"""The input tensors of a request by their names; each has one row per record."""
Record = Mapping[str, object]


class Absent:
    """Stands for a value that a record does not have and that has no default."""


class Reported:
    """Stands for a value whose problem has been reported already."""


ABSENT = Absent()
REPORTED = Reported()


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """`complete` says that every record has all known keys, so nothing is absent and no default applies."""

    records: Sequence[Record]
    complete: bool
    findings: Findings

    def __len__(self) -> int:
        return len(self.records)


class Block(Protocol):
    """One or more features that are turned into columns of the tensor together."""

    def fill(self, batch: Batch, out: Array) -> None:
        """Writes the columns of the block into `out` (records x columns); problems go to the batch's findings."""


@runtime_checkable
class JointBlock(Protocol):
    """A block of one feature that makes one value of several keys, any of which may be missing."""

    def fill(self, batch: Batch, out: Array) -> None:
        """As of any block."""

    def fill_except(self, batch: Batch, out: Array, rows: Array) -> None:
        """As `fill`, but the value of the marked rows is what the spec puts in the place of a missing one. The keys
        of these rows are checked too."""


class Reader:
    """Reads keys from records: the values of record 0 in the order of the keys, then those of record 1, …"""

    def __init__(self, keys: Sequence[str], defaults: Sequence[object] | None = None) -> None:
        """`defaults` holds what stands in for an absent value; None: it must not be absent."""
        self._pairs = [
            (key, ABSENT if default is None else default)
            for key, default in zip(keys, defaults or [None] * len(keys), strict=True)
        ]
        self._pick: Callable[[Record], Any] = itemgetter(*keys)
        self._single = len(keys) == 1

    def read(self, batch: Batch) -> list[object]:
        """A flat list of records x keys values, `ABSENT` among them where a value is missing."""
        if not batch.complete:
            return [record.get(key, default) for record in batch.records for key, default in self._pairs]
        if self._single:
            return list(map(self._pick, batch.records))
        return list(chain.from_iterable(map(self._pick, batch.records)))
