"""Messages of gRPC calls are read when there is room for them: gRPC itself reads whatever comes.

How long a message is shows when it has been read, so a call that is read takes room for the longest. There are few
such places, and a short message holds one for less than a millisecond. What has not been read waits in the client, but
for the first 64 KiB of each call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from gateway.errors import BadRequest, Unavailable
from gateway.guard.memory import Memory, Share

COPIES: Final = 3
"""Times that a message is held on its way to a model server: as it came, with another model named in it, in frames."""
SHARE: Final = 4
"""Messages that are being read may take this part of the memory for requests, beside it."""
LEAST: Final = 2
MOST: Final = 32
PATIENCE: Final = 1.0
"""Seconds after which those who wait take the place of a client whose message does not come."""


class Reading:
    """The places in which messages are read."""

    def __init__(self, memory: Memory, longest: Callable[[], int]) -> None:
        self._memory, self._longest = memory, longest
        self._readers: dict[asyncio.Task[object], float | None] = {}
        """Since when each reads; None for one that has lost its place."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def read(self, messages: AsyncIterator[bytes], share: Share) -> bytes:
        """The only message of a call, counted in `share`. Errors: Unavailable, BadRequest for a call without one."""
        loop = asyncio.get_running_loop()
        while len(self._readers) >= self._places:
            await self._turn(loop)
        task = asyncio.current_task()
        assert task is not None  # a handler is one
        self._readers[task] = loop.time()
        try:
            message = await anext(messages)
        except StopAsyncIteration as error:
            raise BadRequest("the call has no message", stage="read") from error
        except asyncio.CancelledError:
            if self._readers[task] is not None:
                raise
            task.uncancel()
            raise Unavailable(
                "the message came too slowly while others waited", stage="admission", reason="memory"
            ) from None
        finally:
            del self._readers[task]
            self._next()
        share.take(COPIES * len(message))
        return message

    @property
    def _places(self) -> int:
        return min(MOST, max(LEAST, self._memory.limit // SHARE // self._longest()))

    async def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a place; whoever has held one for too long loses it."""
        turn = loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(PATIENCE):
                await turn
        except TimeoutError:
            for task, since in self._readers.items():
                if since is not None and since < loop.time() - PATIENCE:
                    self._readers[task] = None
                    task.cancel()
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.cancelled():
                self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
