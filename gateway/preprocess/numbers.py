"""Blocks of numbers: all float features of a spec at once, all int features, one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Protocol

import numpy as np

from gateway.preprocess.batch import ABSENT, REPORTED, Array, Batch, Reader
from gateway.preprocess.currency import Money
from gateway.preprocess.findings import MISSING, kind_name, shown
from gateway.preprocess.tabular import Numeric, Transforms, representable
from gateway.spec import FloatFeature, IntFeature, VectorFeature

_INT64 = np.iinfo(np.int64)


class Source(Protocol):
    """Where a block's raw values come from: a flat list of records x columns."""

    def read(self, batch: Batch) -> list[object]: ...


class VectorSource:
    """The elements of a vector feature; a value that is no list of the right length is reported here."""

    def __init__(self, feature: VectorFeature) -> None:
        self._name = feature.name
        self._length = feature.length
        self._reader = Reader([feature.name], [feature.default])

    def read(self, batch: Batch) -> list[object]:
        vectors = self._reader.read(batch)
        rows: list[Sequence[object]] = []
        for record, vector in enumerate(vectors):
            if isinstance(vector, list | tuple) and len(vector) == self._length:
                rows.append(vector)
                continue
            if vector is ABSENT:
                problem = MISSING
            elif isinstance(vector, list | tuple):
                problem = f"expected {self._length} numbers, got {len(vector)}"
            else:
                problem = f"expected an array of {self._length} numbers, got {kind_name(vector)}"
            batch.findings.add(record, self._name, problem)
            rows.append([REPORTED] * self._length)
        return list(chain.from_iterable(rows))


