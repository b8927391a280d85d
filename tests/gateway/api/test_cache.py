"""The response cache as clients see it: records, tensors, Open Inference Protocol and gRPC."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
import requests
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods

RECORD = {"a": 1, "b": 2}
HIT, MISS = "gateway; hit", "gateway; fwd=miss"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, FakeModelServer]]:
    server = FakeModelServer()
    content = config(server.address)
    content["models"]["m"]["cache_seconds"] = 300
    flags = ("--drain-seconds=0", "--grpc-port=0")
    gateway = GatewayProcess(tmp_path_factory.mktemp("cache"), content, *flags)
    yield gateway, server
    assert gateway.stop() == 0
    server.stop()


def looked_up(gateway: GatewayProcess, body: object, **more: str) -> tuple[str, requests.Response]:
    response = gateway.post(body, **more)
    assert response.status_code == 200, response.text
    return response.headers["cache-status"], response


def test_records_are_served_again_with_a_header_of_their_own(pair: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, server = pair
    body = {"records": [RECORD], "metadata": {"request_id": "one"}}
    before, first = looked_up(gateway, body)
    calls = len(server.seen)
    again, second = looked_up(gateway, {**body, "metadata": {"request_id": "two"}})
    assert (before, again) == (MISS, HIT)
    assert second.json()["predictions"] == first.json()["predictions"] == [{"value": 30.0}]
    assert second.json()["metadata"]["request_id"] == "two"
    assert second.json()["metadata"]["version_label"] == "stable"
    assert len(server.seen) == calls
    assert gateway.metric('gateway_cache_requests_total{model="m",result="hit"}') >= 1
    assert gateway.metric("gateway_cache_bytes") > 0


def test_labels_keep_their_versions(pair: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, _ = pair
    body = {"instances": [[5, 5]]}
    path = "/v1/models/m/labels/{}:predict"
    for label, value in (("stable", 100.0), ("canary", 200.0)):
        assert looked_up(gateway, body, path=path.format(label))[0] == MISS
        status, response = looked_up(gateway, body, path=path.format(label))
        assert (status, response.json()) == (HIT, {"predictions": [value]})
        assert response.headers["x-model-version"] == ("1" if label == "stable" else "2")


def test_open_inference_requests_are_served_again(pair: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, _ = pair
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [7, 8]}]}
    found = [looked_up(gateway, body, path="/v2/models/m/infer") for _ in range(2)]
    assert [status for status, _ in found] == [MISS, HIT]
    assert found[0][1].json()["outputs"] == found[1][1].json()["outputs"]


def test_grpc_requests_are_served_again(pair: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, _ = pair
    request = m.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].dtype = m.DT_FLOAT
    for size in (1, 2):
        request.inputs["x"].tensor_shape.dim.add(size=size)
    request.inputs["x"].float_val.extend((3, 4))
    with grpc.insecure_channel(gateway.grpc) as channel:
        ask = channel.unary_unary(
            methods.PREDICT.path, lambda message: message.SerializeToString(), m.PredictResponse.FromString
        )
        found = []
        for label in ("", "", "canary"):
            if label:
                request.model_spec.version_label = label
            response, call = ask.with_call(request, timeout=20)
            status = dict(call.trailing_metadata())["cache-status"]
            found.append((status, response.model_spec.version.value, list(response.outputs["y"].float_val)))
    assert found == [(MISS, 1, [70.0]), (HIT, 1, [70.0]), (MISS, 2, [140.0])]


def test_a_client_may_ask_for_a_response_of_the_model_server(pair: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, server = pair
    body = {"instances": [[6, 6]]}
    looked_up(gateway, body)
    calls = len(server.seen)
    assert looked_up(gateway, body, cache_control="no-cache")[0] == "gateway; fwd=request"
    assert len(server.seen) == calls + 1


def test_equal_requests_at_one_time_make_one_call(pair: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, server = pair
    looked_up(gateway, {"instances": [[0, 1]]})  # the signature is known from here on
    found: list[str] = []

    def ask() -> None:
        url = f"{gateway.url}/v1/models/m:predict"
        found.append(requests.post(url, json={"instances": [[9, 9]]}, timeout=30).headers["cache-status"])

    calls = len(server.seen)
    server.gate.clear()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        eventually(lambda: gateway.metric("gateway_in_flight") == 4, lambda: str(found))
    finally:
        server.gate.set()
        for thread in threads:
            thread.join()
    assert sorted(found) == [MISS, *["gateway; fwd=miss; collapsed"] * 3]
    assert len(server.seen) == calls + 1


def test_a_label_that_moves_gives_responses_of_its_new_version(pair: tuple[GatewayProcess, FakeModelServer]) -> None:
    gateway, server = pair
    body = {"records": [{"a": 4, "b": 4}]}
    looked_up(gateway, body)
    content = config(server.address)
    content["models"]["m"] |= {"cache_seconds": 300, "labels": {"stable": 2, "canary": 2}}
    server.labels["stable"] = 2
    gateway.write(content)
    gateway.until("/routes", lambda routes: routes["models"]["m"]["labels"]["stable"]["configured"] == 2)
    _, response = looked_up(gateway, body)
    assert response.json()["metadata"]["model_version"] == 2
    assert response.json()["predictions"] == [{"value": 80.0}]
    assert looked_up(gateway, body)[0] == HIT


def test_without_the_setting_there_is_no_cache(gateway: GatewayProcess) -> None:
    assert "cache-status" not in gateway.post({"records": [RECORD]}).headers
