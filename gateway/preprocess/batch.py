"""The records of one request, read by feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

from numpy.typing import NDArray

from gateway.preprocess.findings import Findings

Array = NDArray[Any]
Record = Mapping[str, object]


class Absent:
    """Stands for a value that a record does not have and that has no default."""


class Reported:
    """Stands for a value whose problem has been reported already."""


ABSENT = Absent()
REPORTED = Reported()


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """`complete` says that every record has exactly the known keys, so nothing is absent and no default applies."""

    records: Sequence[Record]
    complete: bool
    findings: Findings

    def __len__(self) -> int:
        return len(self.records)


class Block(Protocol):
    """One or more features that are turned into columns of the tensor together."""

    def fill(self, batch: Batch, out: Array) -> None:
        """Writes the columns of the block into `out` (records x columns); problems go to the batch's findings."""


class Reader:
    """Reads features from records: the values of record 0 in the order of the names, then those of record 1, …"""

    def __init__(self, names: Sequence[str], defaults: Sequence[object]) -> None:
        """`defaults` holds what stands in for an absent value; None: it must not be absent."""
        self._pairs = [
            (name, ABSENT if default is None else default) for name, default in zip(names, defaults, strict=True)
        ]
        self._pick: Callable[[Record], Any] = itemgetter(*names)
        self._single = len(names) == 1

    def read(self, batch: Batch) -> list[object]:
        """A flat list of records x names values, `ABSENT` among them where a value is missing."""
        if not batch.complete:
            return [record.get(name, default) for record in batch.records for name, default in self._pairs]
        if self._single:
            return list(map(self._pick, batch.records))
        return list(chain.from_iterable(map(self._pick, batch.records)))
