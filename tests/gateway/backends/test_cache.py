"""The cache of responses by itself: what is found again, for how long, and what one call serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from gateway.backends.cache import CONFIRMED_FOR, ENTRY_BYTES, ResponseCache, digest_of
from gateway.backends.rpc import RpcError
from gateway.observe.metrics import Metrics
from gateway.observe.trace import BYPASS, Trace
from gateway.routing.labels import NEWEST, Choice
from gateway.settings import ModelSettings
from tfserving.wire.status import Code

STABLE, CANARY = Choice(label="stable"), Choice(label="canary")
LABELS = {"stable": 1, "canary": 2}
FAR = 1e9


@dataclass
class Served:
    """A cache, a clock, and a server whose responses are `VERSION:WHAT`; labels resolve as `labels` says."""

    cache: ResponseCache
    metrics: Metrics
    now: float = 0.0
    labels: dict[str, int] = field(default_factory=lambda: dict(LABELS))
    calls: list[str] = field(default_factory=list)
    size: int = 0
    problem: RpcError | None = None

    async def ask(self, what: str, choice: Choice = STABLE) -> tuple[str, str]:
        """What the cache did, and the response."""

        async def call() -> bytes:
            self.calls.append(what)
            problem = self.problem
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if problem is not None:
                raise problem
            version = choice.version or self.labels[choice.label or "stable"]
            return f"{version}:{what}".encode().ljust(self.size)

        trace = Trace()
        digest = digest_of("", {"x": what.encode()}, ())
        response = await self.cache.response("m", choice, digest, FAR, trace, call, version_of)
        return trace.cache, response.decode().strip()


def version_of(response: bytes) -> int:
    return int(response.partition(b":")[0])


def served(work: Callable[[Served], Awaitable[None]], *, seconds: float | None = 60.0, most: int = 1 << 20) -> None:
    async def run() -> None:
        metrics = Metrics()
        one = Served(ResponseCache(metrics, lambda: one.now), metrics)
        one.cache.configure({"m": ModelSettings(labels=LABELS, cache_seconds=seconds)}, most)
        await work(one)

    asyncio.run(run())


def test_an_equal_request_gets_the_response_again_and_another_one_does_not() -> None:
    async def work(one: Served) -> None:
        assert await one.ask("a") == ("miss", "1:a")
        assert await one.ask("a") == ("hit", "1:a")
        assert await one.ask("b") == ("miss", "1:b")
        assert await one.ask("a", CANARY) == ("miss", "2:a")
        assert one.calls == ["a", "b", "a"]
        assert one.metrics.cache_requests.value("m", "hit") == 1

    served(work)


def test_labels_that_mean_one_version_share_its_responses() -> None:
    async def work(one: Served) -> None:
        one.labels["canary"] = 1
        await one.ask("a")
        await one.ask("b", CANARY)
        assert await one.ask("a", CANARY) == ("hit", "1:a")

    served(work)


def test_a_response_is_kept_for_its_time() -> None:
    async def work(one: Served) -> None:
        await one.ask("a")
        one.now = 4.5
        await one.ask("b")
        assert (await one.ask("a"))[0] == "hit"
        one.now = 5.1
        assert (await one.ask("a"))[0] == "miss"
        assert one.metrics.cache_dropped.value("expired") == 1

    served(work, seconds=5.0)


def test_a_label_that_moved_is_noticed_and_its_responses_are_dropped() -> None:
    async def work(one: Served) -> None:
        await one.ask("a")
        await one.ask("b")
        one.labels["stable"] = 2
        one.now = CONFIRMED_FOR + 0.1
        assert await one.ask("a") == ("miss", "2:a")
        assert one.metrics.cache_dropped.value("moved") == 2
        assert await one.ask("b") == ("miss", "2:b")
        assert await one.ask("a") == ("hit", "2:a")

    served(work)


def test_a_label_that_moves_in_the_config_is_not_served_from_what_it_meant() -> None:
    async def work(one: Served) -> None:
        await one.ask("a")
        await one.ask("a", CANARY)
        one.labels["stable"] = 2
        one.cache.configure({"m": ModelSettings(labels={"stable": 2, "canary": 2}, cache_seconds=60.0)}, 1 << 20)
        assert one.metrics.cache_dropped.value("moved") == 1
        assert await one.ask("b") == ("miss", "2:b")
        assert await one.ask("a") == ("hit", "2:a")

    served(work)


def test_a_model_without_the_setting_keeps_nothing_any_more() -> None:
    async def work(one: Served) -> None:
        await one.ask("a")
        one.cache.configure({"m": ModelSettings(labels=LABELS)}, 1 << 20)
        assert one.cache.size == 0
        assert not one.cache.takes("m", 1, Trace())

    served(work)


def test_its_bytes_are_bounded_and_the_least_recently_used_goes_first() -> None:
    async def work(one: Served) -> None:
        one.size = 1000
        for what in "abc":
            await one.ask(what)
        await one.ask("a")
        await one.ask("d")
        assert one.cache.size <= 3 * (1000 + ENTRY_BYTES)
        assert [(await one.ask(what))[0] for what in "acd"] == ["hit"] * 3
        assert (await one.ask("b"))[0] == "miss"
        one.size = 10_000
        await one.ask("large")
        assert (await one.ask("large"))[0] == "miss"

    served(work, most=3 * (1000 + ENTRY_BYTES))


def test_concurrent_equal_requests_make_one_call() -> None:
    async def work(one: Served) -> None:
        found = await asyncio.gather(*(one.ask("a") for _ in range(10)))
        assert sorted(cache for cache, _ in found) == ["collapsed"] * 9 + ["miss"]
        assert {response for _, response in found} == {"1:a"}
        assert one.calls == ["a"]

    served(work)


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    async def work(one: Served) -> None:
        one.problem = RpcError(Code.INTERNAL, "broken")
        found = await asyncio.gather(*(one.ask("a") for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["INTERNAL: broken"] * 3
        assert one.calls == ["a"]
        one.problem = None
        assert (await one.ask("a"))[0] == "miss"

    served(work)


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_a_request_that_gives_up_does_not_take_the_others_with_it(how: str) -> None:
    async def work(one: Served) -> None:
        if how == "late":
            one.problem = RpcError(Code.DEADLINE_EXCEEDED, "no response", local=True)
        first = asyncio.ensure_future(one.ask("a"))
        second = asyncio.ensure_future(one.ask("a"))
        if how == "cancelled":
            asyncio.get_running_loop().call_soon(first.cancel)
        else:
            asyncio.get_running_loop().call_soon(setattr, one, "problem", None)
        with pytest.raises((asyncio.CancelledError, RpcError)):
            await first
        assert (await second)[1] == "1:a"

    served(work)


def test_whoever_waits_for_another_call_keeps_its_own_deadline() -> None:
    async def work(one: Served) -> None:
        gate = asyncio.Event()

        async def call() -> bytes:
            await gate.wait()
            return b"1:a"

        digest = digest_of("", {"x": b"a"}, ())
        first = asyncio.ensure_future(one.cache.response("m", STABLE, digest, FAR, Trace(), call, version_of))
        await asyncio.sleep(0)
        with pytest.raises(RpcError, match="DEADLINE_EXCEEDED"):
            await one.cache.response("m", STABLE, digest, 0.01, Trace(), call, version_of)
        gate.set()
        assert await first == b"1:a"

    served(work)


def test_an_exact_version_that_was_unloaded_is_noticed() -> None:
    async def work(one: Served) -> None:
        exact = Choice(version=1)
        await one.ask("a", exact)
        one.now, one.problem = CONFIRMED_FOR + 0.1, RpcError(Code.NOT_FOUND, "Servable not found")
        with pytest.raises(RpcError):
            await one.ask("a", exact)
        assert one.cache.size == 0

    served(work)


def test_the_digest_tells_inputs_apart_and_not_their_order() -> None:
    assert digest_of("s", {"a": b"1", "b": b"2"}, ()) == digest_of("s", {"b": b"2", "a": b"1"}, ())
    kinds = [
        digest_of("s", {"a": b"1", "b": b"2"}, ()),
        digest_of("s", {"a": b"2", "b": b"1"}, ()),
        digest_of("s", {"a": b"1b", "": b"2"}, ()),
        digest_of("t", {"a": b"1", "b": b"2"}, ()),
        digest_of("s", {"a": b"1", "b": b"2"}, ("y",)),
    ]
    assert len(set(kinds)) == len(kinds)


def test_a_request_may_pass_by() -> None:
    trace = Trace()
    trace.looked_up(BYPASS)

    async def work(one: Served) -> None:
        assert one.cache.takes("m", 1, Trace())
        assert not one.cache.takes("m", 1, trace)
        assert not one.cache.takes("m", 1 << 30, Trace())
        assert await one.ask("a", NEWEST) == ("miss", "1:a")

    served(work)
