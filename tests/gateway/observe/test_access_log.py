"""What is written of a request, and to which trace it belongs."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from gateway.observe.access_log import WAITING, AccessLog, Entry
from gateway.observe.context import continued
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import to_proto

BODY = '{"records": [{"a": 1, "b": 2}]}'
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEY = "shop-0f1e2d3c4b5a"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    fake = FakeModelServer()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def logging_gateway(tmp_path_factory: pytest.TempPathFactory, server: FakeModelServer) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    key = {"name": "shop", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    (folder / "keys.yaml").write_text(yaml.safe_dump({"keys": [key]}))
    content = config(server.address, access_log={"sample": 1.0}, auth={"keys_file": "keys.yaml"})
    gateway = GatewayProcess(folder, content, "--grpc-port", "0", "--drain-seconds", "0")
    yield gateway
    assert gateway.stop() == 0


def logged(gateway: GatewayProcess, request_id: str) -> dict[str, Any]:
    """The line of a request."""

    def look() -> dict[str, Any] | None:
        lines = [json.loads(line) for line in gateway.output.read_text().splitlines() if line.endswith("}")]
        return next((line for line in lines if line["request_id"] == request_id), None)

    return eventually(look, gateway.output.read_text) or {}


def test_a_prediction_is_a_line_with_everything_but_its_content(logging_gateway: GatewayProcess) -> None:
    logging_gateway.post(
        BODY, path="/v1/models/m:predict", x_request_id="one", x_api_key=KEY, traceparent=f"00-{TRACE}-{SPAN}-01"
    )
    line = logged(logging_gateway, "one")
    assert {key: line[key] for key in ("method", "path", "status", "caller", "model", "version", "label", "kind")} == {
        "method": "POST", "path": "/v1/models/m:predict", "status": 200, "caller": "shop", "model": "m", "version": "1",
        "label": "stable", "kind": "records",
    }  # fmt: skip
    assert (line["records"], line["trace_id"], line["client"]) == (1, TRACE, "127.0.0.1")
    assert {"read", "decode", "backend"} <= line["stages"].keys()
    assert line["bytes"] > 0
    assert KEY not in logging_gateway.output.read_text()


def test_a_refused_request_says_at_which_stage_and_a_query_is_left_out(logging_gateway: GatewayProcess) -> None:
    logging_gateway.post('{"records": [{"a": "x"}]}', x_request_id="two", x_api_key=KEY)
    line = logged(logging_gateway, "two")
    assert (line["status"], line["stage"]) == (400, "preprocess")
    logging_gateway.post(BODY, path=f"/v1/models/m?key={KEY}", x_request_id="three")
    line = logged(logging_gateway, "three")
    assert (line["path"], "caller" in line) == ("/v1/models/m", False)
    assert KEY not in logging_gateway.output.read_text()


def test_the_trace_continues_to_the_model_server_with_a_span_of_the_gateway(
    logging_gateway: GatewayProcess, server: FakeModelServer
) -> None:
    logging_gateway.post(BODY, x_request_id="four", x_api_key=KEY, traceparent=f"00-{TRACE}-{SPAN}-01")
    line = logged(logging_gateway, "four")
    assert server.seen[-1].metadata["traceparent"] == f"00-{TRACE}-{line['span_id']}-01"
    assert line["span_id"] != SPAN
    logging_gateway.post(BODY, x_request_id="five", x_api_key=KEY)
    assert "traceparent" not in server.seen[-1].metadata
    assert "trace_id" not in logged(logging_gateway, "five")


def test_stages_are_reported_on_request(logging_gateway: GatewayProcess) -> None:
    answer = logging_gateway.post(BODY, x_api_key=KEY, x_server_timing="1")
    stages = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert {"read", "decode", "backend", "interpret"} <= stages.keys()
    assert all(float(duration) >= 0 for duration in stages.values())
    assert "server-timing" not in logging_gateway.post(BODY, x_api_key=KEY).headers


def test_a_share_of_what_went_well_and_all_that_failed(tmp_path: Path, server: FakeModelServer) -> None:
    gateway = GatewayProcess(tmp_path, config(server.address, access_log={"sample": 0}), "--drain-seconds", "0")
    gateway.post(BODY, x_request_id="good")
    gateway.post("{", x_request_id="bad")
    assert gateway.stop() == 0
    assert [json.loads(line)["request_id"] for line in gateway.output.read_text().splitlines()] == ["bad"]


def test_without_the_setting_nothing_is_written(gateway: GatewayProcess) -> None:
    gateway.post("{")
    assert gateway.output.read_text() == ""


def test_a_reader_that_stands_still_holds_nobody_up() -> None:
    let_go = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            let_go.wait(60)
            return super().write(text)

    log = AccessLog(output=Stuck())
    log.configure(1.0)
    for number in range(WAITING + 100):
        log.add(Entry(time="", request_id=str(number), method="", path="", status=200, ms=0.0, bytes=0))
    assert log.dropped >= 99
    let_go.set()
    log.close()


@pytest.mark.parametrize(
    "header",
    [
        None, "", "00", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}",
    ],
)  # fmt: skip
def test_what_is_no_trace_context_begins_none(header: str | None) -> None:
    assert continued(header) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    found = continued(f"01-{TRACE}-{SPAN}-00-more")
    assert found is not None
    assert found.traceparent.startswith(f"00-{TRACE}-")
    assert found.traceparent.endswith("-00")


def test_a_grpc_call_is_a_line_too_and_its_trace_continues(
    logging_gateway: GatewayProcess, server: FakeModelServer
) -> None:
    request = m.PredictRequest(model_spec=m.ModelSpec(name="m"))
    request.inputs["x"].CopyFrom(to_proto(np.ones((1, 2), np.float32)))
    with grpc.insecure_channel(logging_gateway.grpc) as channel:
        predict = channel.unary_unary(methods.PREDICT.path)
        begun = ("traceparent", f"00-{TRACE}-{SPAN}-01")
        given = [("x-api-key", KEY), begun, ("x-request-id", "by-grpc")]
        predict(request.SerializeToString(), timeout=20, metadata=given)
        with pytest.raises(grpc.RpcError, match="credentials are needed"):
            predict(request.SerializeToString(), timeout=20, metadata=[("x-request-id", "by-nobody")])
    line = logged(logging_gateway, "by-grpc")
    expected = {
        "method": "POST", "path": methods.PREDICT.path, "status": 200, "caller": "shop", "client": "127.0.0.1",
        "trace_id": TRACE, "model": "m", "version": "1", "label": "stable", "kind": "tensors",
    }  # fmt: skip
    assert {key: line.get(key) for key in expected} == expected
    assert line["bytes"] > 0
    refused = logged(logging_gateway, "by-nobody")
    assert (refused["status"], refused.get("caller")) == (401, None)
