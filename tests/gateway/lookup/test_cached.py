"""The memory of a store: what is asked how often, and what happens when it does not respond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.lookup.cached import FAILURES, PAUSE, CachedStore
from gateway.lookup.store import StoreFailure, Values

FEATURES = ("a", "b")


@dataclass
class FakeStore:
    """Answers from a mapping, fails or hangs on demand; `asked` holds the keys of each round trip."""

    rows: dict[str, Values] = field(default_factory=lambda: {"x": {"a": 1}, "y": {"a": 2, "b": "t"}})
    asked: list[list[str]] = field(default_factory=list)
    failing: bool = False
    gate: asyncio.Event | None = None

    async def fetch(self, keys: Sequence[str], features: Sequence[str]) -> list[Values | None]:
        self.asked.append(list(keys))
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            raise StoreFailure("down")
        return [self.rows.get(key) for key in keys]

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def run(test: Callable[[FakeStore, Clock, CachedStore], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a test with a store in its own loop."""

    async def whole() -> None:
        store, clock = FakeStore(), Clock()
        cached = CachedStore(store, time=clock, **({"entries": 10, "timeout": 5.0} | options))
        await test(store, clock, cached)
        await cached.close()

    asyncio.run(whole())


def test_all_keys_of_a_request_cost_one_round_trip_and_none_while_they_are_known() -> None:
    async def test(store: FakeStore, clock: Clock, cached: CachedStore) -> None:
        found, known = await cached.fetch(["x", "gone", "x", "y"], FEATURES, ttl=30)
        assert (found, known) == ({"x": {"a": 1}, "gone": None, "y": {"a": 2, "b": "t"}}, 0)
        clock.now += 29
        again, known = await cached.fetch(["gone", "y"], FEATURES, ttl=30)
        assert (again, known) == ({"gone": None, "y": {"a": 2, "b": "t"}}, 2), "absent keys are remembered too"
        assert store.asked == [["x", "gone", "y"]]
        clock.now += 2
        await cached.fetch(["x", "new"], FEATURES, ttl=30)
        assert store.asked[1:] == [["x", "new"]]

    run(test)


def test_a_key_is_asked_for_once_at_a_time_though_a_client_leaves() -> None:
    async def test(store: FakeStore, clock: Clock, cached: CachedStore) -> None:
        store.gate = asyncio.Event()
        first = asyncio.create_task(cached.fetch(["x"], FEATURES, ttl=30))
        await asyncio.sleep(0)
        second = asyncio.create_task(cached.fetch(["x", "y"], FEATURES, ttl=30))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        store.gate.set()
        assert (await second)[0] == {"x": {"a": 1}, "y": {"a": 2, "b": "t"}}
        assert store.asked == [["x"], ["y"]]

    run(test)


def test_the_longest_unused_key_is_forgotten() -> None:
    async def test(store: FakeStore, clock: Clock, cached: CachedStore) -> None:
        await cached.fetch(["x", "y"], FEATURES, ttl=30)
        await cached.fetch(["x"], FEATURES, ttl=30)
        await cached.fetch(["z"], FEATURES, ttl=30)
        await cached.fetch(["x"], FEATURES, ttl=30)
        assert store.asked == [["x", "y"], ["z"]]
        await cached.fetch(["y"], FEATURES, ttl=30)
        assert store.asked[-1] == ["y"]

    run(test, entries=2)


def test_a_store_that_hangs_is_waited_for_no_longer_than_its_bound() -> None:
    async def test(store: FakeStore, clock: Clock, cached: CachedStore) -> None:
        store.gate = asyncio.Event()
        with pytest.raises(StoreFailure, match="no response within 10 ms"):
            await cached.fetch(["x"], FEATURES, ttl=30)
        store.gate.set()
        assert (await cached.fetch(["x"], FEATURES, ttl=30))[0] == {"x": {"a": 1}}, "the failure was not remembered"

    run(test, timeout=0.01)


def test_a_store_that_fails_is_left_alone_for_a_while_then_tried_by_one() -> None:
    async def test(store: FakeStore, clock: Clock, cached: CachedStore) -> None:
        store.failing = True
        for _ in range(FAILURES + 3):
            with pytest.raises(StoreFailure):
                await cached.fetch(["x"], FEATURES, ttl=30)
        assert len(store.asked) == FAILURES
        clock.now += PAUSE
        for _ in range(3):
            with pytest.raises(StoreFailure):
                await cached.fetch(["x"], FEATURES, ttl=30)
        assert len(store.asked) == FAILURES + 1
        clock.now += PAUSE
        store.failing = False
        for key in ("x", "y"):
            await cached.fetch([key], FEATURES, ttl=30)
        assert len(store.asked) == FAILURES + 3

    run(test)
