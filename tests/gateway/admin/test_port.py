"""The admin port of a real gateway: it responds however busy the gateway is; the public port has none of it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

BODY = '{"records": [{"a": 1, "b": 2}]}'
PAGES = ("/livez", "/readyz", "/metrics", "/routes", "/labels", "/v1/models", "/v1/models/m/schema", "/openapi.json")
DOCS = ("/v1/models", "/v1/models/m/schema", "/openapi.json")


@contextmanager
def standing_still(gateway: GatewayProcess) -> Iterator[None]:
    """The gateway does nothing at all: more than any load can do to its event loop."""
    gateway.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        gateway.signal(signal.SIGCONT)


def admin_process(gateway: GatewayProcess) -> int:
    """The pid of the process that serves the admin port."""
    (child,) = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    return int(child)


def test_health_and_metrics_respond_while_the_event_loop_is_blocked(tmp_path: Path) -> None:
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path, config(server.address), "--drain-seconds", "0")
    assert gateway.post(BODY).status_code == 200
    counted = gateway.told("/metrics").text
    with standing_still(gateway):
        for path in ("/livez", "/readyz", "/metrics", "/routes"):
            answer = requests.get(gateway.admin + path, timeout=30)
            assert answer.status_code == 200, path
        assert requests.get(gateway.admin + "/readyz", timeout=30).json() == {"status": "ready"}
        assert requests.get(gateway.admin + "/metrics", timeout=30).text == counted
        eventually(
            lambda: int(requests.get(gateway.admin + "/metrics", timeout=30).headers.get("age", 0)) >= 1,
            "an old page says how old it is",
        )
        asked_for_now = requests.get(gateway.admin + "/metrics", headers={"cache-control": "no-cache"}, timeout=30)
        assert (asked_for_now.status_code, asked_for_now.headers["retry-after"]) == (503, "1")
        never_asked = requests.get(gateway.admin + "/openapi.json", timeout=30)
        assert (never_asked.status_code, "too busy" in never_asked.json()["error"]) == (503, True)
    gateway.post(BODY)
    assert gateway.metric("gateway_records_total") == 2
    assert gateway.stop() == 0
    server.stop()


def test_readiness_does_not_depend_on_load(tmp_path: Path) -> None:
    server = FakeModelServer()
    content = config(server.address, limits={"max_concurrency": 1, "max_queue": 0})
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    gateway.post(BODY)
    server.gate.clear()
    client = threading.Thread(target=lambda: requests.post(f"{gateway.url}/v1/models/m:predict", BODY, timeout=30))
    client.start()
    eventually(lambda: gateway.metric("gateway_in_flight") == 1, "the only place is taken")
    assert gateway.post(BODY).status_code == 503
    assert gateway.told("/readyz").status_code == 200
    server.gate.set()
    client.join(20)
    assert gateway.stop() == 0
    server.stop()


def test_a_gateway_whose_replicas_are_gone_stays_ready_and_says_when_to_come_again(tmp_path: Path) -> None:
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path, config(server.address), "--drain-seconds", "0")
    assert gateway.post(BODY).status_code == 200
    server.stop()
    gateway.until("/routes", lambda routes: [b["state"] for b in routes["backends"]] == ["disconnected"])
    answer = gateway.post(BODY)
    assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (503, True)
    assert gateway.told("/readyz").json() == {"status": "ready"}
    labels = gateway.told("/labels")
    assert (labels.status_code, "'stable'" in labels.json()["missing"][0]) == (503, True)
    assert gateway.stop() == 0


def test_the_public_port_has_none_of_it(gateway: GatewayProcess) -> None:
    for path in PAGES:
        assert gateway.get(path).status_code in (400, 404), path
        assert gateway.told(path).status_code == 200, path
    assert "admin port" in gateway.get("/metrics").json()["error"]


def test_the_public_port_has_the_documents_where_the_config_says_so(tmp_path: Path) -> None:
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path, config(server.address, public_docs=True), "--drain-seconds", "0")
    for path in DOCS:
        assert gateway.get(path).json() == gateway.told(path).json()
    for path in set(PAGES) - set(DOCS):
        assert gateway.get(path).status_code == 404, path
    assert gateway.stop() == 0
    server.stop()


def test_it_accepts_get_and_head_and_nothing_else(gateway: GatewayProcess) -> None:
    head = requests.head(gateway.admin + "/routes", timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(gateway.told("/routes").content)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = requests.request(method, gateway.admin + "/routes", data=b"{}", timeout=30)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD"), method
    assert gateway.told("/" + "x" * 2000).status_code == 414
    assert gateway.told("/nope").status_code == 404


def test_idle_connections_do_not_keep_others_out_for_ever(gateway: GatewayProcess) -> None:
    host, port = gateway.admin.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=30) for _ in range(100)]
    eventually(lambda: _ready(gateway), "idle connections are closed")
    for connection in idle:
        connection.close()


def _ready(gateway: GatewayProcess) -> bool:
    try:
        return requests.get(gateway.admin + "/readyz", timeout=30).status_code == 200
    except requests.ConnectionError:
        return False


def test_its_process_is_started_again_when_it_ends(tmp_path: Path) -> None:
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path, config(server.address), "--drain-seconds", "0")
    os.kill(admin_process(gateway), signal.SIGKILL)
    eventually(lambda: _ready(gateway), "the admin port is back")
    assert any("admin port has ended" in line for line in gateway.log)
    assert gateway.post(BODY).status_code == 200
    assert gateway.stop() == 0
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_process_ends_with_the_gateway(tmp_path: Path, number: int) -> None:
    gateway = GatewayProcess(tmp_path, config("127.0.0.1:1"), "--drain-seconds", "0")
    pid = admin_process(gateway)
    gateway.signal(number)
    gateway.wait()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "it is gone")
    host, port = gateway.admin.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=20)


def test_a_signal_to_the_whole_group_leaves_it_to_the_gateway_to_end(tmp_path: Path) -> None:
    """As Ctrl-C in a terminal: probes still hear that the gateway shuts down."""
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path, config(server.address), "--drain-seconds", "600")
    os.kill(admin_process(gateway), signal.SIGINT)
    gateway.signal(signal.SIGINT)
    gateway.logs(": draining")
    assert gateway.told("/readyz").json() == {"status": "not ready", "missing": ["the gateway is shutting down"]}
    gateway.signal(signal.SIGINT)
    assert gateway.wait() == 0
    server.stop()
