"""Transforms of numbers: one a function, on float64 matrices of records x columns, in place, column by column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.preprocess.batch import Array
from gateway.spec import Bucketize, Transformed

_FLOAT64_MAX = float(np.finfo(np.float64).max)
_CURVES = {"log1p": np.log1p, "log": np.log, "sqrt": np.sqrt}


def clip(matrix: Array, low: Array, high: Array) -> None:
    """Values below `low` become `low`, values above `high` become `high`; one bound per column."""
    np.clip(matrix, low, high, out=matrix)


def curve(matrix: Array, name: str, columns: Array) -> None:
    """log1p, log or sqrt of the given columns; the spec guarantees values for which they are defined."""
    matrix[:, columns] = _CURVES[name](matrix[:, columns])


def power(matrix: Array, columns: Array, exponents: Array) -> None:
    """value ** exponent of the given columns; the spec guarantees values for which it is defined."""
    matrix[:, columns] = np.power(matrix[:, columns], exponents)


def rescale(matrix: Array, shift: Array, divisor: Array) -> None:
    """(value - shift) / divisor: normalize with mean and std, min_max with min and max - min."""
    matrix -= shift
    matrix /= divisor


def bucketize(matrix: Array, bucketize: Bucketize, out: Array) -> None:
    """How many boundaries are not above each value, in `out`: one column a value, or one per bucket."""
    buckets = np.searchsorted(bucketize.boundaries, matrix, side="right")
    if bucketize.encoding == "index":
        out[:] = buckets
        return
    size = len(bucketize.boundaries) + 1
    hot = np.zeros((*matrix.shape, size), dtype=out.dtype)
    np.put_along_axis(hot, buckets[..., np.newaxis], 1, axis=-1)
    out[:] = hot.reshape(len(matrix), -1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transforms:
    """The transforms of a block of columns, with the ones that change nothing left out."""

    clip: tuple[Array, Array] | None
    curves: Sequence[tuple[str, Array]]
    power: tuple[Array, Array] | None
    rescale: tuple[Array, Array] | None

    @classmethod
    def of(cls, rules: Sequence[Transformed], *, whole: bool) -> Transforms:
        """`rules` holds one per column; `whole`: the matrix will be int64, so its bounds must be."""
        low = np.array([_clip_bounds(rule)[0] for rule in rules])
        high = np.array([_clip_bounds(rule)[1] for rule in rules])
        if whole:
            low, high = (np.array([_int64(bound) for bound in bounds.tolist()]) for bounds in (low, high))
        shift = np.array([_scale_of(rule)[0] for rule in rules])
        divisor = np.array([_scale_of(rule)[1] for rule in rules])
        powers = _with(rules, "power")
        exponents = np.array([rule.power for rule in rules if rule.power is not None])
        return cls(
            clip=(low, high) if any(rule.clip for rule in rules) else None,
            curves=[(name, columns) for name in _CURVES if (columns := _with(rules, name)).size],
            power=(powers, exponents) if powers.size else None,
            rescale=(shift, divisor) if (shift != 0).any() or (divisor != 1).any() else None,
        )

    def apply(self, matrix: Array) -> None:
        """In the order that the reference states: clip, the curve, then normalize or min_max."""
        if self.clip is not None:
            clip(matrix, *self.clip)
        for name, columns in self.curves:
            curve(matrix, name, columns)
        if self.power is not None:
            power(matrix, *self.power)
        if self.rescale is not None:
            rescale(matrix, *self.rescale)


def representable(rule: Transformed, limit: float) -> tuple[float, float]:
    """The raw values whose transformed value stays within -limit … limit, so that no cast overflows.

    The transforms are monotonous, so it is enough to take the limits back through them. A millionth is left for
    rounding.
    """
    shift, divisor = _scale_of(rule)
    if rule.curve is None and (shift, divisor) == (0.0, 1.0):
        return (-_FLOAT64_MAX if _clip_bounds(rule)[0] >= -limit else -limit), (
            _FLOAT64_MAX if _clip_bounds(rule)[1] <= limit else limit
        )
    limit *= 1 - 1e-6
    ends = [_uncurved(rule, end * divisor + shift) for end in (-limit, limit)]
    low, high = (min(max(end, -_FLOAT64_MAX), _FLOAT64_MAX) for end in sorted(ends))
    clip_low, clip_high = _clip_bounds(rule)
    return (-_FLOAT64_MAX if clip_low >= low else low), (_FLOAT64_MAX if clip_high <= high else high)


def _uncurved(rule: Transformed, value: float) -> float:
    """The value whose curve this is; where there is none, the end of the numbers that lies nearest."""
    if rule.log1p:
        return math.expm1(value) if value < 700 else math.inf
    if rule.log:
        return math.exp(value) if value < 700 else math.inf
    exponent = 0.5 if rule.sqrt else rule.power
    if exponent is None:
        return value
    if value <= 0:
        return -math.inf if exponent > 0 else math.inf
    try:
        return float(value ** (1 / exponent))
    except OverflowError:
        return math.inf


def _with(rules: Sequence[Transformed], key: str) -> Array:
    return np.array([index for index, rule in enumerate(rules) if getattr(rule, key)], dtype=np.intp)


def _clip_bounds(rule: Transformed) -> tuple[float, float]:
    if rule.clip is None:
        return -math.inf, math.inf
    low, high = rule.clip.min, rule.clip.max
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def _int64(bound: float) -> int:
    limits = np.iinfo(np.int64)
    if bound >= limits.max:
        return int(limits.max)
    return int(max(bound, limits.min))


def _scale_of(rule: Transformed) -> tuple[float, float]:
    if rule.normalize:
        return rule.normalize.mean, rule.normalize.std
    if rule.min_max:
        return rule.min_max.min, rule.min_max.max - rule.min_max.min
    return 0.0, 1.0
