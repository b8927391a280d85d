"""Timers that are nearly always cancelled: deadlines of calls, of bodies, of idle connections.

A timer of uvloop costs some 4 µs and another turn of the event loop to make and to cancel; a request would need three.
Here all share one timer of the loop, which runs at the earliest of their times and then looks who is due.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType


class Timer:
    """A call that is going to be made."""

    __slots__ = ("_of", "callback", "when")

    def __init__(self, of: Timers, when: float, callback: Callable[[], object]) -> None:
        self._of = of
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        """Nothing is called any more; may be done at any time."""
        self._of.pending.discard(self)


class Timers:
    """Times are those of the loop, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, slack: float) -> None:
        """A call comes up to `slack` seconds late: it is the least time between two looks at all timers."""
        self.pending: set[Timer] = set()
        self.loop = loop
        self.time = loop.time
        self._slack = slack
        self._handle: asyncio.TimerHandle | None = None
        self._at = math.inf

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call once, at `when` or a little later."""
        timer = Timer(self, when, callback)
        self.pending.add(timer)
        if when < self._at:
            self._look_at(when)
        return timer

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call once, after `delay` seconds or a little later."""
        return self.call_at(self.time() + delay, callback)

    def limit(self, when: float) -> Limit:
        """`async with` for what must end by then, else it ends with TimeoutError."""
        return Limit(self, when)

    def _look_at(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._at = when
        self._handle = self.loop.call_at(when, self._look)

    def _look(self) -> None:
        self._handle, self._at = None, math.inf
        now = self.time()
        for timer in [timer for timer in self.pending if timer.when <= now]:
            if timer in self.pending:  # not cancelled by one before it
                self.pending.discard(timer)
                timer.callback()
        if self.pending:
            self._look_at(max(min(timer.when for timer in self.pending), now + self._slack))


class Limit:
    """As `asyncio.timeout_at`, without a timer of its own."""

    __slots__ = ("_cancelling", "_passed", "_task", "_timer", "_timers", "_when")

    def __init__(self, timers: Timers, when: float) -> None:
        self._timers = timers
        self._when = when
        self._passed = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task(self._timers.loop)
        assert task is not None  # there is always one where something is awaited
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = self._timers.call_at(self._when, self._pass)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()
