"""How fast to send: as much as online traffic leaves, and at most the rate that was asked for. Pure: time comes in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

LATENCY_SMOOTHING: Final = 0.2
"""Weight of the newest request in the smoothed latency."""
SLOW_FACTOR: Final = 3.0
"""The smoothed latency, in multiples of the lowest one, from which on the release counts as loaded."""
LOWEST_GROWTH: Final = 1.002
"""Growth of the lowest latency with each request, so that one lucky request is not the measure for hours."""
LONGEST_PAUSE: Final = 30.0
"""Seconds, whatever Retry-After says."""


@dataclass(kw_only=True)
class Pace:
    """Additive increase, multiplicative decrease of the requests in flight, between 1 and `most`.

    It grows by one request for each round of fast responses. A refusal halves it and pauses; latency that has risen
    takes a fifth off, and at one request in flight it pauses for as long as a request takes.
    """

    most: int
    window: float = 1.0
    not_before: float = 0.0
    refusals: int = 0
    smoothed: float = 0.0
    lowest: float = math.inf
    _since_decrease: int = field(default=0, repr=False)
    _refused_in_a_row: int = field(default=0, repr=False)

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until the next request may start; infinite until one in flight has ended."""
        if in_flight >= int(self.window):
            return math.inf
        return max(0.0, self.not_before - now)

    def succeeded(self, now: float, seconds: float) -> None:
        """A request of usual size was succeeded after `seconds`."""
        self._refused_in_a_row = 0
        self._since_decrease += 1
        self.lowest = min(self.lowest * LOWEST_GROWTH, seconds)
        self.smoothed = (
            seconds if not self.smoothed else (1 - LATENCY_SMOOTHING) * self.smoothed + LATENCY_SMOOTHING * seconds
        )
        if self.smoothed <= SLOW_FACTOR * self.lowest:
            self.window = min(float(self.most), self.window + 1 / self.window)
        elif self.window <= 1:
            self.not_before = max(self.not_before, now + self.smoothed)
        elif self._since_decrease > self.window:  # else the responses are to requests sent before the last decrease
            self.window = max(1.0, self.window * 0.8)
            self._since_decrease = 0

    def rejected(self, now: float, retry_after: float | None) -> None:
        """The release was busy or away; `retry_after` is in seconds, if it named a time."""
        self.refusals += 1
        self._refused_in_a_row += 1
        if self._since_decrease > 0 or self._refused_in_a_row == 1:
            self.window = max(1.0, self.window / 2)
            self._since_decrease = 0
        pause = retry_after if retry_after is not None else 0.1 * 2 ** min(self._refused_in_a_row, 8)
        self.not_before = max(self.not_before, now + min(pause, LONGEST_PAUSE))


@dataclass(kw_only=True)
class Rate:
    """At most `rows_per_second` on average; without bursts, so that online traffic never meets one."""

    rows_per_second: float
    _free: float = -math.inf

    def reserve(self, now: float, rows: int) -> float:
        """Take the next place for `rows`; return the seconds until it comes."""
        start = max(self._free, now)
        self._free = start + rows / self.rows_per_second
        return start - now
