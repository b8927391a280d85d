"""The gateway on machines and pods with IPv4, IPv6 or both: real sockets on the loopback addresses of both families."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
import requests
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.addresses import bracketed, plain
from gateway.backends.pool import resolve
from gateway.listen.sockets import ANY, PortTaken, listen

BODY = {"records": [{"a": 1, "b": 2}]}
FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def reached(host: str, port: int) -> bool:
    with socket.socket(FAMILIES[host], socket.SOCK_STREAM) as client:
        client.settimeout(5)
        return client.connect_ex((host, port)) == 0


@needs_ipv6
@pytest.mark.parametrize(("host", "families"), [(ANY, set(FAMILIES)), ("127.0.0.1", {"127.0.0.1"}), ("::1", {"::1"})])
def test_a_socket_listens_on_the_families_of_its_address(host: str, families: set[str]) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        assert {address for address in FAMILIES if reached(address, port)} == families


def test_where_there_is_no_ipv6_every_address_is_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(ANY, 0) as listener:
        assert listener.family == socket.AF_INET
        assert reached("127.0.0.1", listener.getsockname()[1])


@needs_ipv6
@pytest.mark.parametrize("host", [ANY, "::1"])
def test_a_port_that_is_taken_is_named_with_its_address(host: str) -> None:
    with listen(host, 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken) as refused:
            listen(host, port)
    assert f"[{host}]:{port}" in str(refused.value)


def test_addresses_as_text() -> None:
    assert [bracketed(host) for host in ("10.0.0.1", "fd00::1", "a.example")] == ["10.0.0.1", "[fd00::1]", "a.example"]
    assert [plain(a) for a in ("::ffff:10.0.0.1", "fd00::1", "10.0.0.1", "::ffff:a:b")] == [
        "10.0.0.1",
        "fd00::1",
        "10.0.0.1",
        "::ffff:a:b",
    ]


@needs_ipv6
def test_a_gateway_in_a_pod_with_both_families_serves_both(tmp_path: Path) -> None:
    server = FakeModelServer()
    settings = config(server.address, access_log={"sample": 1.0})
    gateway = GatewayProcess(tmp_path, settings, "--host=::", "--grpc-port=0", "--drain-seconds=0")
    port, admin, rpc = (
        urlsplit(f"//{url.partition('//')[2] or url}").port for url in (gateway.url, gateway.admin, gateway.grpc)
    )
    for host in FAMILIES:
        got = requests.post(f"http://{bracketed(host)}:{port}/v1/models/m:predict", json=BODY, timeout=30)
        assert (got.status_code, got.json()["predictions"]) == (200, [{"value": 30.0}]), host
        assert requests.get(f"http://{bracketed(host)}:{admin}/livez", timeout=30).status_code == 200, host
        with grpc.insecure_channel(f"{bracketed(host)}:{rpc}") as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.SERVING, host
    assert gateway.stop() == 0
    server.stop()
    lines = [json.loads(line) for line in gateway.output.read_text().splitlines()]
    assert {line["client"] for line in lines if line["path"].endswith(":predict")} == set(FAMILIES), (
        "as people read them"
    )


def test_a_name_with_both_families_is_one_address_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    v4, v6 = (socket.AF_INET, ("10.0.0.{}", 8500)), (socket.AF_INET6, ("fd00::{}", 8500, 0, 0))

    async def found(order: list[tuple[int, tuple[object, ...]]]) -> tuple[str, ...]:
        entries = [(f, 1, 6, "", (str(a[0]).format(n), *a[1:])) for f, a in order for n in (2, 1)]

        async def getaddrinfo(*_: object, **__: object) -> object:
            return entries

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return await resolve("models", 8500)

    assert asyncio.run(found([v6, v4])) == ("[fd00::1]:8500", "[fd00::2]:8500"), "what the system prefers"
    assert asyncio.run(found([v4, v6])) == ("10.0.0.1:8500", "10.0.0.2:8500")
    assert asyncio.run(found([v6])) == ("[fd00::1]:8500", "[fd00::2]:8500")
