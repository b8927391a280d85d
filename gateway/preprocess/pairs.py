"""Two fields of a record as one number: ratio and difference."""

from __future__ import annotations

import numpy as np

from gateway.preprocess.batch import ABSENT, Array, Batch, Reader
from gateway.preprocess.numbers import Column, NumberBlock
from gateway.spec import DifferenceFeature, RatioFeature, Transformed


class _PairSource:
    """Both fields; where a default stands in for the result, an absent one is a number that does not matter."""

    def __init__(self, feature: RatioFeature | DifferenceFeature) -> None:
        self._reader = Reader(feature.of)
        self._replaced = feature.default is not None

    def read(self, batch: Batch) -> list[object]:
        flat = self._reader.read(batch)
        return [1.0 if value is ABSENT else value for value in flat] if self._replaced else flat


class PairBlock:
    """One column from two fields; bounds and transforms apply to the result."""

    def __init__(self, feature: RatioFeature | DifferenceFeature, column: int, dtype: str) -> None:
        self._feature = feature
        columns = [Column(key=key, rules=Transformed()) for key in feature.of]
        self._pair = NumberBlock(_PairSource(feature), columns, slice(0, 2), "float64")
        self._reader = Reader(feature.of)
        target = slice(column, column + feature.columns)
        self._result = NumberBlock(None, [Column(key=feature.name, rules=feature)], target, dtype)

    def fill(self, batch: Batch, out: Array) -> None:
        rows: Array = np.zeros(len(batch), dtype=bool)
        default = self._feature.default
        if default is not None and not batch.complete:
            absent = [value is ABSENT for value in self._reader.read(batch)]
            rows = np.logical_or.reduce(np.array(absent, dtype=bool).reshape(-1, 2), axis=1)
        self._fill(batch, out, rows, 0.0 if default is None else default)

    def fill_except(self, batch: Batch, out: Array, rows: Array) -> None:
        value = self._feature.stand_in
        self._fill(batch, out, rows, self._feature.placeholder if value is None else value)

    def _fill(self, batch: Batch, out: Array, rows: Array, value: float) -> None:
        matrix, reported = self._pair.read(batch)
        wrong = ~np.isfinite(matrix)
        for record, side in np.argwhere(wrong).tolist():
            batch.findings.add(record, self._feature.of[side], "NaN or Infinity is not a number here")
        bad: Array = np.asarray((wrong if reported is None else wrong | reported).any(axis=1))
        first, second = np.where(bad | rows, 1.0, matrix.T)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is outside the bounds
            divides = isinstance(self._feature, RatioFeature)
            result = self._ratio(first, second, bad, batch) if divides else first - second
        result[rows] = value
        self._result.finish(result[:, np.newaxis], bad[:, np.newaxis], batch, out)

    def _ratio(self, first: Array, second: Array, bad: Array, batch: Batch) -> Array:
        zero = second == 0
        result: Array = first / np.where(zero, 1.0, second)
        if zero.any():
            assert isinstance(self._feature, RatioFeature)
            if self._feature.zero is not None:
                result[zero] = self._feature.zero
            else:
                bad |= zero
                for record in np.flatnonzero(zero).tolist():
                    batch.findings.add(record, self._feature.of[1], f"0, and {self._feature.name} divides by it")
        return result
