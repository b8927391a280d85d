"""null and absent keys of features that say what a missing value is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np

from gateway.preprocess.batch import ABSENT, Array, Batch, Block, JointBlock, Reader, Record
from gateway.preprocess.findings import MISSING
from gateway.preprocess.numbers import NumberBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """One feature whose value may be missing: it is where one of `keys` is null or absent.

    `stand_ins` is what the feature reads then in place of what is missing; keys beside `keys` are read so in any case.
    Its columns are `fill` then, whatever it read; None leaves what came of the stand-ins. `flag` is the column that
    says so; None for none.
    """

    keys: Sequence[str]
    stand_ins: Mapping[str, object]
    columns: slice
    fill: float | None
    flag: int | None
    required: bool


class MissingNumbers:
    """Numbers of one key each, some of whose values may be missing: what stands in is put among the raw values."""

    def __init__(self, inner: NumberBlock, gaps: Sequence[Gap]) -> None:
        self._inner = inner
        self._gaps = gaps
        self._reader = Reader([gap.keys[0] for gap in gaps])
        self._stand_ins = [gap.stand_ins[gap.keys[0]] for gap in gaps]
        self._required = any(gap.required for gap in gaps)

    def fill(self, batch: Batch, out: Array) -> None:
        flat = self._reader.read(batch)
        if None not in flat and (batch.complete or ABSENT not in flat):
            self._inner.finish(*self._inner.convert(flat, batch), batch, out)
            return
        gaps = [value is None or value is ABSENT for value in flat]
        if self._required:
            for index, value in enumerate(flat):
                row, column = divmod(index, len(self._gaps))
                if value is ABSENT and self._gaps[column].required:
                    batch.findings.add(row, self._gaps[column].keys[0], MISSING)
        stand_ins = cycle(self._stand_ins)
        filled = [stand_in if gap else value for value, gap, stand_in in zip(flat, gaps, stand_ins, strict=False)]
        self._inner.finish(*self._inner.convert(filled, batch), batch, out)
        _mark(np.array(gaps).reshape(len(batch), -1), self._gaps, out)


def _mark(missing: Array, gaps: Sequence[Gap], out: Array) -> None:
    """Fills and flags of what is missing: records x gaps."""
    for gap, rows in zip(gaps, missing.T, strict=True):
        if gap.fill is not None:
            out[rows, gap.columns] = gap.fill
        if gap.flag is not None:
            out[:, gap.flag] = rows


class MissingBlock:
    """A block of features, some of whose values may be missing."""

    def __init__(self, inner: Block, gaps: Sequence[Gap]) -> None:
        self._inner = inner
        self._gaps = gaps
        self._reader = Reader([key for gap in gaps for key in gap.keys])
        self._owner = np.repeat(np.arange(len(gaps)), [len(gap.keys) for gap in gaps])

    def fill(self, batch: Batch, out: Array) -> None:
        flat = self._reader.read(batch)
        if None not in flat and (batch.complete or ABSENT not in flat):
            self._inner.fill(batch, out)
            return
        absent = np.array([value is ABSENT for value in flat]).reshape(len(batch), -1)
        holes = absent | np.array([value is None for value in flat]).reshape(len(batch), -1)
        missing = np.stack([holes[:, self._owner == index].any(axis=1) for index in range(len(self._gaps))], axis=1)
        records = list(batch.records)
        for row, index in np.argwhere(missing).tolist():
            records[row] = _patched(records[row], self._gaps[index])
        self._report(batch, absent)
        patched = replace(batch, records=records)
        if isinstance(self._inner, JointBlock):
            self._inner.fill_except(patched, out, missing[:, 0])
        else:
            self._inner.fill(patched, out)
        _mark(missing, self._gaps, out)

    def _report(self, batch: Batch, absent: Array) -> None:
        """Keys that must be there, though they may be null."""
        if not any(gap.required for gap in self._gaps):
            return
        keys = [key for gap in self._gaps for key in gap.keys]
        for row, column in np.argwhere(absent).tolist():
            if self._gaps[self._owner[column]].required:
                batch.findings.add(row, keys[column], MISSING)


def _patched(record: Record, gap: Gap) -> Record:
    return {
        **record,
        **{key: value for key, value in gap.stand_ins.items() if key not in gap.keys or record.get(key) is None},
    }
