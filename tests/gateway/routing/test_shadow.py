"""The gateway in a rollout: stable answers what canary fails to, and canary is mirrored to without answering."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from gateway.postprocess.predictions import LabelPrediction, Prediction, RowPrediction, ValuePrediction
from gateway.routing.shadow import agree

BODY = {"records": [{"a": 1, "b": 3}, {"a": 2, "b": 3}]}


def started(tmp_path: Path, server: FakeModelServer, **routing: object) -> GatewayProcess:
    content = config(server.address)
    content["models"]["m"]["routing"] = {"weights": {"stable": 100, "canary": 0}, **routing}
    return GatewayProcess(tmp_path, content, "--drain-seconds", "0")


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    fake = FakeModelServer()
    yield fake
    fake.stop()


def test_stable_serves_what_fails_on_canary(tmp_path: Path, server: FakeModelServer) -> None:
    gateway = started(tmp_path, server, weights={"stable": 0, "canary": 100}, fallback="stable")
    server.faults.append((grpc.StatusCode.INTERNAL, "the new version is broken"))
    answer = gateway.post(BODY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["version_label"] == "stable"
    assert gateway.metric("gateway_fallbacks_total") == 1
    assert gateway.metric("gateway_errors_total") == 1, "the failure counts as canary's"
    assert gateway.post(BODY).json()["metadata"]["version_label"] == "canary"
    server.faults.append((grpc.StatusCode.INTERNAL, "the new version is broken"))
    asked = gateway.post(BODY, path="/v1/models/m/labels/canary:predict")
    assert asked.status_code == 500, "who asks for canary gets what canary says"
    assert gateway.stop() == 0


def test_mirrored_records_are_compared_and_only_stable_responds(tmp_path: Path, server: FakeModelServer) -> None:
    gateway = started(tmp_path, server, shadow="canary")
    server.labels["canary"] = 1
    assert gateway.post(BODY).json()["metadata"]["version_label"] == "stable"
    eventually(lambda: gateway.metric("gateway_shadow_records_total") == 2, "both records compared")
    assert 'result="agreed"} 2' in gateway.told("/metrics").text
    assert 'label="canary",kind' not in gateway.told("/metrics").text, "nothing was answered by canary"
    assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LabelPrediction("a", "high", 0.9, []), LabelPrediction("a", "low", 0.4, []), True),
        (LabelPrediction("a", "high", 0.9, []), LabelPrediction("b", "high", 0.9, []), False),
        (ValuePrediction(100.0), ValuePrediction(104.0), True),
        (ValuePrediction(100.0), ValuePrediction(120.0), False),
        (ValuePrediction(None), ValuePrediction(1.0), False),
        (ValuePrediction(0.0), ValuePrediction(0.0), True),
        (RowPrediction([1, 2]), RowPrediction([1, 2]), True),
        (ValuePrediction(1.0), RowPrediction([1.0]), False),
    ],
)
def test_what_counts_as_agreement(one: Prediction, other: Prediction, same: bool) -> None:
    assert agree(one, other) is same
