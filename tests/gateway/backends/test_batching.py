"""Dynamic batching: concurrent requests share a call and nothing else; nobody waits for company that does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from gateway.backends.batching import Batcher
from gateway.backends.rows import Rows
from gateway.backends.rpc import RpcError
from gateway.errors import BadRequest, GatewayError
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.routing.labels import NEWEST
from gateway.settings import Batching
from tfserving.wire.status import Code

LONG = 60_000_000
"""Microseconds: longer than any request's deadline, so whoever waits for others in vain fails."""


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[tuple[GatewayProcess, FakeModelServer]]:
    server = FakeModelServer()
    batching = {"enabled": True, "max_batch_size": 3, "max_wait_micros": LONG}
    content = config(server.address, batching=batching, limits={"objective_ms": 10_000})
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    yield gateway, server
    server.gate.set()
    assert gateway.stop() == 0
    server.stop()


def occupy(gateway: GatewayProcess, server: FakeModelServer, clients: ThreadPoolExecutor) -> Future[requests.Response]:
    """A request that stays in flight until the gate is opened, so that others gather."""
    server.gate.clear()
    first = clients.submit(lambda: ask(gateway, range(1))[0])
    eventually(lambda: len(server.seen) == 1, "the calls at the model server")
    return first


def ask(gateway: GatewayProcess, numbers: range, path: str = "/v1/models/m:predict") -> list[requests.Response]:
    """One request of one record per number, all at once."""

    def one(number: int) -> requests.Response:
        return requests.post(gateway.url + path, json={"records": [{"a": number, "b": 0}]}, timeout=30)

    with ThreadPoolExecutor(len(numbers)) as clients:
        return list(clients.map(one, numbers))


def test_a_request_does_not_wait_for_others_when_nothing_is_in_flight(
    joined: tuple[GatewayProcess, FakeModelServer],
) -> None:
    gateway, server = joined
    for number in range(3):
        answer = gateway.post({"records": [{"a": number, "b": 0}]})
        assert answer.json()["predictions"] == [{"value": 10.0 * number}]
    assert [seen.rows for seen in server.seen] == [1, 1, 1]


def test_concurrent_requests_share_calls_and_each_gets_its_own_rows(
    joined: tuple[GatewayProcess, FakeModelServer],
) -> None:
    gateway, server = joined
    with ThreadPoolExecutor(2) as clients:
        first = occupy(gateway, server, clients)
        others = clients.submit(ask, gateway, range(6))
        eventually(lambda: len(server.seen) == 3, "the calls at the model server")
        server.gate.set()
        answers = others.result()
        assert first.result().status_code == 200
    assert [answer.json()["predictions"] for answer in answers] == [[{"value": 10.0 * n}] for n in range(6)]
    assert [seen.rows for seen in server.seen] == [1, 3, 3]


def test_what_has_gathered_leaves_when_the_call_in_flight_is_back(
    joined: tuple[GatewayProcess, FakeModelServer],
) -> None:
    gateway, server = joined
    with ThreadPoolExecutor(2) as clients:
        occupy(gateway, server, clients)
        others = clients.submit(ask, gateway, range(2))
        eventually(lambda: "gateway_in_flight 3\n" in gateway.told("/metrics").text, "all requests in flight")
        server.gate.set()
        assert [answer.json()["predictions"] for answer in others.result()] == [[{"value": 10.0 * n}] for n in range(2)]
    assert [seen.rows for seen in server.seen] == [1, 2]


def test_a_bad_record_fails_its_own_request_only(
    joined: tuple[GatewayProcess, FakeModelServer],
) -> None:
    gateway, server = joined
    with ThreadPoolExecutor(4) as clients:
        occupy(gateway, server, clients)
        bad = clients.submit(gateway_post, gateway, [{"a": "many", "b": 0}])
        good = clients.submit(ask, gateway, range(2))
        eventually(lambda: len(server.seen) == 2, "the calls at the model server")
        server.gate.set()
        answers, refused = good.result(), bad.result()
    assert [answer.json()["predictions"] for answer in answers] == [[{"value": 10.0 * n}] for n in range(2)]
    assert refused.status_code == 400
    assert refused.json()["error"] == "record 0: feature 'a': expected a number, got string"
    assert [seen.rows for seen in server.seen] == [1, 2]


def gateway_post(gateway: GatewayProcess, records: list[dict[str, object]]) -> requests.Response:
    """A request over a connection of its own."""
    return requests.post(gateway.url + "/v1/models/m:predict", json={"records": records}, timeout=30)


