"""Timestamps: one column per part of a moment."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gateway.preprocess.batch import ABSENT, Array, Batch, Reader
from gateway.preprocess.findings import MISSING
from gateway.preprocess.moments import SECOND, Clock, NotAMoment, part, read_number, read_numbers, read_text, read_texts
from gateway.preprocess.numbers import Column, NumberBlock
from gateway.spec import SpecProblem, TimestampFeature

Now = Callable[[], float]
"""Seconds since 1970."""

_SCALES = {"seconds": 1_000_000, "millis": 1_000}


class TimestampBlock:
    """The parts of one moment, in their order."""

    def __init__(self, feature: TimestampFeature, column: int, dtype: str, now: Now) -> None:
        """Errors: SpecProblem for a default that is no moment."""
        self._feature = feature
        self._column = column
        self._now = now
        self._clock = Clock(feature.timezone)
        self._scale = _SCALES.get(feature.format)
        self._readers = [
            (key, Reader([key], [feature.default if key == feature.key else None])) for key in feature.keys
        ]
        self._number: NumberBlock | None = None
        if len(feature.parts) == 1:
            target = slice(column, column + feature.columns)
            self._number = NumberBlock(None, [Column(key=feature.key, rules=feature)], target, dtype)
        if feature.default is not None:
            try:
                self._read_one(feature.default)
            except NotAMoment as error:
                raise SpecProblem(f"features: {feature.name}.default", str(error)) from error

    def fill(self, batch: Batch, out: Array) -> None:
        self._fill(batch, out, None)

    def fill_except(self, batch: Batch, out: Array, rows: Array) -> None:
        self._fill(batch, out, rows)

    def _fill(self, batch: Batch, out: Array, rows: Array | None) -> None:
        moments = [self._read(key, reader, batch) for key, reader in self._readers]
        if batch.findings.total:
            return
        own = moments[0]
        local = self._clock.local(own)
        columns = [self._part(name, moments, local) for name in self._feature.parts]
        if self._number is not None:
            column = columns[0].astype(np.float64)
            if rows is not None:
                column[rows] = self._feature.placeholder
            self._number.finish(column[:, np.newaxis], None, batch, out)
            return
        for index, column in enumerate(columns):
            out[:, self._column + index] = column

    def _part(self, name: str, moments: list[Array], local: Array) -> Array:
        match name:
            case "epoch":
                return moments[0] / SECOND
            case "elapsed":
                return (moments[0] - moments[1]) / SECOND
            case "age":
                return (round(self._now() * SECOND) - moments[0]) / SECOND
            case _:
                return part(name, local)

    def _read(self, key: str, reader: Reader, batch: Batch) -> Array:
        """The moments of one key; 0 where a value is none, which is reported."""
        values = reader.read(batch)
        many = read_texts(values) if self._scale is None else read_numbers(values, self._scale)
        if many is not None:
            return many
        moments = np.zeros(len(values), dtype=np.int64)
        for record, value in enumerate(values):
            if value is ABSENT:
                batch.findings.add(record, key, MISSING)
                continue
            try:
                moments[record] = self._read_one(value)
            except NotAMoment as problem:
                batch.findings.add(record, key, str(problem))
        return moments

    def _read_one(self, value: object) -> int:
        return read_text(value) if self._scale is None else read_number(value, self._scale)
