"""Faults of processes and changes under load: no accepted request is lost."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import requests
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import FakeModelServerProcess, GatewayProcess, config

from deployer.tools import ports

BODY = '{"records": [{"a": 1, "b": 2}]}'


class Load:
    """Clients that send one request after the other until `stop`, and what they got."""

    def __init__(self, url: str, clients: int, *, keep_alive: bool = True) -> None:
        self.outcomes: Counter[str] = Counter()
        self._url, self._keep_alive = url, keep_alive
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def more(self) -> None:
        """Wait until some requests that are sent after this moment have been answered."""
        before = self.outcomes.total()
        eventually(lambda: self.outcomes.total() >= before + 10 * len(self._threads), lambda: self.outcomes)

    def stop(self) -> Counter[str]:
        self._stopped.set()
        for thread in self._threads:
            thread.join(20)
        return self.outcomes

    def _client(self) -> None:
        session = requests.Session()
        while not self._stopped.is_set():
            if not self._keep_alive:
                session.close()
                session = requests.Session()
            try:
                answer = session.post(self._url + "/v1/models/m:predict", data=BODY, timeout=20)
                right = answer.status_code == 200 and answer.json()["predictions"] == [{"value": 30.0}]
                self.outcomes["right" if right else f"{answer.status_code} {answer.text}"] += 1
            except requests.ConnectionError as error:
                # A refused connection was never accepted: whoever balances the load asks another gateway.
                refused = "NewConnectionError" in repr(error)
                self.outcomes["refused" if refused else repr(error)] += 1
                if refused:
                    break
        session.close()


PATIENT = {"objective_ms": 5000}
"""A wait that is never too long: a busy machine must not look like an overload."""


def test_a_replica_killed_under_load_loses_no_request_and_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    replicas = [FakeModelServerProcess(port) for port in ports.free(2)]
    gateway = GatewayProcess(tmp_path, config(*(r.address for r in replicas), limits=PATIENT), "--drain-seconds", "0")
    gateway.until("/routes", lambda routes: [b["state"] for b in routes["backends"]] == ["ready", "ready"])
    load = Load(gateway.url, 8)
    load.more()
    replicas[0].kill()
    load.more()
    replicas[0] = FakeModelServerProcess(int(replicas[0].address.rpartition(":")[2]))
    gateway.until("/routes", lambda routes: [b["state"] for b in routes["backends"]] == ["ready", "ready"])
    replicas[1].kill()
    load.more()
    assert set(load.stop()) == {"right"}
    assert gateway.stop() == 0
    replicas[0].kill()


def test_sigterm_under_load_finishes_what_was_accepted_and_exits_with_0(tmp_path: Path) -> None:
    server = FakeModelServer(delay=0.02)
    gateway = GatewayProcess(tmp_path, config(server.address, limits=PATIENT), "--drain-seconds", "600")
    loads = [Load(gateway.url, 6), Load(gateway.url, 2, keep_alive=False)]
    for load in loads:
        load.more()
    gateway.signal(signal.SIGTERM)
    gateway.logs(": draining")
    ready, answer = gateway.told("/readyz"), gateway.post(BODY)
    assert (ready.status_code, ready.json()["missing"]) == (503, ["the gateway is shutting down"])
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    for load in loads:
        load.more()
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    outcomes = sum((load.stop() for load in loads), Counter())
    assert set(outcomes) == {"right", "refused"}
    told = re.search(r"requests accepted: (\d+), completed: (\d+), abandoned: 0", "".join(gateway.log))
    assert told is not None
    received = outcomes["right"] + 1
    assert [int(number) for number in told.groups()] == [received, received]
    server.stop()


def test_connections_in_the_queue_are_not_reset_and_new_ones_are_refused(tmp_path: Path) -> None:
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path, config(server.address), "--drain-seconds", "0")
    host, port = gateway.url.removeprefix("http://").split(":")
    gateway.post(BODY)
    gateway.signal(signal.SIGSTOP)  # what connects now stays in the queue of the kernel
    waiting = [socket.create_connection((host, int(port)), timeout=20) for _ in range(20)]
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n"
    for connection in waiting:
        connection.sendall((head + BODY).encode())
    gateway.signal(signal.SIGTERM)
    gateway.signal(signal.SIGCONT)
    answers = [b"".join(iter(partial(connection.recv, 65536), b"")) for connection in waiting]
    assert all(answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer for answer in answers)
    for connection in waiting:
        connection.close()
    assert gateway.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=20)
    server.stop()


def test_a_second_signal_skips_the_waiting(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, config("127.0.0.1:1"), "--drain-seconds", "3600")
    gateway.signal(signal.SIGTERM)
    gateway.logs(": draining")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0


def test_not_ready_and_503_without_a_model_server_and_ready_once_there_is_one(tmp_path: Path) -> None:
    (port,) = ports.free(1)
    gateway = GatewayProcess(tmp_path, config(f"127.0.0.1:{port}"), "--drain-seconds", "0")
    assert gateway.told("/livez").status_code == 200
    assert gateway.told("/readyz").status_code == 503
    answer = gateway.post(BODY)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert f"127.0.0.1:{port}" in answer.json()["error"]
    server = FakeModelServer(port=port)
    gateway.until("/readyz", lambda document: document["status"] == "ready")
    assert gateway.post(BODY).status_code == 200
    assert gateway.stop() == 0
    server.stop()


def test_more_requests_than_places_are_shed_at_once(tmp_path: Path) -> None:
    server = FakeModelServer()
    content = config(server.address, limits={"max_concurrency": 2, "max_queue": 1})
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    gateway.post(BODY)
    server.gate.clear()
    answers: list[requests.Response] = []
    clients = [
        threading.Thread(target=lambda: answers.append(requests.post(gateway.url + "/v1/models/m:predict", BODY)))
        for _ in range(6)
    ]
    for client in clients:
        client.start()
    eventually(lambda: len(answers) == 3, "what has no place is answered while the others wait")
    server.gate.set()
    for client in clients:
        client.join(20)
    assert [answer.status_code for answer in answers] == [503, 503, 503, 200, 200, 200]
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
    assert gateway.metric("gateway_shed_total") == 3
    assert gateway.stop() == 0
    server.stop()


def test_a_changed_config_is_taken_and_a_bad_one_is_not(tmp_path: Path) -> None:
    server = FakeModelServer()
    content = config(server.address, rates={"file": "rates.json"})
    feature = content["models"]["m"]["specs"]["1"]["features"][0]
    feature["currency"] = {"field": "coin", "to": "USD"}
    rates = tmp_path / "rates.json"
    rates.write_text('{"base": "USD", "rates": {"EUR": 0.5}}')
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    body = {"records": [{"a": 1, "b": 0, "coin": "EUR"}]}
    first = gateway.told("/routes").json()["config"]
    assert gateway.post(body).json()["predictions"] == [{"value": 20.0}]

    rates.write_text('{"base": "USD", "rates": {"EUR": 0.25}}')
    eventually(lambda: gateway.post(body).json()["predictions"] == [{"value": 40.0}], "the new rate")

    gateway.write("version: v1\nmodles: {}\n")
    gateway.until("/routes", lambda routes: routes["config"]["error"] is not None)
    shown = gateway.told("/routes").json()["config"]
    assert (shown["hash"], "modles" in shown["error"]) == (first["hash"], True)
    assert gateway.metric("gateway_config_stale") == 1
    assert gateway.post(body).status_code == 200

    gateway.write("[" * 100_000)
    gateway.until("/routes", lambda routes: "nested deeper" in (routes["config"]["error"] or ""))
    assert gateway.post(body).status_code == 200

    content["models"]["m"]["routing"]["weights"] = {"stable": 0, "canary": 1}
    gateway.write(content)
    gateway.until("/routes", lambda routes: routes["config"]["hash"] != first["hash"])
    assert gateway.post({"records": [{"a": 1, "b": 0}]}).json()["metadata"]["version_label"] == "canary"
    assert gateway.metric("gateway_config_stale") == 0
    assert gateway.stop() == 0
    server.stop()
