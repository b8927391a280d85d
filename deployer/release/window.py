"""Counts of the gateways per label between two points in time."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class LabelWindow:
    """One label's part of the traffic of one model.

    `responses` counts requests that were, or should have been, sent to a model server; invalid requests do not count.
    `failed` are those without a successful response. `latency` counts all requests by upper bound in milliseconds
    (`latency_bounds`; the last count is for those above the last bound).
    """

    responses: int = 0
    failed: int = 0
    latency_bounds: tuple[float, ...] = ()
    latency: tuple[int, ...] = ()


def above(window: LabelWindow, milliseconds: float) -> int:
    """How many requests were certainly slower."""
    edges = (0.0, *window.latency_bounds)
    return sum(count for edge, count in zip(edges, window.latency, strict=True) if edge >= milliseconds)


@dataclass(frozen=True, kw_only=True)
class DriftSeen:
    """One feature or score of canary's records against the same bins of `against`: "training" or "stable"."""

    feature: str
    against: str
    live: tuple[int, ...]
    other: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Observations:
    """All measurements that gates can check. None means not measured.

    `compared` and `disagreed` count mirrored requests. Units are those of `Metric`.
    """

    canary: LabelWindow = field(default_factory=LabelWindow)
    stable: LabelWindow = field(default_factory=LabelWindow)
    compared: int = 0
    disagreed: int = 0
    size: float | None = None
    load_time: float | None = None
    memory: float | None = None
    accuracy: float | None = None
    parity: float | None = None
    skew: float | None = None
    drift: tuple[DriftSeen, ...] = ()
