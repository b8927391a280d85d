"""A gateway before one fake model server, shared by the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, FakeModelServer]]:
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path_factory.mktemp("gateway"), config(server.address), "--drain-seconds", "0")
    yield gateway, server
    assert gateway.stop() == 0
    server.stop()


@pytest.fixture
def gateway(shared: tuple[GatewayProcess, FakeModelServer]) -> GatewayProcess:
    return shared[0]


@pytest.fixture
def server(shared: tuple[GatewayProcess, FakeModelServer]) -> Iterator[FakeModelServer]:
    fake = shared[1]
    fake.seen.clear()
    yield fake
    fake.faults.clear()
    fake.delay, fake.labels, fake.loaded, fake.always = 0.0, {"stable": 1, "canary": 2}, {1, 2}, None