def test_requests_for_different_versions_are_not_joined(joined: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, _ = joined
    with ThreadPoolExecutor(2) as both:
        first = both.submit(ask, gateway, range(4))
        second = both.submit(ask, gateway, range(4), "/v1/models/m/labels/canary:predict")
        versions = {answer.json()["metadata"]["model_version"] for answer in first.result()}
        others = {answer.json()["metadata"]["model_version"] for answer in second.result()}
    assert (versions, others) == ({1}, {2})


def test_a_refused_batch_is_sent_again_one_by_one(joined: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, server = joined
    with ThreadPoolExecutor(2) as clients:
        occupy(gateway, server, clients)
        server.faults = [(grpc.StatusCode.INVALID_ARGUMENT, "something in it is wrong")]
        others = clients.submit(ask, gateway, range(3))
        eventually(lambda: len(server.seen) == 5, "the calls at the model server")
        server.gate.set()
        assert [answer.status_code for answer in others.result()] == [200] * 3
    assert [seen.rows for seen in server.seen] == [1, 3, 1, 1, 1]


@dataclass(frozen=True)
class Sums:
    """An outcome for these tests."""

    values: list[float]

    def part(self, start: int, stop: int) -> Sums:
        return Sums(self.values[start:stop])


@dataclass
class FakeJob:
    """Answers the sum of each record, unless a record says what shall go wrong."""

    prepared: list[int] = field(default_factory=list)
    ran: list[int] = field(default_factory=list)
    poison: dict[float, Exception] = field(default_factory=dict)
    """What a call ends with that has a row of this value."""

    async def prepare(self, records: Sequence[Mapping[str, object]], trace: Trace) -> Rows:
        self.prepared.append(len(records))
        if any("bad" in record for record in records):
            raise BadRequest("bad", stage="preprocess")
        return Rows({"x": np.array([record["x"] for record in records], np.float32)})

    async def run(self, rows: Rows, deadline: float, trace: Trace) -> Sums:
        self.ran.append(len(rows))
        values = [float(value) for value in rows._tensors["x"]]
        for value in values:
            if value in self.poison:
                raise self.poison[value]
        trace.mark("backend")
        return Sums(values)


def together(job: FakeJob, requests: list[list[dict[str, object]]], *, most: int = 100) -> list[Sums | BaseException]:
    """The outcomes of requests that arrive in one turn of the loop."""

    async def main() -> list[Sums | BaseException]:
        batcher: Batcher[Sums] = Batcher(Batching(enabled=True, max_batch_size=32, max_wait_micros=LONG), Metrics())
        until = asyncio.get_running_loop().time() + 30
        return await asyncio.gather(
            *(batcher.submit(("m", NEWEST, 1), job, one, until, Trace(), most=most) for one in requests),
            return_exceptions=True,
        )

    return asyncio.run(main())


def test_records_of_a_batch_are_prepared_and_run_once() -> None:
    job = FakeJob()
    assert together(job, [[{"x": 1}, {"x": 2}], [{"x": 3}]]) == [Sums([1, 2]), Sums([3])]
    assert (job.prepared, job.ran) == ([3], [3])


def test_a_call_holds_no_more_rows_than_the_model_takes() -> None:
    job = FakeJob()
    found = together(job, [[{"x": number}] for number in range(5)], most=2)
    assert found == [Sums([number]) for number in range(5)]
    assert max(job.ran) == 2
    assert sum(job.ran) == 5


@pytest.mark.parametrize(
    "error",
    [
        RpcError(Code.INVALID_ARGUMENT, "indices[0] = 9 is not in [0, 5)"),
        RpcError(Code.INTERNAL, "the model raised"),
        GatewayError("the output is not what the spec says", stage="interpret"),
        ZeroDivisionError("a fault nobody thought of"),
    ],
)
def test_a_row_that_spoils_a_call_fails_its_sender_alone(error: Exception) -> None:
    job = FakeJob(poison={2: error})
    assert together(job, [[{"x": 1}], [{"x": 2}], [{"x": 3}]]) == [Sums([1]), error, Sums([3])]
    assert job.ran == [3, 1, 1, 1]


def test_an_error_of_the_model_server_that_no_row_causes_is_not_asked_for_again() -> None:
    job = FakeJob(poison={2: RpcError(Code.UNAVAILABLE, "no model server")})
    found = together(job, [[{"x": 1}], [{"x": 2}]])
    assert [type(one) for one in found] == [RpcError, RpcError]
    assert job.ran == [2]


def test_only_the_bad_are_left_out_of_a_call() -> None:
    job = FakeJob()
    found = together(job, [[{"x": 1}], [{"bad": 2}], [{"x": 3}]])
    assert (found[0], type(found[1]), found[2]) == (Sums([1]), BadRequest, Sums([3]))
    assert job.ran == [2]
