"""What a gateway counted per label between two moments."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class LabelWindow:
    """One label's part of the traffic of one model.

    `answers` counts requests that reached a model server or should have; a request that was wrong in itself is in none
    of the figures. `failed` are those of them that the version or its server did not answer. `latency` counts all
    requests by upper bound in milliseconds (`latency_bounds`; one count more for what is above the last).
    """

    answers: int = 0
    failed: int = 0
    latency_bounds: tuple[float, ...] = ()
    latency: tuple[int, ...] = ()


def above(window: LabelWindow, milliseconds: float) -> int:
    """How many requests were surely slower."""
    edges = (0.0, *window.latency_bounds)
    return sum(count for edge, count in zip(edges, window.latency, strict=True) if edge >= milliseconds)


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Everything that gates can look at. What was not measured is None.

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
