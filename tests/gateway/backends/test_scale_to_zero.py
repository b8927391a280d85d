"""Gateways of model servers that are scaled to zero: requests wait for the first replica, within their deadline."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest
import requests
from fake_model_server import FakeModelServer
from gateway_process import FakeModelServerProcess, GatewayProcess, config

from deployer.tools import ports
from gateway import settings
from gateway.backends.objective import Objectives
from gateway.backends.pool import Pool
from gateway.backends.transport import GrpcTransport
from gateway.observe.metrics import Metrics

BODY = {"records": [{"a": 1, "b": 2}]}


def test_a_request_waits_for_the_first_replica(tmp_path: Path) -> None:
    (port,) = ports.free(1)
    backends = {"static": [f"127.0.0.1:{port}"], "scale_to_zero": True}
    content = config(backends=backends, limits={"timeout_ms": 60_000})
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds=0")
    assert gateway.told("/readyz").status_code == 200, (
        "else its Service would have no endpoint, and nothing would start"
    )
    answers: list[requests.Response] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.post(BODY)))
    asking.start()
    gateway.until("/routes", lambda _: gateway.metric("gateway_in_flight") >= 1)  # what a scaler sees
    server = FakeModelServerProcess(port)
    asking.join(60)
    assert [(a.status_code, a.json()["predictions"]) for a in answers] == [(200, [{"value": 30.0}])]
    assert gateway.stop() == 0
    server.kill()


def test_a_request_whose_deadline_comes_first_is_told_to_try_again(tmp_path: Path) -> None:
    (port,) = ports.free(1)
    backends = {"static": [f"127.0.0.1:{port}"], "scale_to_zero": True}
    gateway = GatewayProcess(tmp_path, config(backends=backends, limits={"timeout_ms": 300}), "--drain-seconds=0")
    answer = gateway.post(BODY)
    assert answer.status_code in (503, 504), answer.text
    assert gateway.stop() == 0


@pytest.mark.parametrize(("error", "left"), [(socket.EAI_NONAME, 0), (socket.EAI_AGAIN, 1)])
def test_a_name_without_addresses_has_no_replicas_and_a_lookup_that_failed_changes_nothing(
    error: int, left: int
) -> None:
    server = FakeModelServer()
    found: list[tuple[str, ...] | OSError] = [(server.address,), socket.gaierror(error, "no")]

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        now = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(now, OSError):
            raise now
        return now

    async def run() -> int:
        pool = Pool(
            connect=GrpcTransport, resolve=resolve, metrics=Metrics(), objectives=Objectives(None, 5.0), most=10
        )
        await pool.configure(settings.Backends(dns="models:8500", refresh_seconds=0.1, scale_to_zero=True))
        assert len(pool.backends) == 1
        await pool._refresh()
        count = len(pool.backends)
        await asyncio.gather(*pool._tasks)  # what left the list closes its connection
        await pool.close()
        return count

    assert asyncio.run(run()) == left
    server.stop()
