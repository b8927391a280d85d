"""Statistical tests and intervals for gates: exact, and without any library."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


def binomial_at_least(successes: int, trials: int, share: float) -> float:
    """P(X ≥ successes) for X ~ Binomial(trials, share): the p-value of "the true share is at most `share`"."""
    if successes <= 0:
        return 1.0
    if successes > trials or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    mean = trials * share
    if successes > mean:
        return min(1.0, _upward(successes, trials, share))
    return max(0.0, 1.0 - _downward(successes - 1, trials, share))


def _upward(first: int, trials: int, share: float) -> float:
    """Sum of the terms from `first` up, which decrease; stops when they are negligible."""
    term = math.exp(_log_term(first, trials, share))
    total = 0.0
    for k in range(first, trials + 1):
        total += term
        if term < total * 1e-16:
            break
        term *= (trials - k) / (k + 1) * share / (1 - share)
    return total


def _downward(last: int, trials: int, share: float) -> float:
    """Sum of the terms from `last` down, which decrease below the mean."""
    term = math.exp(_log_term(last, trials, share))
    total = 0.0
    for k in range(last, -1, -1):
        total += term
        if term < total * 1e-16:
            break
        term *= k / (trials - k + 1) * (1 - share) / share
    return total


def _log_term(k: int, trials: int, share: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
    return ways + k * math.log(share) + (trials - k) * math.log1p(-share)


def rate_excess(bad: int, trials: int, other_bad: int, other_trials: int, factor: float = 1.0) -> float:
    """P-value of "the first rate is at most `factor` times the second".

    Given the total number of bad trials, those of the first are binomial (exact for Poisson counts, a conservative
    approximation for rare events). 1.0 when there are no bad trials or no trials.
    """
    weight = factor * trials
    if trials == 0 or weight + other_trials == 0:
        return 1.0
    return binomial_at_least(bad, bad + other_bad, weight / (weight + other_trials))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its bounds; `high` is infinite if the observations give no upper bound."""

    low: float
    estimate: float
    high: float


def quantile(q: float, bounds: Sequence[float], counts: Sequence[int], alpha: float) -> Interval | None:
    """The q-quantile of a histogram: each side of the interval is wrong with a probability of at most `alpha`.

    `counts` has one element more than `bounds`: the observations above the last bound. The interval is from the lower
    edge of the bucket with the lower rank to the upper edge of the bucket with the upper rank (order statistics, whose
    ranks are binomial); the estimate is interpolated in its bucket. None without observations.
    """
    total = sum(counts)
    if total == 0:
        return None
    ranks = range(1, total + 1)
    low = bisect_left(ranks, True, key=lambda rank: 1 - binomial_at_least(rank, total, q) > alpha)
    high = bisect_left(ranks, True, key=lambda rank: binomial_at_least(rank, total, q) <= alpha) + 1
    return Interval(
        low=_edges(low, bounds, counts)[0] if low else 0.0,
        estimate=_interpolated(q * total, bounds, counts),
        high=_edges(high, bounds, counts)[1] if high <= total else math.inf,
    )


def _edges(rank: int, bounds: Sequence[float], counts: Sequence[int]) -> tuple[float, float]:
    """The edges of the bucket with the observation of this rank (from 1)."""
    seen, index = 0, -1
    while seen < rank:
        index += 1
        seen += counts[index]
    return (bounds[index - 1] if index else 0.0), (bounds[index] if index < len(bounds) else math.inf)


def _interpolated(rank: float, bounds: Sequence[float], counts: Sequence[int]) -> float:
    seen, index = 0.0, 0
    while counts[index] == 0 or seen + counts[index] < rank:
        seen += counts[index]
        index += 1
    if index >= len(bounds):
        return bounds[-1]
    low = bounds[index - 1] if index else 0.0
    return low + (bounds[index] - low) * (rank - seen) / counts[index]
