"""A fit of the Universal Scalability Law: the throughput X of N replicas is

    X(N) = λN / (1 + σ(N−1) + κN(N−1))

λ is the capacity of one replica, σ the share of work that waits for a shared resource (contention), κ the cost of
coordination between replicas (coherence; it makes throughput fall again). Source: Gunther, "Guerrilla Capacity
Planning". N/X is linear in 1/λ, σ/λ and κ/λ, so the fit is a small least-squares problem with weights for a constant
relative error. Parameters that would be negative are fixed at zero.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

CONFIDENCE = 0.95
_EVERY_TERM = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A measurement: `replicas` sustained `throughput` requests a second."""

    replicas: int
    throughput: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with the bounds of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The fitted law. `parameters` is 3 for the full law, 2 if κ was not fitted (Amdahl's law); then κ is 0.

    `curve` has X(N) with its interval for every whole N up to twice the largest measured one.
    """

    parameters: int
    rate: Interval
    contention: Interval
    coherence: Interval
    points: int
    largest: int
    curve: tuple[Interval, ...]

    def throughput(self, replicas: int) -> float:
        """X(replicas) of the estimate."""
        return _law(self.rate.value, self.contention.value, self.coherence.value, replicas)

    @property
    def coherence_is_distinct(self) -> bool:
        """Whether the interval of κ is above 0."""
        return self.parameters == 3 and self.coherence.low > 0

    @property
    def peak(self) -> int | None:
        """The number of replicas with the highest throughput; None if κ is not distinguishable from 0."""
        if not self.coherence_is_distinct or self.contention.value >= 1:
            return None
        return max(1, round(math.sqrt((1 - self.contention.value) / self.coherence.value)))

    def replicas_for(self, throughput: float, *, limit: int = 1000) -> int | None:
        """The minimum of replicas that sustain `throughput`; None if no number up to `limit` does."""
        return next((n for n in range(1, limit + 1) if self.throughput(n) >= throughput), None)


def parameters_for(points: Sequence[Point]) -> int:
    """How many parameters the points allow: 3, 2 or 0 (no fit). Three need six points at three replica counts."""
    counts = len({p.replicas for p in points})
    if len(points) >= 6 and counts >= 3:
        return 3
    return 2 if len(points) >= 3 and counts >= 2 else 0


def fit(points: Sequence[Point], *, seed: int = 1, resamples: int = 1000) -> Fit | None:
    """Fit as many parameters as the points allow; None if there are too few points.

    Intervals come from a bootstrap of the relative residuals, widened by the degrees of freedom of the fit.
    """
    points = [p for p in points if p.throughput > 0]
    parameters = parameters_for(points)
    if not parameters:
        return None
    terms = _EVERY_TERM[:parameters]
    estimate = _solve(points, terms)
    fitted = [_law(*estimate, p.replicas) for p in points]
    spare = max(1, len(points) - parameters)
    widen = math.sqrt(len(points) / spare)
    residuals = [widen * (p.throughput / x - 1) for p, x in zip(points, fitted, strict=True)]
    rng = random.Random(seed)
    again = []
    for _ in range(resamples):
        noisy = [
            Point(replicas=p.replicas, throughput=x * max(0.05, 1 + rng.choice(residuals)))
            for p, x in zip(points, fitted, strict=True)
        ]
        again.append(_solve(noisy, terms))

    def interval(of: Callable[[tuple[float, float, float]], float]) -> Interval:
        low, high = bounds([of(resample) for resample in again])
        return Interval(value=of(estimate), low=low, high=high)

    largest = max(p.replicas for p in points)
    return Fit(
        parameters=parameters,
        rate=interval(lambda p: p[0]),
        contention=interval(lambda p: p[1]),
        coherence=interval(lambda p: p[2]),
        points=len(points),
        largest=largest,
        curve=tuple(interval(partial(_at, n)) for n in range(1, 2 * largest + 1)),
    )


def bounds(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The central interval of resampled values."""
    ordered = sorted(values)
    tail = (1 - confidence) / 2
    last = len(ordered) - 1
    return ordered[round(tail * last)], ordered[round((1 - tail) * last)]


def _law(rate: float, contention: float, coherence: float, n: int) -> float:
    return rate * n / (1 + contention * (n - 1) + coherence * n * (n - 1))


def _at(n: int, parameters: tuple[float, float, float]) -> float:
    return _law(*parameters, n)


def _solve(points: Sequence[Point], terms: tuple[int, ...]) -> tuple[float, float, float]:
    """λ, σ, κ by least squares: the best fit without negative values, with σ or κ fixed at 0 if necessary."""
    import numpy as np  # imported late: it takes a tenth of a second that most verbs do not need

    # N/X = (1 + σ(N−1) + κN(N−1)) / λ; both sides times X/N make the error of every point relative to its X.
    rows = np.array([[p.throughput / p.replicas * term for term in _terms(p.replicas)] for p in points])
    best, best_error = np.zeros(3), math.inf
    for size in range(1, len(terms) + 1):
        for chosen in map(list, combinations(terms, size)):
            if 0 not in chosen:
                continue
            found, _, rank, _ = np.linalg.lstsq(rows[:, chosen], np.ones(len(points)), rcond=None)
            if rank < size or found[0] <= 0 or found.min() < 0:
                continue
            error = float(((rows[:, chosen] @ found - 1) ** 2).sum())
            if error < best_error - 1e-15:
                best, best_error = np.zeros(3), error
                best[chosen] = found
    rate = 1 / float(best[0]) if best[0] else 0.0
    return rate, float(best[1]) * rate, float(best[2]) * rate


def _terms(n: int) -> tuple[float, float, float]:
    return 1.0, n - 1.0, n * (n - 1.0)
