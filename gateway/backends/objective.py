"""What counts as slow for a model: its latency objective, configured or learned from its unloaded latency."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

Subject = tuple[str, Hashable]
"""A model, and the version or label that was asked for."""
OBJECTIVES_KEPT: Final = 4096
"""Subjects that are remembered."""

UNLOADED_TIMES: Final = 10.0
"""A learned objective is this many times the unloaded latency."""
INHERENT: Final = 5.0
"""A version is never held to less than this many times its own unloaded latency: fewer calls do not make it faster."""
LEAST_OBJECTIVE: Final = 0.1
"""Seconds. Below, the pauses of a container that is held to a CPU share (periods of 100 ms) would count as overload."""
DOWN, UP = 0.2, 0.02
"""Weight of a response that was faster or slower than what is known."""


class Objectives:
    """The objective of each model in seconds. Latency is learned by version or label: a canary may be slower."""

    def __init__(self, configured_ms: float | None, most: float) -> None:
        """`most` seconds bound a learned objective: half of what a request may take."""
        self._unloaded: dict[Subject, dict[Hashable, float]] = {}
        self._least: dict[Subject, float] = {}
        self._fastest: dict[str, float] = {}
        self.configure(configured_ms, most)

    def configure(self, configured_ms: float | None, most: float) -> None:
        """Take new settings; what was learned stays."""
        self._configured = None if configured_ms is None else configured_ms / 1000
        self._most = most

    def of(self, model: str) -> float:
        """Seconds that a request of this model should take at most."""
        if self._configured is not None:
            return self._configured
        unloaded = self._fastest.get(model, 0.0)
        return max(min(LEAST_OBJECTIVE, self._most), min(unloaded * UNLOADED_TIMES, self._most))

    def load(self, subject: Subject, seconds: float) -> float:
        """Latency of a call as a share of what it should take at most."""
        return seconds / max(self.of(subject[0]), self._least.get(subject, 0.0) * INHERENT)

    def learn(self, subject: Subject, replica: Hashable, seconds: float, *, alone: bool) -> None:
        """A call took `seconds`. Only one that was `alone` on its replica can say that it is slower than known.

        What counts is the fastest replica: one that is slow says nothing of the version.
        """
        replicas = self._unloaded.get(subject)
        if replicas is None:
            if len(self._unloaded) >= OBJECTIVES_KEPT:
                self._unloaded.clear()
                self._least.clear()  # clients choose versions and labels, so there must be an end
            replicas = self._unloaded[subject] = {}
        known = replicas.get(replica)
        if known is None:
            replicas[replica] = seconds
        elif seconds < known:
            replicas[replica] = known + (seconds - known) * DOWN
        elif alone:
            replicas[replica] = known + (seconds - known) * UP
        else:
            return
        self._least[subject] = min(replicas.values())
        self._fastest[subject[0]] = min(least for one, least in self._least.items() if one[0] == subject[0])

    def forget(self, replica: Hashable) -> None:
        """A replica is gone."""
        for replicas in self._unloaded.values():
            replicas.pop(replica, None)

    def known(self) -> dict[str, float]:
        """The objective of each model that has been called."""
        return {model: self.of(model) for model in self._fastest}
