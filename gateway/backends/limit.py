"""How many calls one replica gets at a time, learned from its latency and from what it refuses.

Additive increase, multiplicative decrease, as TCP does it (Jacobson, "Congestion Avoidance and Control", 1988), applied
to the concurrency of a service as in Netflix's concurrency-limits. The signal is latency as a share of the model's
objective, so that one limit serves models of different cost. A limit that is not used does not grow.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 8.0
"""Calls at a time before anything is known of a replica."""
AGAIN: Final = 1.0
"""Calls at a time of a replica that comes back from an ejection."""
TARGET: Final = 0.4
"""Share of the objective that a call to a replica may take on average; the rest is for the queue of the gateway."""
WINDOW: Final = 0.1
"""Least seconds between two decisions."""
WINDOW_MAX: Final = 1.0
"""Seconds after which even a few calls are enough for a decision."""
CALLS_MIN: Final = 5
"""Least calls for a decision before that."""
USED: Final = 0.75
"""Share of the limit that must have been in use for it to grow."""
LEAST_CUT: Final = 0.6
"""What is left of a limit, at least, after one decision."""
REFUSED_CUT: Final = 0.8
REFUSAL_SECONDS: Final = 2.0
"""Seconds for which a limit does not grow past what the replica had taken when it refused."""


class ReplicaLimit:
    """The limit of one replica. Times are seconds of one clock; a load is latency divided by the model's objective."""

    __slots__ = (
        *("load", "most", "trial", "value"),
        *("_count", "_last_cut", "_peak", "_refused_at", "_room", "_since", "_starting", "_sum"),
    )

    def __init__(self, now: float, most: float, first: float = FIRST) -> None:
        self.most = most
        """No limit grows past this."""
        self.load = 0.0
        """Smoothed load of the last windows."""
        self._last_cut = now
        self._peak = 0
        self._room, self._refused_at = most, -REFUSAL_SECONDS
        self.restart(now, first)
        self.trial = False

    def restart(self, now: float, first: float = AGAIN) -> None:
        """Begin again at `first`, doubling with each window (slow start) until the first sign of strain."""
        self.value = min(first, self.most)
        self.trial = True
        """Whether the next response alone decides: it is the first after a restart."""
        self._starting = True
        self._open_window(now)

    def sent(self, outstanding: int) -> None:
        """A call was sent; `outstanding` counts it."""
        if outstanding > self._peak:
            self._peak = outstanding

    def answered(self, load: float, now: float, *, pressed: bool) -> bool:
        """Take the load of a call that ended. Returns whether that ended a window.

        `pressed` says that requests wait for a place.
        """
        self._sum += load
        self._count += 1
        age = now - self._since
        enough = self._count >= max(CALLS_MIN, self.value) and age >= WINDOW
        if not (enough or age >= WINDOW_MAX or self.trial):
            return False
        mean = self._sum / self._count
        self.load = mean if self.trial or not self.load else (self.load + mean) / 2
        self.trial = False
        if mean > TARGET:
            self._cut(max(LEAST_CUT, TARGET / mean), now)
        elif pressed or self._peak >= self.value * USED:
            wider = self.value * 2 if self._starting else self.value + max(1.0, self.value / 10)
            known = now - self._refused_at < REFUSAL_SECONDS
            self.value = max(self.value, min(self.most, wider, self._room if known else self.most))
        self._open_window(now)
        return True

    def refused(self, outstanding: int, now: float) -> None:
        """The replica was full with `outstanding` calls of this gateway; many such answers at once count as one."""
        if now - self._last_cut >= WINDOW:
            self._room, self._refused_at = max(1.0, float(outstanding)), now
            self.value = min(self.value, self._room)
            self._cut(REFUSED_CUT, now)
            self._open_window(now)

    def _cut(self, share: float, now: float) -> None:
        self.value = max(1.0, self.value * share)
        self._starting = False
        self._last_cut = now

    def _open_window(self, now: float) -> None:
        self._since = now
        self._count = 0
        self._sum = 0.0
        self._peak = 0
