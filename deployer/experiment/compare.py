"""Compare two experiments: which differences are larger than the spread between rounds.

Method: Welch's interval (95 %) of the difference of mean logarithms, which is an interval of the ratio. It needs two
rounds in both; with fewer the spread is unknown, and there is no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, variance

from deployer.experiment.results import Experiment, Kind

_T_QUANTILES = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
"""Quantiles of Student's distribution, 97.5 %, for 1, 2, … degrees of freedom."""


class Change(StrEnum):
    """The verdict on a difference."""

    MORE = "more"
    LESS = "less"
    WITHIN_SPREAD = "within the spread"
    UNKNOWN = "spread unknown: repeat with --rounds 3"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure, requests a second, at one number of replicas; `low` and `high` bound the `ratio` after / before."""

    replicas: int
    figure: str
    before: float
    after: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Change


def compare(before: Experiment, after: Experiment) -> tuple[Difference, ...]:
    """Compare capacity and ceiling at every number of replicas that both measured."""
    first, second = _figures(before), _figures(after)
    return tuple(_difference(*key, first[key], second[key]) for key in first if key in second)


def _figures(experiment: Experiment) -> dict[tuple[int, str], tuple[float, ...]]:
    """Values by round of each figure; figures with a 0 in any round have no ratio and are left out."""
    figures: dict[tuple[int, str], tuple[float, ...]] = {}
    for c in experiment.capacities:
        closed = [t for t in experiment.trials if t.kind is Kind.CEILING and t.replicas == c.replicas and t.valid]
        rounds = sorted({t.round for t in closed})
        figures[c.replicas, "capacity"] = c.by_round
        figures[c.replicas, "ceiling"] = tuple(max(t.throughput for t in closed if t.round == r) for r in rounds)
    return {key: values for key, values in figures.items() if values and min(values) > 0}


def _difference(replicas: int, figure: str, before: Sequence[float], after: Sequence[float]) -> Difference:
    low, high, verdict = None, None, Change.UNKNOWN
    if min(len(before), len(after)) >= 2:
        low, high = _ratio_interval(before, after)
        verdict = Change.MORE if low > 1 else Change.LESS if high < 1 else Change.WITHIN_SPREAD
    return Difference(
        replicas=replicas,
        figure=figure,
        before=_centre(before),
        after=_centre(after),
        ratio=_centre(after) / _centre(before),
        low=low,
        high=high,
        verdict=verdict,
    )


def _centre(values: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, values)))


def _ratio_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    first, second = [[math.log(value) for value in values] for values in (before, after)]
    errors = [variance(values) / len(values) for values in (first, second)]
    difference, error = fmean(second) - fmean(first), sum(errors)
    if error == 0:
        return math.exp(difference), math.exp(difference)
    freedom = error**2 / sum(e**2 / (len(v) - 1) for e, v in zip(errors, (first, second), strict=True))
    reach = _T_QUANTILES[min(int(freedom), len(_T_QUANTILES)) - 1] * math.sqrt(error)
    return math.exp(difference - reach), math.exp(difference + reach)
