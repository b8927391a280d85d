"""How many requests are worked on at a time, and how many may wait for their turn."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.errors import DeadlinePassed, Unavailable


class Admission:
    """A bounded number of places and a bounded queue, first come first served."""

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._queue = queue
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    def resize(self, places: int, queue: int) -> None:
        """Take new bounds; requests inside and waiting keep their places."""
        self._places, self._queue = places, queue
        self._admit()

    async def enter(self, deadline: float) -> None:
        """Take a place; `leave` gives it back. `deadline` is loop time.

        Errors: Unavailable at once when the queue is full, DeadlinePassed when no place came free in time.
        """
        if self.in_flight < self._places and not self._waiting:
            self.in_flight += 1
            return
        if len(self._waiting) >= self._queue:
            raise Unavailable(
                f"the gateway is at its limit of {self._places} requests and {self._queue} waiting ones; try later",
                stage="admission",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise DeadlinePassed(
                    "the deadline passed while the request waited for its turn", stage="admission"
                ) from error
            raise

    def leave(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self._places:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
