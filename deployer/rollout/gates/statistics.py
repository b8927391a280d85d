"""Tests and intervals that gates are judged by: exact, and without any library."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


def binomial_at_least(successes: int, trials: int, share: float) -> float:
    """P(X ≥ successes) for X ~ Binomial(trials, share): how surprising so many are if `share` is true."""
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
    """Sum of the terms from `first` up, which fall; ends when they no longer count."""
    term = math.exp(_log_term(first, trials, share))
    total = 0.0
    for k in range(first, trials + 1):
        total += term
        if term < total * 1e-16:
            break
        term *= (trials - k) / (k + 1) * share / (1 - share)
    return total


def _downward(last: int, trials: int, share: float) -> float:
    """Sum of the terms from `last` down, which fall below the mean."""
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
    """P-value of "the rate of the first is at most `factor` times that of the second".

    Given how many are bad in both together, those of the first are binomial (exact for Poisson counts, close and on the
    safe side for rare events). 1.0 when nothing was bad or nothing was tried.
    """
    weight = factor * trials
    if trials == 0 or weight + other_trials == 0:
        return 1.0
    return binomial_at_least(bad, bad + other_bad, weight / (weight + other_trials))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate between its bounds; `high` is infinite where the observations set no bound."""

    low: float
    estimate: float
    high: float


def quantile(q: float, bounds: Sequence[float], counts: Sequence[int], alpha: float) -> Interval | None:
    """The q-quantile of a histogram: each side of the interval is wrong with a probability of at most `alpha`.

    `counts` has one more than `bounds`: what lies above the last. The interval goes from the lower edge of the bucket
    that holds the lower rank to the upper edge of the one that holds the upper rank (order statistics, whose ranks are
    binomial); the estimate is interpolated in its bucket. None without observations.
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
    """The bucket of the observation of this rank (from 1)."""
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
