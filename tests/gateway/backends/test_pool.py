"""Calls to model servers: the transport on real sockets, and which failures are repeated where."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import grpc
import numpy as np
import pytest
from fake_model_server import FakeModelServer

from gateway import settings
from gateway.backends.cache import ResponseCache
from gateway.backends.model_server import ModelServer, predict_request
from gateway.backends.objective import Objectives
from gateway.backends.pool import Pool
from gateway.backends.rpc import RpcError, Transport
from gateway.backends.transport import GrpcTransport
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.routing.labels import NEWEST, Choice
from tfserving.http2 import frames
from tfserving.wire import methods
from tfserving.wire.status import Code
from tfserving.wire.tensors import Array, to_bytes

ROWS = np.array([[1, 2], [3, 4]], np.float32)


async def unresolved(host: str, port: int) -> tuple[str, ...]:
    raise AssertionError("nothing is to be resolved")


def with_pool(
    work: Callable[[Pool], Awaitable[None]],
    *addresses: str,
    reserve: int = 100,
    chance: Callable[[], float] = lambda: 0.0,
) -> None:
    """Run `work` with a pool of real connections."""

    async def run() -> None:
        pool = Pool(
            connect=GrpcTransport,
            resolve=unresolved,
            metrics=Metrics(),
            objectives=Objectives(None, 5.0),
            most=reserve,
            chance=chance,
        )
        await pool.configure(settings.Backends(static=list(addresses)))
        try:
            await work(pool)
        finally:
            await pool.close()

    asyncio.run(run())


async def predict(pool: Pool, rows: Array = ROWS, choice: Choice = NEWEST, seconds: float = 5.0) -> Array:
    deadline = asyncio.get_running_loop().time() + seconds
    server = ModelServer(pool, ResponseCache(Metrics(), asyncio.get_running_loop().time))
    prediction = await server.predict("m", choice, "", {"x": to_bytes(rows)}, deadline, Trace())
    return prediction.outputs["y"]


@pytest.fixture
def two() -> Iterator[list[FakeModelServer]]:
    servers = [FakeModelServer(), FakeModelServer()]
    yield servers
    for server in servers:
        server.stop()


def test_messages_larger_than_every_window_arrive_whole_and_in_order(two: list[FakeModelServer]) -> None:
    rows = np.arange(2_000_000, dtype=np.float32).reshape(-1, 2) % 1000

    async def work(pool: Pool) -> None:
        answers = await asyncio.gather(*(predict(pool, rows, seconds=20) for _ in range(3)), predict(pool))
        for answer in answers[:3]:
            np.testing.assert_allclose(answer, 20 * rows.sum(axis=1))
        np.testing.assert_allclose(answers[3], [60, 140])

    with_pool(work, two[0].address)


def test_a_call_ends_with_its_deadline_and_the_connection_continues(two: list[FakeModelServer]) -> None:
    two[0].gate.clear()

    async def work(pool: Pool) -> None:
        with pytest.raises(RpcError) as error:
            await predict(pool, seconds=0.05)
        assert error.value.code == Code.DEADLINE_EXCEEDED
        two[0].gate.set()
        np.testing.assert_allclose(await predict(pool), [60, 140])

    with_pool(work, two[0].address)


def test_an_unknown_method_is_unimplemented(two: list[FakeModelServer]) -> None:
    async def work(pool: Pool) -> None:
        transport: Transport = pool.backends[0].transport
        with pytest.raises(RpcError) as error:
            await transport.call("/no.Such/Method", b"", 5)
        assert error.value.code == Code.UNIMPLEMENTED

    with_pool(work, two[0].address)


def test_a_peer_that_does_not_speak_http2_is_not_connected() -> None:
    async def work() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await reader.read()
            writer.close()

        web = await asyncio.start_server(refuse, "127.0.0.1", 0)
        transport = GrpcTransport(f"127.0.0.1:{web.sockets[0].getsockname()[1]}")
        await asyncio.wait_for(transport.start(), 10)
        assert not transport.connected
        with pytest.raises(RpcError):
            await transport.call(methods.PREDICT.path, b"", 1)
        await transport.close()
        await asyncio.sleep(0.1)
        web.close()
        await web.wait_closed()

    asyncio.run(work())


STATUS, GRPC, OK = b"\x88", b"\x00\x0ccontent-type\x10application/grpc", b"\x00\x0bgrpc-status\x010"
"""Header fields of a response, as HPACK."""


@pytest.mark.parametrize(
    ("head", "then", "broken"),
    [
        (GRPC + STATUS, b"", "malformed headers"),
        (STATUS + STATUS + GRPC, b"", "malformed headers"),
        (STATUS + b"\x00\x0aConnection\x05close" + GRPC, b"", "malformed headers"),
        (STATUS + GRPC, frames.frame(frames.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), "its window is too large"),
    ],
    ids=["late status", "two statuses", "header of the connection", "window overflow"],
)
def test_a_response_that_breaks_http2_ends_its_call_and_nothing_else(head: bytes, then: bytes, broken: str) -> None:
    def answer(number: int, block: bytes, after: bytes = b"") -> bytes:
        return frames.frame(frames.HEADERS, frames.END_HEADERS, number, block) + after

    good = frames.frame(frames.DATA, 0, 3, b"\0\0\0\0\x02ok")
    good += frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 3, OK)
    answers = [answer(1, head, then), answer(3, STATUS + GRPC, good)]

    async def work() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(frames.frame(frames.SETTINGS, 0, 0))
            await reader.readexactly(len(frames.CLIENT_PREFACE))
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    start = await reader.readexactly(9)
                    received.append((start[3], await reader.readexactly(int.from_bytes(start[:3], "big"))))
                    if start[3] == frames.DATA:
                        writer.write(answers.pop(0))
            writer.close()

        received: list[tuple[int, bytes]] = []
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        transport = GrpcTransport(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await transport.start()
        with pytest.raises(RpcError, match=broken) as error:
            await transport.call(methods.PREDICT.path, b"", 10)
        assert error.value.code == Code.INTERNAL
        assert await transport.call(methods.PREDICT.path, b"", 10) == b"ok"
        code = frames.FLOW_CONTROL_ERROR if then else frames.PROTOCOL_ERROR
        assert (frames.RST_STREAM, code.to_bytes(4, "big")) in received
        await transport.close()
        server.close()
        await server.wait_closed()

    asyncio.run(work())


FULL = "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued"
REPEATED = [
    (grpc.StatusCode.CANCELLED, ""),  # what a server that is being killed says
    (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
    (grpc.StatusCode.UNAVAILABLE, FULL),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"),
    (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(m, 2)"),
    (grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: canary"),
    (grpc.StatusCode.FAILED_PRECONDITION, "shapes differ and padding is turned off"),
]


@pytest.mark.parametrize(("code", "text"), REPEATED)
def test_what_another_replica_can_serve_is_sent_there(
    two: list[FakeModelServer], code: grpc.StatusCode, text: str
) -> None:
    two[0].faults = [(code, text)]

    async def work(pool: Pool) -> None:
        np.testing.assert_allclose(await predict(pool), [60, 140])

    with_pool(work, *(server.address for server in two))
    assert len(two[0].seen) + len(two[1].seen) == 2


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0]"),
        (grpc.StatusCode.FAILED_PRECONDITION, "no variable"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OOM when allocating tensor"),
        (grpc.StatusCode.INTERNAL, "kernel"),
    ],
)
def test_what_would_fail_anywhere_is_not_repeated(two: list[FakeModelServer], code: grpc.StatusCode, text: str) -> None:
    two[0].faults = [(code, text)]

    async def work(pool: Pool) -> None:
        with pytest.raises(RpcError, match=text.replace("[", r"\[")):
            await predict(pool)

    with_pool(work, *(server.address for server in two))
    assert len(two[0].seen) + len(two[1].seen) == 1


def test_a_failing_replica_is_ejected_probed_and_used_again(two: list[FakeModelServer]) -> None:
    two[0].faults = [(grpc.StatusCode.UNAVAILABLE, "broken")] * 3

    async def work(pool: Pool) -> None:
        for _ in range(3):
            await predict(pool)
        assert [backend.state for backend in pool.backends] == ["ejected", "ready"]
        await predict(pool)
        assert len(two[0].seen) == 3
        async with asyncio.timeout(60):
            while pool.backends[0].state != "ready":
                await asyncio.sleep(0.05)

    with_pool(work, *(server.address for server in two))


def test_a_full_replica_is_not_ejected(two: list[FakeModelServer]) -> None:
    two[0].faults = [(grpc.StatusCode.UNAVAILABLE, FULL)] * 5

    async def work(pool: Pool) -> None:
        for _ in range(5):
            await predict(pool)
        assert [backend.state for backend in pool.backends] == ["ready", "ready"]

    with_pool(work, *(server.address for server in two))


def test_repetitions_end_with_the_budget(two: list[FakeModelServer]) -> None:
    for server in two:
        server.always = (grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def work(pool: Pool) -> None:
        for _ in range(20):
            with pytest.raises(RpcError):
                await predict(pool)

    with_pool(work, *(server.address for server in two), reserve=2)
    assert 20 + 2 <= len(two[0].seen) + len(two[1].seen) <= 20 + 2 + 20 * 0.2


def test_full_replicas_are_asked_again_until_one_has_room(two: list[FakeModelServer]) -> None:
    for server in two:
        server.faults = [(grpc.StatusCode.UNAVAILABLE, FULL)] * 6

    async def work(pool: Pool) -> None:
        np.testing.assert_allclose(await predict(pool), [60, 140])

    with_pool(work, *(server.address for server in two), reserve=1)


def test_replicas_that_stay_full_end_the_call_before_its_deadline(two: list[FakeModelServer]) -> None:
    two[0].always = (grpc.StatusCode.UNAVAILABLE, FULL)

    async def work(pool: Pool) -> None:
        with pytest.raises(RpcError, match="batch scheduling queue"):
            await predict(pool, seconds=0.3)
        assert pool.places() < 8, "the limit has come down"

    with_pool(work, two[0].address)


def test_the_less_loaded_replica_gets_the_call(two: list[FakeModelServer]) -> None:
    two[0].gate.clear()

    async def work(pool: Pool) -> None:
        held = asyncio.create_task(predict(pool, seconds=60))
        async with asyncio.timeout(60):
            while not two[0].seen:
                await asyncio.sleep(0.01)
        for _ in range(4):
            await predict(pool)
        two[0].gate.set()
        await held

    with_pool(work, *(server.address for server in two))
    assert (len(two[0].seen), len(two[1].seen)) == (1, 4)


def test_a_name_is_resolved_again() -> None:
    first, second = FakeModelServer(), FakeModelServer()
    found = [first.address]

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return tuple(found)

    async def run() -> None:
        pool = Pool(
            connect=GrpcTransport, resolve=resolve, metrics=Metrics(), objectives=Objectives(None, 5.0), most=10
        )
        await pool.configure(settings.Backends(dns="models:8500", refresh_seconds=0.1))
        await predict(pool)
        found[:] = [second.address]
        async with asyncio.timeout(60):
            while [(backend.address, backend.state) for backend in pool.backends] != [(second.address, "ready")]:
                await asyncio.sleep(0.02)
        await predict(pool)
        await pool.close()

    asyncio.run(run())
    assert (len(first.seen), len(second.seen)) == (1, 1)
    first.stop()
    second.stop()


def test_a_label_that_one_replica_has_is_found_there_and_then_asked_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.backends.pool.MISSING_SECONDS", 3600.0)  # no replica is asked again in this test
    servers = [FakeModelServer(labels={"stable": 1}, loaded={1}) for _ in range(3)]
    servers[2].labels, servers[2].loaded = {"canary": 2}, {2}

    async def work(pool: Pool) -> None:
        for _ in range(20):
            np.testing.assert_allclose(await predict(pool, choice=Choice(label="canary")), [60, 140])
        for _ in range(20):
            np.testing.assert_allclose(await predict(pool, choice=Choice(label="stable")), [30, 70])

    try:
        with_pool(work, *(server.address for server in servers), reserve=10)
        misdirected = [s.label for s in servers[0].seen + servers[1].seen if s.label == "canary"]
        assert 1 <= len(misdirected) <= 2, "each of the others is asked once at most"
        assert len([s for s in servers[2].seen if s.label == "canary"]) == 20
    finally:
        for server in servers:
            server.stop()


def test_a_replica_that_has_just_learned_a_label_is_asked_when_no_other_has_it(two: list[FakeModelServer]) -> None:
    for server in two:
        server.labels = {}

    async def work(pool: Pool) -> None:
        with pytest.raises(RpcError, match="Unrecognized servable version label"):
            await predict(pool, choice=Choice(label="canary"))
        two[1].labels = {"canary": 2}
        np.testing.assert_allclose(await predict(pool, choice=Choice(label="canary")), [60, 140])

    with_pool(work, *(server.address for server in two))


def test_a_connection_is_made_anew_at_its_age_and_calls_in_flight_are_finished_on_the_old_one() -> None:
    server = FakeModelServer()
    message = predict_request("m", NEWEST, "", {"x": to_bytes(ROWS)})

    async def work() -> None:
        transport = GrpcTransport(server.address, max_age=lambda: 0.2)
        await transport.start()
        server.gate.clear()
        first = asyncio.ensure_future(transport.call(methods.PREDICT.path, message, 30))
        others: list[asyncio.Future[bytes]] = []
        async with asyncio.timeout(20):
            while len({seen.peer for seen in server.seen}) < 3:
                await asyncio.sleep(0.05)
                others.append(asyncio.ensure_future(transport.call(methods.PREDICT.path, message, 30)))
                assert transport.connected
                if len(others) > 20:
                    server.gate.set()  # of the server's threads, each call takes one
        server.gate.set()
        responses = await asyncio.gather(first, *others)
        assert len({bytes(response) for response in responses}) == 1
        await transport.close()

    try:
        asyncio.run(work())
    finally:
        server.stop()
