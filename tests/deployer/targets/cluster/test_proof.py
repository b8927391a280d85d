"""Whether gateways know the replicas, whatever family of addresses the pods have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec
import pytest

from deployer.targets.base import HttpReply
from deployer.targets.cluster import proof
from deployer.targets.cluster.objects import Pod
from deployer.targets.cluster.target import ClusterTarget


def pod(name: str, *addresses: str) -> Pod:
    status = {
        "podIP": addresses[0],
        "podIPs": [{"ip": address} for address in addresses],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return msgspec.json.decode(json.dumps({"kind": "Pod", "metadata": {"name": name}, "status": status}), type=Pod)


class FakeTarget:
    """A cluster with one gateway, which knows these backends."""

    def __init__(self, *known: str) -> None:
        self._known = known

    def pods(self, component: str) -> tuple[Pod, ...]:
        return (pod("gateway-1", "10.0.0.9"),)

    def parallel(self, do: Callable[[Pod], Any], pods: Iterable[Pod]) -> list[Any]:
        return [do(one) for one in pods]

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        backends = [{"address": address, "state": "ready"} for address in self._known]
        return HttpReply(
            status=200, body=json.dumps({"config": {"hash": "x"}, "models": {}, "backends": backends}).encode()
        )


V4, V6 = (pod("a", "10.0.0.1"), pod("b", "10.0.0.2")), (pod("a", "fd00::1"), pod("b", "fd00::2"))
DUAL = (pod("a", "10.0.0.1", "fd00::1"), pod("b", "10.0.0.2", "fd00::2"))


@pytest.mark.parametrize(
    ("replicas", "known", "missing"),
    [
        (V4, ["10.0.0.1:8500", "10.0.0.2:8500"], ()),
        (V6, ["[fd00::1]:8500", "[fd00::2]:8500"], ()),
        (DUAL, ["10.0.0.1:8500", "10.0.0.2:8500"], ()),
        (DUAL, ["[fd00::1]:8500", "[fd00::2]:8500"], ()),
        (DUAL, ["[fd00::1]:8500"], ("gateway-1 uses 1 of 2 replicas",)),
        (DUAL, ["10.0.0.1:8500", "10.0.0.2:8500", "10.0.0.3:8500"], ("gateway-1 uses 2 of 2 replicas and 1 more",)),
    ],
)
def test_a_gateway_knows_the_replicas_by_either_address(
    replicas: tuple[Pod, ...], known: list[str], missing: tuple[str, ...]
) -> None:
    assert proof.missing_backends(cast(ClusterTarget, FakeTarget(*known)), replicas) == missing
