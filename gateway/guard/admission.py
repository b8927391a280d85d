"""How many requests are worked on at a time, and which ones wait for how long.

The places are those that the replicas' limits add up to (`gateway.backends.limit`), so the queue stands here and not in
the model servers. It is bounded by time: a request whose expected wait is more than its share of the objective, or that
cannot be answered before its deadline, is refused when it arrives. Within a priority, models take turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import DeadlinePassed, Unavailable

HIGH, NORMAL, LOW = 0, 1, 2
PRIORITIES: Final = {"high": HIGH, "normal": NORMAL, "low": LOW}
QUEUE_SHARE: Final = (0.75, 0.5, 0.25)
"""Share of its objective that a request may be expected to wait, by priority."""
TOO_OLD: Final = 1.0
"""Objectives after which a request that waited is refused after all: the capacity must have broken down meanwhile."""
ADMISSION_SMOOTHING: Final = 0.05
RETRY_LEAST, RETRY_MOST = 2, 30
"""Bounds in seconds of the range from which a Retry-After is drawn."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request in the queue. `turn` ends when it has a place."""

    model: str
    since: float
    priority: int
    turn: asyncio.Future[None] = field(repr=False)


class Admission:
    """Places for requests, and one queue for each priority and model."""

    def __init__(
        self,
        *,
        places: Callable[[], int],
        objective: Callable[[str], float],
        most: int,
        queue: int,
        chance: Callable[[], float],
        time: Callable[[], float],
    ) -> None:
        """`most` and `queue` are hard bounds on requests inside and waiting; `objective` gives seconds for a model."""
        self._places, self._objective, self._chance, self._time = places, objective, chance, time
        self.resize(most, queue)
        self.in_flight = 0
        self.waiting = 0
        self._queues: tuple[dict[str, deque[_Waiting]], ...] = ({}, {}, {})
        self._hold = 0.0
        self._holds: dict[str, float] = {}
        self._refused_share = 0.0

    def resize(self, most: int, queue: int) -> None:
        """Take new bounds; requests inside and waiting stay."""
        self._most, self._queue = most, queue

    @property
    def places(self) -> int:
        """Requests that may be processed at a time now."""
        return max(1, min(self._most, self._places()))

    @property
    def pressed(self) -> bool:
        """Whether requests wait for a place."""
        return self.waiting > 0

    async def enter(self, model: str, deadline: float, priority: int = NORMAL) -> float:
        """Take a place; `leave` gives it back. Returns the time of entry. `deadline` is in the clock's seconds.

        Errors: Unavailable at once when the wait would be too long; DeadlinePassed when no place became free in time.
        """
        now = self._time()
        if not self.waiting and self.in_flight < self.places:
            self.in_flight += 1
            self._refused_share *= 1 - ADMISSION_SMOOTHING
            return now
        self._refuse_what_is_hopeless(model, deadline, priority, now)
        one = _Waiting(model, now, priority, asyncio.get_running_loop().create_future())
        self._queues[priority].setdefault(model, deque()).append(one)
        self.waiting += 1
        self._admit(now)
        try:
            async with asyncio.timeout_at(deadline):
                await one.turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if one.turn.done() and not one.turn.cancelled() and one.turn.exception() is None:
                self.in_flight -= 1
                self._admit(self._time())
            else:
                self._forget(one)
            if isinstance(error, TimeoutError):
                raise DeadlinePassed("the deadline passed while the request waited", stage="admission") from error
            raise
        return self._time()

    def leave(self, model: str, entered: float) -> None:
        """Give a place back; `entered` is what `enter` returned."""
        now = self._time()
        held = now - entered
        self._hold += (held - self._hold) * (ADMISSION_SMOOTHING if self._hold else 1.0)
        known = self._holds.get(model)
        self._holds[model] = held if known is None else known + (held - known) * ADMISSION_SMOOTHING
        self.in_flight -= 1
        if self.waiting:
            self._admit(now)

    def _refuse_what_is_hopeless(self, model: str, deadline: float, priority: int, now: float) -> None:
        if self.waiting >= self._queue:
            raise self._refusal(f"{self.waiting} requests wait already (limits.max_queue)", reason="queue_full")
        wait = self._expected_wait(model, priority)
        allowed = self._objective(model) * QUEUE_SHARE[priority]
        if wait > allowed:
            raise self._refusal(f"the wait would be {wait:.2f} s, and {allowed:.2f} s are allowed", reason="queue_time")
        if now + wait + self._holds.get(model, 0.0) > deadline:
            raise self._refusal("there would be no response before the deadline", reason="deadline")

    def _expected_wait(self, model: str, priority: int) -> float:
        """Seconds until a request that arrives now would get its place (Little's law)."""
        own = len(self._queues[priority].get(model, ())) + 1
        ahead = sum(min(len(queue), own) for queue in self._queues[priority].values())
        for more_urgent in self._queues[:priority]:
            ahead += sum(len(queue) for queue in more_urgent.values())
        return max(own, ahead) / self.places * self._hold

    def _refusal(self, why: str, *, reason: str) -> Unavailable:
        self._refused_share += (1 - self._refused_share) * ADMISSION_SMOOTHING
        # The more is refused, the wider clients are spread. At equal shares the range is four seconds.
        widest = min(RETRY_MOST, RETRY_LEAST / max(1e-3, 1 - self._refused_share))
        return Unavailable(
            f"the gateway is at its limit: {why}; try later",
            stage="admission",
            reason=reason,
            retry_after=1 + int(self._chance() * max(RETRY_LEAST, widest)),
        )

    def _admit(self, now: float) -> None:
        places = self.places
        while self.waiting and self.in_flight < places:
            one = self._next()
            if one.turn.done():
                continue
            if now - one.since > TOO_OLD * self._objective(one.model):
                one.turn.set_exception(
                    self._refusal(f"no place became free in {now - one.since:.2f} s", reason="queue_time")
                )
                continue
            self.in_flight += 1
            one.turn.set_result(None)

    def _next(self) -> _Waiting:
        """The first of the model whose turn it is; that model then goes behind the others."""
        queues = next(queues for queues in self._queues if queues)
        model, queue = next(iter(queues.items()))
        one = queue.popleft()
        del queues[model]
        if queue:
            queues[model] = queue
        self.waiting -= 1
        return one

    def _forget(self, one: _Waiting) -> None:
        queue = self._queues[one.priority].get(one.model)
        if queue is not None and one in queue:
            queue.remove(one)
            self.waiting -= 1
            if not queue:
                del self._queues[one.priority][one.model]
