"""Blocks of numbers: all float features of a tensor at once, all int features, one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol

import numpy as np

from gateway.preprocess.batch import ABSENT, REPORTED, Array, Batch, Reader
from gateway.preprocess.currency import Money
from gateway.preprocess.findings import MISSING, kind_name, shown
from gateway.preprocess.tabular import Transforms, bucketize, representable
from gateway.spec import Transformed, VectorFeature

_INT64 = np.iinfo(np.int64)


class Source(Protocol):
    """Where a block's raw values come from: a flat list of records x columns."""

    def read(self, batch: Batch) -> list[object]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of raw numbers: the key that problems name, its rules, and what is said beside its values."""

    key: str
    rules: Transformed
    prefix: str = ""
    unit: str = ""


class VectorSource:
    """The elements of a vector feature; a value that is no list of the right length is reported here."""

    def __init__(self, feature: VectorFeature) -> None:
        self._key = feature.key
        self._length = feature.length
        self._reader = Reader([feature.key], [feature.default])

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
            batch.findings.add(record, self._key, problem)
            rows.append([REPORTED] * self._length)
        return list(chain.from_iterable(rows))


class NumberBlock:
    """Columns of numbers of one kind: float64 from ints and floats, or int64 from whole numbers only."""

    def __init__(
        self,
        source: Source | None,
        columns: Sequence[Column],
        target: slice | Array,
        dtype: str,
        *,
        whole: bool = False,
        money: Sequence[Money] = (),
    ) -> None:
        """`target` is where the columns go in the tensor of type `dtype`. Without a `source`, `finish` is called with
        the numbers. Buckets are those of the first column, and of all."""
        self._source = source
        self._columns = columns
        self._target = target
        self._dtype = dtype
        self._money = money
        self._whole = whole
        self._raw = np.int64 if whole else np.float64
        self._accepted = frozenset({int}) if whole else frozenset({int, float})
        rules = [column.rules for column in columns]
        self._buckets = rules[0].bucketize
        self._low, self._high = self._bounds()
        self._cast_first = whole and (dtype.startswith("float") or self._buckets is not None)
        self._transforms = Transforms.of(rules, whole=whole and not self._cast_first)

    def fill(self, batch: Batch, out: Array) -> None:
        matrix, reported = self.read(batch)
        self.finish(matrix, reported, batch, out)

    def read(self, batch: Batch) -> tuple[Array, Array | None]:
        """The raw numbers, and where a value is none, which is reported."""
        if self._source is None:
            raise TypeError("this block is given its numbers")
        return self.convert(self._source.read(batch), batch)

    def convert(self, flat: list[object], batch: Batch) -> tuple[Array, Array | None]:
        """A flat list of records x columns values as numbers, and where a value is none, which is reported."""
        shape = (len(batch), len(self._columns))
        matrix = self._convert(flat)
        if matrix is not None:
            return matrix.reshape(shape), None
        matrix, reported = self._sift(flat, batch)
        return matrix.reshape(shape), reported.reshape(shape)

    def finish(self, matrix: Array, reported: Array | None, batch: Batch, out: Array) -> None:
        """Checks and transforms raw numbers; `reported` marks values that are none."""
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
        if self._buckets is not None:
            bucketize(matrix, self._buckets, out[:, self._target])
        else:
            out[:, self._target] = matrix

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
        for rules in (column.rules for column in self._columns):
            smallest, largest = self._holds(rules)
            low.append(smallest if rules.min is None else max(smallest, rules.min))
            high.append(largest if rules.max is None else min(largest, rules.max))
        if not self._whole:
            return np.array(low), np.array(high)
        floor = [_within_int64(math.ceil(bound)) for bound in low]
        ceiling = [_within_int64(math.floor(bound)) for bound in high]
        return np.array(floor, dtype=np.int64), np.array(ceiling, dtype=np.int64)

    def _holds(self, rules: Transformed) -> tuple[float, float]:
        if self._dtype.startswith("float") or self._buckets is not None:
            dtype = "float64" if self._buckets is not None else self._dtype
            return representable(rules, float(np.finfo(dtype).max))
        limits = np.iinfo(self._dtype)
        clip = rules.clip
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
                    record, at = divmod(index, len(self._columns))
                    column = self._columns[at]
                    batch.findings.add(record, column.key, column.prefix + problem)
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
        if isinstance(value, float) and not math.isfinite(value):
            return f"{_unreal(value)} is not a number here"
        if isinstance(value, float) and not value.is_integer():
            return f"expected a whole number, got {shown(value)}"
        return None if _INT64.min <= value <= _INT64.max else "too large for int64"

    def _report(self, outside: Array, matrix: Array, batch: Batch) -> None:
        for record, column in np.argwhere(outside).tolist():
            value = matrix[record, column].item()
            batch.findings.add(record, self._columns[column].key, partial(self._why, value, self._columns[column]))

    def _why(self, value: float, column: Column) -> str:
        """Why a number is outside the bounds of its column."""
        rules, at = column.rules, column.prefix
        if isinstance(value, float) and not math.isfinite(value):
            return f"{at}{_unreal(value)} is not a number here"
        if rules.min is not None and value < rules.min:
            return f"{at}{shown(value)}{column.unit} is below min {shown(rules.min)}"
        if rules.max is not None and value > rules.max:
            return f"{at}{shown(value)}{column.unit} is above max {shown(rules.max)}"
        return f"{at}{shown(value)}{column.unit} does not fit {self._dtype}"


def _unreal(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity"


def _within_int64(value: int) -> int:
    return min(max(value, int(_INT64.min)), int(_INT64.max))
