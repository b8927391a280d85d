"""A store with a memory: what was looked up lately, what was found to be absent, and who is being asked right now."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from gateway.lookup.store import FeatureStore, StoreFailure, Values

FAILURES: Final = 5
"""Failures in a row after which the store is left alone."""
PAUSE: Final = 1.0
"""Seconds for which it is; then one request tries it again."""


class Breaker:
    """Leaves a store alone that does not respond, so that requests do not wait for it one after the other."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._failures = 0
        self._until = 0.0

    def allows(self) -> bool:
        """Whether the store may be asked; after a pause, one request may."""
        if self._failures < FAILURES:
            return True
        now = self._time()
        if now < self._until:
            return False
        self._until = now + PAUSE
        return True

    def worked(self) -> None:
        """The store responded."""
        self._failures = 0

    def failed(self) -> None:
        """It did not."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._until = self._time() + PAUSE


class CachedStore:
    """One round trip for all keys of a request that are not known; the same key is asked for once at a time."""

    def __init__(self, store: FeatureStore, *, entries: int, timeout: float, time: Callable[[], float]) -> None:
        """`entries` keys are kept, those of the longest disuse go; `timeout` in seconds bounds a round trip."""
        self._store = store
        self._entries = entries
        self._timeout = timeout
        self._time = time
        self._known: OrderedDict[tuple[str, tuple[str, ...]], tuple[float, Values | None]] = OrderedDict()
        self._asked: dict[tuple[str, tuple[str, ...]], asyncio.Future[Values | None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._breaker = Breaker(time)

    async def fetch(
        self, keys: Sequence[str], features: tuple[str, ...], ttl: float
    ) -> tuple[dict[str, Values | None], int]:
        """What is stored for each key, at most `ttl` seconds old, and how many of them were known already.

        Errors: StoreFailure when the store is needed and does not respond in time.
        """
        now = self._time()
        found: dict[str, Values | None] = {}
        waiting: dict[str, asyncio.Future[Values | None]] = {}
        wanted: list[str] = []
        for key in dict.fromkeys(keys):
            entry = self._known.get((key, features))
            if entry is not None and now - entry[0] < ttl:
                self._known.move_to_end((key, features))
                found[key] = entry[1]
            elif (asked := self._asked.get((key, features))) is not None:
                waiting[key] = asked
            else:
                wanted.append(key)
        known = len(found)
        if wanted:
            waiting |= self._ask(wanted, features)
        for key, answer in waiting.items():
            found[key] = await asyncio.shield(answer)
        return found, known

    def _ask(self, keys: Sequence[str], features: tuple[str, ...]) -> dict[str, asyncio.Future[Values | None]]:
        if not self._breaker.allows():
            raise StoreFailure("it has not responded recently")
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[Values | None]] = {key: loop.create_future() for key in keys}
        for key, future in futures.items():
            future.add_done_callback(_seen)
            self._asked[key, features] = future
        task = loop.create_task(self._run(futures, features))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return futures

    async def _run(self, futures: dict[str, asyncio.Future[Values | None]], features: tuple[str, ...]) -> None:
        """A task of its own, so that a client that leaves does not take the response from the others."""
        try:
            async with asyncio.timeout(self._timeout):
                rows = await self._store.fetch(list(futures), features)
        except (StoreFailure, TimeoutError) as error:
            self._breaker.failed()
            reason = (
                str(error) if isinstance(error, StoreFailure) else f"no response within {self._timeout * 1000:g} ms"
            )
            for future in futures.values():
                future.set_exception(StoreFailure(reason))
        except BaseException:
            for future in futures.values():
                future.cancel()
            raise
        else:
            self._breaker.worked()
            now = self._time()
            for (key, future), row in zip(futures.items(), rows, strict=True):
                self._known[key, features] = (now, row)
                future.set_result(row)
            while len(self._known) > self._entries:
                self._known.popitem(last=False)
        finally:
            for key in futures:
                self._asked.pop((key, features), None)

    async def close(self) -> None:
        """End what is under way and give up the connections."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._store.close()


def _seen(future: asyncio.Future[Values | None]) -> None:
    """A failure that nobody waits for any more is no bug."""
    if not future.cancelled():
        future.exception()
