"""Answered records, gathered and counted together: the cost of numpy is shared by many requests.

Above `RECORDS_A_SECOND` records a second, each model's records are sampled: evenly from every request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from numpy.typing import NDArray

from gateway.drift.watch import Watch
from gateway.preprocess import Record
from gateway.spec import Distribution, Output

log = logging.getLogger("gateway.drift")

RECORDS_A_SECOND: Final = 500
"""Records a second per model, version and label that are counted."""
TOGETHER: Final = 128
"""Records that are counted at once."""
FEW: Final = 16
"""The same where one record may be large, because they are kept until then."""
LABELS: Final = ("model", "reference", "version", "label", "kind", "feature", "bin")
"""Of the counter: `reference` is the version whose bins they are, `version` the one that answered."""

Array = NDArray[Any]
Watches = Mapping[int, Watch]
"""By version: a record is counted into the bins of every version of its model, so that labels can be compared."""


@dataclass(slots=True, kw_only=True)
class _Gathered:
    watches: Watches
    output: Output
    together: int
    second: int = 0
    left: int = RECORDS_A_SECOND
    records: list[Record] = field(default_factory=list)
    predictions: list[object] = field(default_factory=list)


class Drift:
    """Counts the records of a gateway."""

    def __init__(self, *, time: Callable[[], float], chance: Callable[[], float]) -> None:
        self._time = time
        self._chance = chance
        self._gathered: dict[tuple[str, int, str], _Gathered] = {}
        self._counts: dict[tuple[str, ...], tuple[Distribution, Array]] = {}

    def take(
        self,
        model: str,
        version: int,
        label: str,
        records: Sequence[Record],
        predictions: Sequence[object],
        watches: Watches,
        output: Output,
    ) -> None:
        """Records that `version` has answered by `output`; all of them have passed its feature spec."""
        key = (model, version, label)
        mine = self._gathered.get(key)
        if mine is None or mine.watches is not watches:
            if mine is not None:
                self._count(key, mine)
            together = FEW if any(watch.heavy for watch in watches.values()) else TOGETHER
            mine = self._gathered[key] = _Gathered(watches=watches, output=output, together=together)
        second = int(self._time())
        if second != mine.second:
            mine.second, mine.left = second, RECORDS_A_SECOND
        if len(records) > mine.left:
            if not mine.left:
                return
            step = len(records) / mine.left
            places = [int((place + self._chance()) * step) for place in range(mine.left)]
            records, predictions = [records[at] for at in places], [predictions[at] for at in places]
        mine.left -= len(records)
        mine.records += records
        mine.predictions += predictions
        if len(mine.records) >= mine.together:
            self._count(key, mine)

    def read(self) -> dict[tuple[str, ...], float]:
        """All counts so far by `LABELS`."""
        for key, mine in self._gathered.items():
            if mine.records:
                self._count(key, mine)
        return {
            (*who, name): float(count)
            for who, (distribution, counts) in self._counts.items()
            for name, count in zip(distribution.bins, counts.tolist(), strict=True)
        }

    def keep(self, references: Collection[tuple[str, int]]) -> None:
        """Forget the counts in the bins of other versions than these: model and version."""
        known = {(model, str(version)) for model, version in references}
        self._counts = {who: counts for who, counts in self._counts.items() if who[:2] in known}

    def _count(self, key: tuple[str, int, str], mine: _Gathered) -> None:
        model, version, label = key
        records, predictions = mine.records, mine.predictions
        mine.records, mine.predictions = [], []
        for reference, watch in mine.watches.items():
            try:
                for kind, distribution, counts in watch.count(records, predictions, mine.output):
                    self._add(
                        (model, str(reference), str(version), label, kind, distribution.name), distribution, counts
                    )
            except Exception:  # what is counted must never fail a request that was answered
                log.exception("records of %s version %s cannot be counted for drift", model, version)

    def _add(self, who: tuple[str, ...], distribution: Distribution, counts: Array) -> None:
        known = self._counts.get(who)
        if known is None or known[0] is not distribution:
            # A new config has new objects; the counts go on where the bins are the same.
            before = known[1] if known is not None and known[0] == distribution else 0
            self._counts[who] = (distribution, counts + before)
        else:
            known[1][:] += counts
