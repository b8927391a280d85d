"""Records whose features are looked up, through a real gateway, in a real Redis and a real SQLite file."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from deployer.tools import ports

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not on PATH")
SPEC: dict[str, Any] = {
    "features": [
        {"name": "amount", "type": "float"},
        {"name": "balance", "type": "float", "default": -1},
    ],
    "input": {"name": "x", "dtype": "float32", "shape": [-1, 2]},
    "output": {"name": "y", "kind": "regression"},
    "lookup": {"key": "user", "prefix": "u:", "features": ["balance"], "ttl_seconds": 0},
}
STRICT = {**SPEC, "lookup": {**SPEC["lookup"], "on_miss": "error"}}


class Redis:
    """A redis-server of its own, without a file."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        self.client = redis.Redis(port=self.port)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.05)

    def stop(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def store() -> Iterator[Redis]:
    (port,) = ports.free(1)
    server = Redis(port)
    yield server
    server.stop()


@pytest.fixture
def model_server() -> Iterator[FakeModelServer]:
    server = FakeModelServer()
    yield server
    server.stop()


def gateway_with(folder: Path, server: FakeModelServer, stores: dict[str, Any]) -> GatewayProcess:
    content = config(server.address, stores={"default": stores})
    content["models"]["m"]["specs"] = {"1": SPEC, "2": STRICT}
    return GatewayProcess(folder, content, "--drain-seconds", "0")


def values(answer: Any) -> list[float]:
    return [one["value"] for one in answer.json()["predictions"]]


@needs_redis
def test_features_come_from_redis_and_defaults_while_it_is_gone(
    tmp_path: Path, store: Redis, model_server: FakeModelServer
) -> None:
    store.client.hset("u:7", "balance", "5.5")
    store.client.hset("u:8", "balance", "much")
    gateway = gateway_with(tmp_path, model_server, {"redis": f"redis://127.0.0.1:{store.port}", "timeout_ms": 500})
    two = {"records": [{"amount": 1, "user": 7}, {"amount": 1, "user": "nobody"}, {"amount": 1, "user": "7"}]}
    strict = "/v1/models/m/versions/2:predict"
    assert values(gateway.post(two)) == [65.0, 0.0, 65.0]
    assert gateway.metric('gateway_lookups_total{store="default",result="asked"}') == 2

    refused = gateway.post(two, path=strict)
    assert refused.status_code == 400
    assert refused.json()["details"] == [{"record": 1, "feature": "user", "problem": "nothing is stored for it"}]
    wrong = gateway.post({"records": [{"amount": 1, "user": 8}]})
    assert wrong.json()["error"] == "record 0: feature 'balance': expected a number, got string"

    store.stop()
    started = time.monotonic()
    assert values(gateway.post(two)) == [0.0, 0.0, 0.0]
    failed = gateway.post(two, path=strict)
    assert (failed.status_code, "retry-after" in failed.headers) == (503, True)
    assert "features cannot be looked up in store 'default'" in failed.json()["error"]
    assert time.monotonic() - started < 20, "it hangs"
    assert gateway.metric('gateway_lookups_total{store="default",result="failed"}') > 0

    store.start()
    store.client.hset("u:7", "balance", "2")
    deadline = time.monotonic() + 20
    while values(gateway.post(two)) != [30.0, 0.0, 30.0]:
        assert time.monotonic() < deadline, "it does not come back"
        time.sleep(0.05)
    assert gateway.stop() == 0


def test_features_come_from_a_table(tmp_path: Path, model_server: FakeModelServer) -> None:
    with sqlite3.connect(tmp_path / "features.db") as connection:
        connection.execute("CREATE TABLE features (key TEXT, balance REAL, other TEXT)")
        connection.executemany("INSERT INTO features VALUES (?, ?, ?)", [("u:7", 5.5, "x"), ("u:8", None, "x")])
    connection.close()
    gateway = gateway_with(tmp_path, model_server, {"sqlite": "features.db"})
    answer = gateway.post({"records": [{"amount": 1, "user": user} for user in (7, 8, "x")]})
    assert values(answer) == [65.0, 0.0, 0.0]
    assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"amount": 1}, "record 0: feature 'user': missing, and features are looked up by it"),
        ({"amount": 1, "user": 1.5}, "record 0: feature 'user': expected text or a whole number"),
        (
            {"amount": 1, "user": 1, "balance": 9},
            "record 0: feature 'balance': it is looked up, a record must not contain it",
        ),
        (5, "record 0: expected an object, got number"),
    ],
)  # fmt: skip
def test_records_that_cannot_be_looked_up(
    tmp_path: Path, model_server: FakeModelServer, record: object, problem: str
) -> None:
    with sqlite3.connect(tmp_path / "features.db") as connection:
        connection.execute("CREATE TABLE features (key TEXT, balance REAL)")
    connection.close()
    gateway = gateway_with(tmp_path, model_server, {"sqlite": "features.db"})
    answer = gateway.post({"records": [record]})
    assert (answer.status_code, answer.json()["error"]) == (400, problem)
    schema = gateway.told("/v1/models/m/schema").json()
    assert schema["required"] == ["amount", "user"]
    assert "balance" not in schema["properties"]
    assert gateway.stop() == 0
