"""Windows on the counters of gateways: only what was counted between two readings is judged."""

from __future__ import annotations

from partial_target import PartialTarget

from deployer.release import gateway_metrics
from deployer.targets.base import GatewayReplica, HttpReply


class FakeGateways(PartialTarget):
    """A target that is nothing but gateways: their answered requests by name; None for one that is silent."""

    def __init__(self, **answered: int | None) -> None:
        self.answered = answered

    def gateways(self) -> tuple[GatewayReplica, ...]:
        return tuple(GatewayReplica(name=name, url="") for name in self.answered)

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        count = self.answered[name]
        if count is None:
            return HttpReply(status=503, body=b"")
        line = f'gateway_requests_total{{model="m",label="canary",version="2",code="200"}} {count}\n'
        return HttpReply(status=200, body=line.encode())


def counted(before: FakeGateways, after: FakeGateways) -> int:
    window = gateway_metrics.between(gateway_metrics.read(before, "m"), gateway_metrics.read(after, "m"))
    return window.labels["canary"].responses if window.labels else 0


def test_a_window_holds_what_came_in_between_from_every_gateway() -> None:
    assert counted(FakeGateways(a=100, b=7), FakeGateways(a=130, b=8)) == 31


def test_a_gateway_that_started_anew_or_was_added_has_counted_in_the_window_only() -> None:
    assert counted(FakeGateways(a=100), FakeGateways(a=5)) == 5
    assert counted(FakeGateways(a=100), FakeGateways(a=110, new=4)) == 14


def test_the_past_of_a_gateway_that_was_silent_is_not_judged() -> None:
    assert counted(FakeGateways(a=100, b=None), FakeGateways(a=101, b=90_000)) == 1
