"""What the gateways have counted in the last seconds, by label."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.release import gateway_metrics
from deployer.release.gateway_metrics import Reading
from deployer.release.window import LabelWindow
from deployer.rollout.gates.judge import ALPHA
from deployer.rollout.gates.statistics import Interval, quantile

FIGURES_WINDOW_SECONDS = 10.0
"""Over which rates and latencies are counted."""
TRAIL = 90
"""Points that are kept of each curve."""


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """One label: responses per second, share of failures, and latencies in milliseconds; None without requests.

    `trail` are the latest rates, oldest first.
    """

    rate: float
    failed: float | None
    p50: float | None
    p99: float | None
    trail: tuple[float, ...]


class Live:
    """The readings of one model. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Reading]] = deque()
        self._trails: dict[str, deque[float]] = {}

    def add(self, at: float, reading: Reading) -> Mapping[str, LabelFigures]:
        """Take a reading; the figures of each label since the oldest reading of the window."""
        self._readings.append((at, reading))
        while len(self._readings) > 2 and at - self._readings[1][0] >= FIGURES_WINDOW_SECONDS:
            self._readings.popleft()
        began, before = self._readings[0]
        if at <= began:
            return {}
        labels = gateway_metrics.between(before, reading).labels
        return {label: self._figures(label, window, at - began) for label, window in sorted(labels.items())}

    def _figures(self, label: str, window: LabelWindow, seconds: float) -> LabelFigures:
        rate = window.responses / seconds
        trail = self._trails.setdefault(label, deque(maxlen=TRAIL))
        trail.append(round(rate, 2))
        return LabelFigures(
            rate=rate,
            failed=window.failed / window.responses if window.responses else None,
            p50=_middle(_quantile(0.5, window)),
            p99=_middle(_quantile(0.99, window)),
            trail=tuple(trail),
        )


def _quantile(q: float, window: LabelWindow) -> Interval | None:
    return quantile(q, window.latency_bounds, window.latency, ALPHA) if sum(window.latency) else None


def _middle(found: Interval | None) -> float | None:
    return None if found is None else found.estimate
