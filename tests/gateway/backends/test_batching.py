"""Dynamic batching: concurrent requests share a call and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import requests
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[tuple[GatewayProcess, FakeModelServer]]:
    server = FakeModelServer()
    batching = {"enabled": True, "max_batch_size": 8, "max_wait_micros": 300_000}
    gateway = GatewayProcess(tmp_path, config(server.address, batching=batching), "--drain-seconds", "0")
    yield gateway, server
    assert gateway.stop() == 0
    server.stop()


def ask(gateway: GatewayProcess, numbers: range, path: str = "/v1/models/m:predict") -> list[requests.Response]:
    """One request of one record per number, all at once."""

    def one(number: int) -> requests.Response:
        return requests.post(gateway.url + path, json={"records": [{"a": number, "b": 0}]}, timeout=30)

    with ThreadPoolExecutor(len(numbers)) as clients:
        return list(clients.map(one, numbers))


def test_concurrent_requests_share_calls_and_each_gets_its_own_rows(
    joined: tuple[GatewayProcess, FakeModelServer],
) -> None:
    gateway, server = joined
    answers = ask(gateway, range(16))
    assert [answer.json()["predictions"] for answer in answers] == [[{"value": 10.0 * n}] for n in range(16)]
    assert sum(seen.rows for seen in server.seen) == 16
    assert len(server.seen) < 16
    assert max(seen.rows for seen in server.seen) <= 8


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
    server.faults = [(grpc.StatusCode.INVALID_ARGUMENT, "something in it is wrong")]
    answers = ask(gateway, range(8))
    assert [answer.status_code for answer in answers] == [200] * 8