class NumberBlock:
    """Columns of numbers of one kind: float64 from ints and floats, or int64 from whole numbers only."""

    def __init__(
        self, source: Source, features: list[Numeric], columns: slice | Array, money: Sequence[Money], dtype: str
    ) -> None:
        """`features` holds one per column of the block, `columns` where they go in the tensor of type `dtype`."""
        self._source = source
        self._features = features
        self._columns = columns
        self._money = money
        self._dtype = dtype
        self._whole = all(isinstance(feature, IntFeature) for feature in features)
        self._raw = np.int64 if self._whole else np.float64
        self._accepted = frozenset({int}) if self._whole else frozenset({int, float})
        self._low, self._high = self._bounds()
        self._cast_first = self._whole and dtype.startswith("float")
        self._transforms = Transforms.of(features, whole=self._whole and not self._cast_first)

    def fill(self, batch: Batch, out: Array) -> None:
        flat = self._source.read(batch)
        shape = (len(batch), len(self._features))
        reported: Array | None = None
        matrix = self._convert(flat)
        if matrix is None:
            matrix, reported = self._sift(flat, batch)
            reported = reported.reshape(shape)
        matrix = matrix.reshape(shape)
        fits = (self._low <= matrix) & (matrix <= self._high)
        for money in self._money:
            fits[:, money.column] = self._exchange(money, batch, matrix)
        if np.count_nonzero(fits) != fits.size:  # all() takes three times as long for one record
            self._report(~fits if reported is None else ~(fits | reported), matrix, batch)
        if batch.findings.total:
            return
        if self._cast_first:
            matrix = matrix.astype(np.float64)
        self._transforms.apply(matrix)
        out[:, self._columns] = matrix

    def _convert(self, flat: list[object]) -> Array | None:
        """All values as one array; None when one of them is not a number that the array can hold."""
        if not self._accepted.issuperset(map(type, flat)):
            return None
        try:
            return np.array(flat, dtype=self._raw)
        except OverflowError:
            return None

    def _exchange(self, money: Money, batch: Batch, matrix: Array) -> Array:
        """Converts one column; which of its amounts are within bounds, those without a known currency among them."""
        column = matrix[:, money.column]
        factors = money.factors(batch)
        with np.errstate(over="ignore"):  # what overflows is outside the bounds
            column *= np.where(np.isnan(factors), 1.0, factors)
        low, high = self._low[money.column], self._high[money.column]
        fits: Array = np.isnan(factors) | ((low <= column) & (column <= high))
        return fits

    def _bounds(self) -> tuple[Array, Array]:
        """The raw values that are taken, per column: min and max, and what the tensor's type can hold."""
        low, high = [], []
        for feature in self._features:
            smallest, largest = self._holds(feature)
            low.append(smallest if feature.min is None else max(smallest, feature.min))
            high.append(largest if feature.max is None else min(largest, feature.max))
        if not self._whole:
            return np.array(low), np.array(high)
        floor = [_within_int64(math.ceil(bound)) for bound in low]
        ceiling = [_within_int64(math.floor(bound)) for bound in high]
        return np.array(floor, dtype=np.int64), np.array(ceiling, dtype=np.int64)

    def _holds(self, feature: Numeric) -> tuple[float, float]:
        if self._dtype.startswith("float"):
            return representable(feature, float(np.finfo(self._dtype).max))
        limits = np.iinfo(self._dtype)
        clip = feature.clip
        low = -math.inf if clip and clip.min is not None and clip.min >= limits.min else int(limits.min)
        high = math.inf if clip and clip.max is not None and clip.max <= limits.max else int(limits.max)
        return max(low, int(_INT64.min)), min(high, int(_INT64.max))

    def _sift(self, flat: list[object], batch: Batch) -> tuple[Array, Array]:
        """Value by value, for batches in which something is not what it should be: the numbers, and where none is."""
        values: list[float] = [0] * len(flat)
        wrong = np.zeros(len(flat), dtype=bool)
        for index, value in enumerate(flat):
            problem = self._problem(value)
            if problem is None and isinstance(value, int | float):
                values[index] = value
            else:
                wrong[index] = True
                if problem:
                    record, column = divmod(index, len(self._features))
                    batch.findings.add(record, self._features[column].name, self._at(column) + problem)
        return np.array(values, dtype=self._raw), wrong

    def _problem(self, value: object) -> str | None:
        """What is wrong with the type of a raw value; empty when that has been reported, None when nothing is."""
        if value is REPORTED:
            return ""
        if value is ABSENT:
            return MISSING
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected a {'whole ' if self._whole else ''}number, got {kind_name(value)}"
        if not self._whole:
            return None if isinstance(value, float) or abs(value) < 1 << 1023 else f"too large for {self._dtype}"
        if isinstance(value, float) and not value.is_integer():
            return f"expected a whole number, got {shown(value)}"
        return None if _INT64.min <= value <= _INT64.max else "too large for int64"

    def _report(self, outside: Array, matrix: Array, batch: Batch) -> None:
        for record, column in np.argwhere(outside).tolist():
            value = matrix[record, column].item()
            batch.findings.add(record, self._features[column].name, partial(self._why, value, column))

    def _why(self, value: float, column: int) -> str:
        """Why a number is outside the bounds of its column."""
        feature = self._features[column]
        at = self._at(column)
        if isinstance(value, float) and not math.isfinite(value):
            return f"{at}{'NaN' if math.isnan(value) else 'Infinity'} is not a number here"
        unit = f" {feature.currency.to}" if isinstance(feature, FloatFeature) and feature.currency else ""
        if feature.min is not None and value < feature.min:
            return f"{at}{shown(value)}{unit} is below min {shown(feature.min)}"
        if feature.max is not None and value > feature.max:
            return f"{at}{shown(value)}{unit} is above max {shown(feature.max)}"
        return f"{at}{shown(value)}{unit} does not fit {self._dtype}"

    def _at(self, column: int) -> str:
        return f"element {column}: " if isinstance(self._features[column], VectorFeature) else ""


def _within_int64(value: int) -> int:
    return min(max(value, int(_INT64.min)), int(_INT64.max))
