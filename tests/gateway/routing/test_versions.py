"""Preprocessing travels with the version: a response is never mixed from two of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config, spec

Moving = tuple[GatewayProcess, FakeModelServer]

BODY = {"records": [{"a": 1, "b": 3}]}


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Moving]:
    server = FakeModelServer()
    content = config(server.address)
    content["models"]["m"]["specs"]["3"] = spec(features=("a", "b", "c"))
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    yield gateway, server
    assert gateway.stop() == 0
    server.stop()


def test_after_a_label_moved_the_spec_of_the_version_that_responds_is_used(moving: Moving) -> None:
    gateway, server = moving
    assert gateway.post(BODY).json()["predictions"] == [{"value": 40.0}]
    server.labels["stable"] = 2
    answer = gateway.post(BODY).json()
    assert (answer["predictions"], answer["metadata"]["model_version"]) == ([{"value": 40.0}], 2)  # 20 * 4 / 2
    assert [seen.version for seen in server.seen] == [None, None, 2]
    assert gateway.metric("gateway_spec_mismatches_total") == 1
    gateway.post(BODY)
    assert gateway.metric("gateway_spec_mismatches_total") == 1, "what the label means was learned"


def test_a_tensor_that_the_new_version_refuses_is_made_again_too(moving: Moving) -> None:
    gateway, server = moving
    server.loaded.add(3)
    server.labels["stable"] = 3
    answer = gateway.post({"records": [{"a": 1, "b": 3, "c": 1}]})
    assert answer.status_code == 400, "for the expected version 1, c is unknown"
    answer = gateway.post(BODY)
    assert answer.status_code == 400
    assert "feature 'c'" in answer.json()["error"], "the version that the label means now wants c"
    answer = gateway.post({"records": [{"a": 1, "b": 3, "c": 1}]}).json()
    assert answer["predictions"] == [{"value": 150.0}]


def test_a_version_without_spec_is_a_503(moving: Moving) -> None:
    gateway, server = moving
    server.loaded.add(4)
    server.labels["stable"] = 4
    answer = gateway.post(BODY)
    assert answer.status_code == 503
    assert "version 4 of model 'm'" in answer.json()["error"]
    assert answer.headers["retry-after"]


def test_an_explicit_version_without_spec_takes_tensors_only(moving: Moving) -> None:
    gateway, server = moving
    server.loaded.add(4)
    path = "/v1/models/m/versions/4:predict"
    assert gateway.post(BODY, path=path).status_code == 400
    assert gateway.post({"instances": [[1, 3]]}, path=path).json() == {"predictions": [160.0]}


def test_a_spec_that_does_not_fit_the_signature_is_named(tmp_path: Path) -> None:
    server = FakeModelServer()
    content = config(server.address)
    content["models"]["m"]["specs"]["1"]["input"]["name"] = "z"
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    answer = gateway.post(BODY)
    assert answer.status_code == 500
    assert "the spec fills 'z', the signature's inputs are 'x'" in answer.json()["error"]
    assert gateway.stop() == 0
    server.stop()
