"""Transforms of numbers: one a function, on float64 matrices of records x columns, in place, column by column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gateway.preprocess.batch import Array
from gateway.spec import FloatFeature, IntFeature, VectorFeature

Numeric = FloatFeature | IntFeature | VectorFeature


def clip(matrix: Array, low: Array, high: Array) -> None:
    """Values below `low` become `low`, values above `high` become `high`; one bound per column."""
    np.clip(matrix, low, high, out=matrix)


def log1p(matrix: Array, columns: Array) -> None:
    """log(1 + value) of the given columns; the spec guarantees values above -1."""
    matrix[:, columns] = np.log1p(matrix[:, columns])


def rescale(matrix: Array, shift: Array, divisor: Array) -> None:
    """(value - shift) / divisor: normalize with mean and std, min_max with min and max - min."""
    matrix -= shift
    matrix /= divisor


@dataclass(frozen=True, kw_only=True, slots=True)
class Transforms:
    """The transforms of a block of columns, with the ones that change nothing left out."""

    clip: tuple[Array, Array] | None
    log1p: Array | None
    rescale: tuple[Array, Array] | None

    @classmethod
    def of(cls, features: list[Numeric], *, whole: bool) -> Transforms:
        """`features` holds one per column; `whole`: the matrix will be int64, so its bounds must be."""
        low = np.array([_clip_bounds(feature)[0] for feature in features])
        high = np.array([_clip_bounds(feature)[1] for feature in features])
        if whole:
            low, high = (np.array([_int64(bound) for bound in bounds.tolist()]) for bounds in (low, high))
        logs = np.array([index for index, feature in enumerate(features) if feature.log1p], dtype=np.intp)
        shift = np.array([_scale_of(feature)[0] for feature in features])
        divisor = np.array([_scale_of(feature)[1] for feature in features])
        return cls(
            clip=(low, high) if any(feature.clip for feature in features) else None,
            log1p=logs if logs.size else None,
            rescale=(shift, divisor) if (shift != 0).any() or (divisor != 1).any() else None,
        )

    def apply(self, matrix: Array) -> None:
        """In the order that the reference states: clip, log1p, then normalize or min_max."""
        if self.clip is not None:
            clip(matrix, *self.clip)
        if self.log1p is not None:
            log1p(matrix, self.log1p)
        if self.rescale is not None:
            rescale(matrix, *self.rescale)


def representable(feature: Numeric, limit: float) -> tuple[float, float]:
    """The raw values whose transformed value stays within -limit … limit, so that no cast overflows.

    The transforms are monotonous, so it is enough to take the limits back through them. A millionth is left for
    rounding.
    """
    shift, divisor = _scale_of(feature)
    limit *= 1 - 1e-6
    ends = []
    for end in (-limit, limit):
        raw = end * divisor + shift
        if feature.log1p:
            raw = math.expm1(raw) if raw < 700 else math.inf
        ends.append(min(max(raw, -_FLOAT64_MAX), _FLOAT64_MAX))
    low, high = ends
    clip_low, clip_high = _clip_bounds(feature)
    return (-_FLOAT64_MAX if clip_low >= low else low), (_FLOAT64_MAX if clip_high <= high else high)


_FLOAT64_MAX = float(np.finfo(np.float64).max)


def _clip_bounds(feature: Numeric) -> tuple[float, float]:
    if feature.clip is None:
        return -math.inf, math.inf
    low, high = feature.clip.min, feature.clip.max
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def _int64(bound: float) -> int:
    limits = np.iinfo(np.int64)
    if bound >= limits.max:
        return int(limits.max)
    return int(max(bound, limits.min))


def _scale_of(feature: Numeric) -> tuple[float, float]:
    if feature.normalize:
        return feature.normalize.mean, feature.normalize.std
    if feature.min_max:
        return feature.min_max.min, feature.min_max.max - feature.min_max.min
    return 0.0, 1.0
