"""What gateways and model servers count during a trial becomes means of that time alone."""

from __future__ import annotations

import pytest
from partial_target import PartialTarget

from deployer.errors import TargetError
from deployer.experiment import stages
from deployer.experiment.results import Stages
from deployer.targets.base import GatewayReplica, HttpReply, Replica
from tfserving.server.metrics import Metrics


class FakeRelease(PartialTarget):
    """One gateway and one replica that show these pages; None does not respond."""

    def __init__(self, gateway: str | None, replica: str | None) -> None:
        self.pages = {"gateway-0": gateway, "replica-0": replica}

    def gateways(self) -> tuple[GatewayReplica, ...]:
        return (GatewayReplica(name="gateway-0", url=""),)

    def replicas(self) -> tuple[Replica, ...]:
        return (Replica(name="replica-0"),)

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        page = self.pages[name]
        if page is None:
            raise TargetError("it does not answer")
        return HttpReply(status=200, body=page.encode())


def seen(gateway: str | None, replica: str | None) -> stages.StageReading:
    return stages.read_stages(FakeRelease(gateway, replica), "loan")


def gateway_page(requests: int, *, model: str = "loan") -> str:
    """After so many requests, each of 1 ms preprocessing and 4 ms at the replica; two rows to a call."""
    lines = []
    for name, labels, each in (
        ("gateway_stage_seconds", 'stage="preprocess"', 0.001),
        ("gateway_stage_seconds", 'stage="backend"', 0.004),
        ("gateway_batch_rows", "", 2.0),
    ):
        pairs = ",".join(part for part in (f'model="{model}"', labels) if part)
        lines += [f"{name}_sum{{{pairs}}} {each * requests}", f"{name}_count{{{pairs}}} {requests}"]
    return "\n".join(lines)


def replica_page(*sizes: int) -> str:
    """The page of a model server that has run batches of these sizes."""
    metrics = Metrics()
    for size in sizes:
        metrics.processed_batch_size.observe(size)
    return metrics.text()


def test_means_are_of_the_time_between() -> None:
    found = stages.between(seen(gateway_page(10), replica_page(100)), seen(gateway_page(30), replica_page(100, 8, 4)))
    assert found.stages_ms == pytest.approx({"preprocess": 1.0, "backend": 4.0})
    assert found.rows_per_call == pytest.approx(2.0)
    assert found.rows_per_batch == pytest.approx(6.0)


def test_other_models_and_missing_stages_are_left_out() -> None:
    other = stages.between(seen(gateway_page(1, model="x"), ""), seen(gateway_page(9, model="x"), ""))
    assert other == Stages()
    assert stages.between(seen(None, None), seen(gateway_page(9), None)) == Stages()
