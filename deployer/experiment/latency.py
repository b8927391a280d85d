"""Latency percentiles, and the number of responses behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
RESOLVED_BEYOND = 10
"""A percentile with fewer responses beyond it is mostly noise."""


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """A percentile of `ms` milliseconds; `beyond` is the number of slower responses (counted, not estimated)."""

    percentile: float
    ms: float
    beyond: int

    @property
    def resolved(self) -> bool:
        """Whether enough responses lie beyond it for a meaningful figure."""
        return self.beyond >= RESOLVED_BEYOND


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The latency distribution of one trial in milliseconds. All zero if nothing was recorded."""

    count: int
    mean_ms: float
    max_ms: float
    percentiles: tuple[Percentile, ...]

    def at(self, percentile: float) -> Percentile:
        """One of `PERCENTILES`. Errors: KeyError for another."""
        for p in self.percentiles:
            if p.percentile == percentile:
                return p
        raise KeyError(percentile)


def latency(*, count: int, mean_ms: float, max_ms: float, values_ms: Mapping[float, float]) -> Latency:
    """Build a `Latency`, with the count behind each percentile."""
    return Latency(
        count=count,
        mean_ms=mean_ms,
        max_ms=max_ms,
        percentiles=tuple(
            Percentile(percentile=q, ms=values_ms.get(q, 0.0), beyond=int(count * (100 - q) / 100 + 1e-9))
            for q in PERCENTILES
        ),
    )
