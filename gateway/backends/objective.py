"""What counts as slow for a model: its latency objective, configured or learned from its unloaded latency."""

from __future__ import annotations

from typing import Final

UNLOADED_TIMES: Final = 10.0
"""A learned objective is this many times the unloaded latency."""
LEAST_OBJECTIVE: Final = 0.1
"""Seconds. Below, the pauses of a container that is held to a CPU share (periods of 100 ms) would count as overload."""
DOWN, UP = 0.2, 0.02
"""Weight of a response that was faster or slower than what is known."""


class Objectives:
    """The objective of each model in seconds."""

    def __init__(self, configured_ms: float | None, most: float) -> None:
        """`most` seconds bound a learned objective: half of what a request may take."""
        self._unloaded: dict[str, float] = {}
        self.configure(configured_ms, most)

    def configure(self, configured_ms: float | None, most: float) -> None:
        """Take new settings; what was learned stays."""
        self._configured = None if configured_ms is None else configured_ms / 1000
        self._most = most

    def of(self, model: str) -> float:
        """Seconds that a request of this model should take at most."""
        if self._configured is not None:
            return self._configured
        unloaded = self._unloaded.get(model, 0.0)
        return max(min(LEAST_OBJECTIVE, self._most), min(unloaded * UNLOADED_TIMES, self._most))

    def learn(self, model: str, seconds: float, *, alone: bool) -> None:
        """A call took `seconds`. Only one that was `alone` on its replica can say that a model is slower than known."""
        known = self._unloaded.get(model)
        if known is None:
            self._unloaded[model] = seconds
        elif seconds < known:
            self._unloaded[model] = known + (seconds - known) * DOWN
        elif alone:
            self._unloaded[model] = known + (seconds - known) * UP

    def known(self) -> dict[str, float]:
        """The objective of each model that has been called."""
        return {model: self.of(model) for model in self._unloaded}
