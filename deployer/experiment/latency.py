"""Latency as a person reads it: percentiles, and how many answers stand behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
RESOLVED_BEYOND = 10
"""A percentile with fewer answers beyond it than this says more about chance than about the system."""


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """`ms` milliseconds, of which `beyond` of the recorded answers were slower (by count, not by estimate)."""

    percentile: float
    ms: float
    beyond: int

    @property
    def resolved(self) -> bool:
        """Whether enough answers lie beyond it for the figure to mean anything."""
        return self.beyond >= RESOLVED_BEYOND


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The distribution of one trial, milliseconds. All zero when nothing was recorded."""

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
    """Put the counts behind each percentile beside its value."""
    return Latency(
        count=count,
        mean_ms=mean_ms,
        max_ms=max_ms,
        percentiles=tuple(
            Percentile(percentile=q, ms=values_ms.get(q, 0.0), beyond=int(count * (100 - q) / 100 + 1e-9))
            for q in PERCENTILES
        ),
    )
