"""Hedged requests: real replicas of which one does not respond, and the rules on calls made up here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import grpc
import numpy as np
import pytest
from fake_model_server import FakeModelServer

from gateway import settings
from gateway.backends.cache import ResponseCache
from gateway.backends.hedge import LATENCIES_FIRST, Hedging
from gateway.backends.model_server import ModelServer
from gateway.backends.objective import Objectives
from gateway.backends.pool import Pool
from gateway.backends.rpc import RpcError
from gateway.backends.transport import GrpcTransport
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.routing.labels import NEWEST
from tfserving.wire.status import Code
from tfserving.wire.tensors import to_bytes

ROWS = to_bytes(np.array([[1, 2], [3, 4]], np.float32))
SUBJECT = ("m", NEWEST)


@pytest.fixture
def three() -> Iterator[list[FakeModelServer]]:
    servers = [FakeModelServer() for _ in range(3)]
    yield servers
    for server in servers:
        server.stop()


def with_pool(
    servers: list[FakeModelServer], hedge: settings.Hedge | None, work: Callable[[Pool, Metrics], Awaitable[None]]
) -> None:
    """Run `work` with a pool that asks the first replicas while they are free."""

    async def run() -> None:
        metrics = Metrics()
        pool = Pool(
            connect=GrpcTransport,
            resolve=lambda host, port: asyncio.sleep(0, ()),
            metrics=metrics,
            objectives=Objectives(None, 30.0),
            most=100,
            chance=lambda: 0.0,
        )
        await pool.configure(settings.Backends(static=[server.address for server in servers], hedge=hedge))
        try:
            await work(pool, metrics)
        finally:
            await pool.close()

    asyncio.run(run())


async def predict(pool: Pool, seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    server = ModelServer(pool, ResponseCache(Metrics(), asyncio.get_running_loop().time))
    prediction = await server.predict("m", NEWEST, "", {"x": ROWS}, deadline, Trace())
    np.testing.assert_allclose(prediction.outputs["y"], [60, 140])


def test_a_replica_that_hangs_is_overtaken_by_another_and_its_call_is_cancelled(three: list[FakeModelServer]) -> None:
    async def work(pool: Pool, metrics: Metrics) -> None:
        for _ in range(10):  # credit for second calls
            await predict(pool)
        three[0].gate.clear()
        await predict(pool)
        assert metrics.hedges.value("won") >= 1
        async with asyncio.timeout(60):
            while any(backend.outstanding for backend in pool.backends):
                await asyncio.sleep(0.01)
            while three[0].cancelled == 0:
                three[0].gate.set()
                await asyncio.sleep(0.01)

    with_pool(three, settings.Hedge(after_ms=200, max_share=0.5), work)
    assert three[1].seen


def test_no_more_than_the_share_is_hedged_when_every_call_is_late(three: list[FakeModelServer]) -> None:
    for server in three:
        server.delay = 0.02

    async def work(pool: Pool, metrics: Metrics) -> None:
        for _ in range(60):
            await predict(pool)
        assert metrics.hedges.value("won") + metrics.hedges.value("lost") == 6
        assert metrics.hedges.value("capped") == 54

    with_pool(three, settings.Hedge(after_ms=0.1, max_share=0.1), work)
    assert sum(len(server.seen) for server in three) <= 66


@pytest.mark.parametrize("hedge", [None, settings.Hedge(after_ms=1, max_share=0.5)])
def test_nothing_is_hedged_when_it_is_off_or_requests_wait_for_a_place(
    three: list[FakeModelServer], hedge: settings.Hedge | None
) -> None:
    for server in three:
        server.delay = 0.02

    async def work(pool: Pool, metrics: Metrics) -> None:
        pool.pressed = lambda: True
        for _ in range(10):
            await predict(pool)
        assert metrics.hedges.value("won") + metrics.hedges.value("lost") == 0

    with_pool(three, hedge, work)
    assert sum(len(server.seen) for server in three) == 10


def test_what_all_replicas_refuse_is_refused_with_their_words(three: list[FakeModelServer]) -> None:
    for server in three:
        server.always = (grpc.StatusCode.INVALID_ARGUMENT, "no such input")

    async def work(pool: Pool, metrics: Metrics) -> None:
        for _ in range(4):
            with pytest.raises(RpcError, match="no such input"):
                await predict(pool)

    with_pool(three, settings.Hedge(after_ms=0.01, max_share=0.5), work)


def hedging(hedge: settings.Hedge) -> tuple[Hedging, Metrics]:
    metrics = Metrics()
    made = Hedging(metrics, asyncio.get_running_loop().time)
    made.configure(hedge)
    return made, metrics


async def giving(response: bytes | RpcError, when: asyncio.Event | None = None) -> bytes:
    if when is not None:
        await when.wait()
    if isinstance(response, RpcError):
        raise response
    return response


@pytest.mark.parametrize(
    ("first", "second", "outcome", "result"),
    [
        (RpcError(Code.INTERNAL, "first"), b"second", b"second", "won"),
        (b"first", RpcError(Code.INTERNAL, "second"), b"first", "lost"),
        (RpcError(Code.INTERNAL, "first"), RpcError(Code.INTERNAL, "second"), "INTERNAL: first", "failed"),
    ],
)
def test_a_failure_waits_for_the_other_call(
    first: bytes | RpcError, second: bytes | RpcError, outcome: bytes | str, result: str
) -> None:
    async def run() -> None:
        made, metrics = hedging(settings.Hedge(after_ms=1, max_share=0.5))
        await made.run(SUBJECT, giving(b""), lambda: None, lambda took: None)
        go = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, go.set)
        call = made.run(SUBJECT, giving(first, go), lambda: giving(second, go), lambda took: None)
        if isinstance(outcome, str):
            with pytest.raises(RpcError, match=outcome):
                await call
        else:
            assert await call == outcome
        assert metrics.hedges.value(result) == 1

    asyncio.run(run())


def test_a_client_that_leaves_ends_both_calls() -> None:
    ended: list[str] = []

    async def endless(name: str, started: asyncio.Event) -> bytes:
        started.set()
        try:
            await asyncio.Event().wait()
            return b""
        finally:
            ended.append(name)

    async def run() -> None:
        made, _ = hedging(settings.Hedge(after_ms=1, max_share=0.5))
        await made.run(SUBJECT, giving(b""), lambda: None, lambda took: None)
        started = asyncio.Event()
        call = made.run(SUBJECT, endless("first", asyncio.Event()), lambda: endless("second", started), lambda _: None)
        task = asyncio.create_task(call)
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert sorted(ended) == ["first", "second"]


def test_a_quantile_hedges_only_after_it_is_known() -> None:
    async def run() -> None:
        now = 0.0

        def time() -> float:
            nonlocal now
            now += 0.005
            return now

        made = Hedging(Metrics(), time)
        made.configure(settings.Hedge(after_quantile=0.9, max_share=0.5))
        asked: list[int] = []
        for number in range(LATENCIES_FIRST + 5):
            late = asyncio.Event()
            slow = number >= LATENCIES_FIRST

            def second(number: int = number, late: asyncio.Event = late) -> None:
                asked.append(number)
                late.set()

            await made.run(SUBJECT, giving(b"", late if slow else None), second, lambda took: None)
        assert asked == list(range(LATENCIES_FIRST, LATENCIES_FIRST + 5))

    asyncio.run(run())
