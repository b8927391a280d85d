"""Hedged requests: a call that takes long is sent to a second replica too, and the first response is used.

As in Dean and Barroso, "The Tail at Scale" (2013). A share bounds the second calls: they cost capacity, and where most
calls are slow they only add to the load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Final

from gateway import settings
from gateway.backends.objective import Subject
from gateway.backends.rpc import RpcError
from gateway.observe.metrics import Metrics

CREDIT_MOST: Final = 10.0
"""Second calls that may be saved up while no call is slow."""
ROUNDING: Final = 1e-9
LATENCIES_KEPT: Final = 500
"""Latest calls of which a quantile is taken."""
LATENCIES_FIRST: Final = 50
"""Calls before a quantile is known."""
LATENCIES_STEP: Final = 25
"""Calls after which it is computed again."""
SUBJECTS_KEPT: Final = 256
"""Subjects whose latency is remembered; clients choose versions and labels, so there must be an end."""

Send = Coroutine[None, None, bytes]


class _Latencies:
    """A quantile of the latest calls, in seconds."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._until_next = LATENCIES_FIRST
        self.quantile: float | None = None

    def add(self, seconds: float, share: float) -> None:
        self._latest.append(seconds)
        self._until_next -= 1
        if self._until_next <= 0:
            self._until_next = LATENCIES_STEP
            self.quantile = sorted(self._latest)[int(share * len(self._latest))]


class Hedging:
    """Decides when a second call is made, and waits for both."""

    def __init__(self, metrics: Metrics, time: Callable[[], float]) -> None:
        self._metrics = metrics
        self._time = time
        self._wanted: settings.Hedge | None = None
        self._credit = 0.0
        self._latencies: dict[Subject, _Latencies] = {}

    @property
    def enabled(self) -> bool:
        """Whether calls are hedged at all."""
        return self._wanted is not None

    def configure(self, wanted: settings.Hedge | None) -> None:
        """Take new settings, None for off."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._credit = 0.0
            self._latencies = {}

    async def run(
        self, subject: Subject, first: Send, second: Callable[[], Send | None], late: Callable[[float], None]
    ) -> bytes:
        """The response of `first`, or that of `second` when it is there earlier; the other call is cancelled.

        `second` makes the other call, None when no replica has room for it. `late` is told the seconds that `first` had
        taken when it was cancelled. Errors: RpcError of `first` when neither call has a response.
        """
        started = self._time()
        self._credit = min(CREDIT_MOST, self._credit + (self._wanted.max_share if self._wanted else 0.0))
        calls = [_watched(first)]
        try:
            await asyncio.wait(calls, timeout=self._after(subject))
            if not calls[0].done():
                other = self._allowed(second)
                if other is not None:
                    calls.append(_watched(other))
            response = await _first_response(calls)
            took = self._time() - started
            self._learn(subject, took)
            if not calls[0].done():
                late(took)
            return response
        finally:
            if len(calls) > 1:
                self._metrics.hedges.add(_result(calls))
            for call in calls:
                call.cancel()

    def _after(self, subject: Subject) -> float | None:
        """Seconds after which a call is late; None when that is not known yet."""
        if self._wanted is None:
            return None
        if self._wanted.after_ms is not None:
            return self._wanted.after_ms / 1000
        known = self._latencies.get(subject)
        return None if known is None else known.quantile

    def _allowed(self, second: Callable[[], Send | None]) -> Send | None:
        if self._credit < 1 - ROUNDING:
            self._metrics.hedges.add("capped")
            return None
        other = second()
        if other is None:
            self._metrics.hedges.add("full")
            return None
        self._credit -= 1
        return other

    def _learn(self, subject: Subject, seconds: float) -> None:
        """A request had its response after `seconds`. A hedged one was late in any case, so hedging does not bring the
        quantile down."""
        share = self._wanted.after_quantile if self._wanted is not None else None
        if share is None:
            return
        known = self._latencies.get(subject)
        if known is None:
            if len(self._latencies) >= SUBJECTS_KEPT:
                self._latencies.clear()
            known = self._latencies[subject] = _Latencies()
        known.add(seconds, share)


async def _first_response(calls: list[asyncio.Task[bytes]]) -> bytes:
    """The first response of calls. Errors: RpcError of the first call when all have failed."""
    pending = set(calls)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for call in calls:
            if call in done and call.exception() is None:
                return call.result()
    return calls[0].result()


def _result(calls: list[asyncio.Task[bytes]]) -> str:
    """`won` when the second call gave the response, `lost` when the first did, `failed` when none did."""
    for call, name in zip(calls, ("lost", "won"), strict=True):
        if call.done() and not call.cancelled() and call.exception() is None:
            return name
    return "failed"


def _watched(call: Send) -> asyncio.Task[bytes]:
    task = asyncio.create_task(call)
    task.add_done_callback(_look)  # asyncio logs an exception that nobody has looked at
    return task


def _look(call: asyncio.Task[bytes]) -> None:
    if not call.cancelled() and not isinstance(call.exception(), RpcError | None):
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a hedged call failed", "exception": call.exception(), "task": call}
        )
