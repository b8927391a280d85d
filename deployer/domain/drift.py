"""How far two counts of the same bins lie apart, and how far chance alone would take them.

Counts are those of a sample each: `live` records against those of training, or of another label. Shares are compared;
a bin that is empty in one sample counts as half a record there, so that no logarithm is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

EXPECTED_MIN = 5.0
"""Bins are joined until chance would put so many records into each of them, in the smaller sample."""
CHANCE = 0.005
"""Probability that records without any drift exceed the chance bound of at least one of all features."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """One comparison. `psi` is the population stability index, `js` the Jensen-Shannon distance in bits, 0 to 1.

    `chance` is the PSI that records without drift exceed with a probability of `alpha` only, at these sample sizes;
    infinite where there are too few records to compare. `low` is a lower bound of the PSI of all records, of which the
    live ones are a sample.
    """

    psi: float
    js: float
    chance: float
    low: float

    def beyond(self, bound: float) -> bool:
        """Whether the drift is at least `bound`, and not a work of chance."""
        return self.psi >= bound and self.psi > self.chance


def compare(live: Sequence[int], other: Sequence[int], *, alpha: float = CHANCE) -> Divergence:
    """Two counts of the same bins; the last bins need no order. Errors: ValueError for different numbers of bins."""
    if len(live) != len(other):
        raise ValueError(f"{len(live)} bins cannot be compared with {len(other)}")
    n, m = sum(live), sum(other)
    if not n or not m:
        return Divergence(psi=0.0, js=0.0, chance=math.inf, low=0.0)
    first, second = _joined(live, other)
    index = psi(first, second)
    return Divergence(
        psi=index, js=jensen_shannon(live, other), chance=chance_bound(len(first), n, m, alpha), low=_low(first, second)
    )


def psi(live: Sequence[float], other: Sequence[float]) -> float:
    """Population stability index: the sum over bins of (p - q) ln(p / q)."""
    p, q = _shares(live), _shares(other)
    return sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))


def jensen_shannon(live: Sequence[float], other: Sequence[float]) -> float:
    """The square root of the Jensen-Shannon divergence to base 2: 0 for equal shares, 1 for no bin in common."""
    n, m = sum(live), sum(other)
    total = 0.0
    for a, b in zip(live, other, strict=True):
        p, q = a / n, b / m
        mid = (p + q) / 2
        total += sum(share * math.log2(share / mid) for share in (p, q) if share > 0) / 2
    return math.sqrt(max(0.0, min(1.0, total)))


def chance_bound(bins: int, n: int, m: int, alpha: float) -> float:
    """The PSI of two samples of `n` and `m` records of one population, which is exceeded with probability `alpha`.

    PSI / (1/n + 1/m) is nearly chi-squared with bins - 1 degrees of freedom; small samples have a heavier tail, for
    which the bound is widened by the expected part of the next order. Infinite where one bin is left.
    """
    if bins < 2:
        return math.inf
    scale = 1 / n + 1 / m
    quantile = chi_squared_quantile(1 - alpha, bins - 1)
    return scale * quantile * (1 + 2 * bins * scale)


def share_bound(count: int, n: int, other: int, m: int, alpha: float) -> float:
    """The difference of two shares that chance alone exceeds with a probability of `alpha`."""
    if not n or not m:
        return 1.0
    pooled = (count + other + 1) / (n + m + 2)
    return normal_quantile(1 - alpha / 2) * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))


def per_feature(alpha: float, features: int) -> float:
    """The alpha of each of several comparisons, so that `alpha` is that of all of them together (Bonferroni)."""
    return alpha / max(1, features)


def chi_squared_quantile(probability: float, freedom: int) -> float:
    """The value below which a chi-squared variable lies with this probability."""
    low, high = 0.0, freedom + 10.0
    while _gamma_p(freedom / 2, high / 2) < probability:
        low, high = high, high * 2
    for _ in range(100):
        mid = (low + high) / 2
        low, high = (mid, high) if _gamma_p(freedom / 2, mid / 2) < probability else (low, mid)
    return (low + high) / 2


def normal_quantile(probability: float) -> float:
    """The value below which a standard normal variable lies; `probability` from 0.5 to below 1."""
    return math.sqrt(chi_squared_quantile(2 * probability - 1, 1)) if probability > 0.5 else 0.0


def _gamma_p(a: float, x: float) -> float:
    """The regularised lower incomplete gamma function: its series below a + 1, else the continued fraction (Lentz)."""
    if x <= 0:
        return 0.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        k = a
        while abs(term) > abs(total) * 1e-16:
            k += 1
            term *= x / k
            total += term
        return total * scale
    b = x + 1 - a
    c, d = math.inf, 1 / b
    fraction = d
    for i in range(1, 1000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return 1 - scale * fraction


def _shares(counts: Sequence[float]) -> list[float]:
    filled = [count or 0.5 for count in counts]
    total = sum(filled)
    return [count / total for count in filled]


def _joined(live: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
    """Neighbouring bins together until each is expected to hold enough; what is left joins the last."""
    n, m = sum(live), sum(other)
    needed = EXPECTED_MIN * (n + m) / min(n, m)
    pairs: list[tuple[int, int]] = []
    a = b = 0
    for one, another in zip(live, other, strict=True):
        a, b = a + one, b + another
        if a + b >= needed:
            pairs.append((a, b))
            a = b = 0
    if a + b:
        if pairs:
            pairs[-1] = (pairs[-1][0] + a, pairs[-1][1] + b)
        else:
            pairs.append((a, b))
    return [one for one, _ in pairs], [another for _, another in pairs]


def _low(live: Sequence[int], other: Sequence[int], z: float = 1.645) -> float:
    """PSI less what chance adds to it on average, less z standard errors (delta method)."""
    n, m = sum(live), sum(other)
    p, q = _shares(live), _shares(other)
    of_p = [math.log(a / b) + 1 - b / a for a, b in zip(p, q, strict=True)]
    of_q = [-math.log(a / b) + 1 - a / b for a, b in zip(p, q, strict=True)]
    variance = _variance(of_p, p) / n + _variance(of_q, q) / m
    return max(0.0, psi(live, other) - (len(p) - 1) * (1 / n + 1 / m) - z * math.sqrt(variance))


def _variance(values: Sequence[float], shares: Sequence[float]) -> float:
    mean = sum(value * share for value, share in zip(values, shares, strict=True))
    return sum(share * (value - mean) ** 2 for value, share in zip(values, shares, strict=True))
