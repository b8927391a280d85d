"""Large bodies get the same answers as small ones, and hold nobody else up."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from gateway.api.large.__main__ import reply
from gateway.api.large.messages import Examples, ExamplesTask, Failed, PredictTask
from gateway.api.large.reader import LARGE
from gateway.api.large.records import BYTES_AT_ONCE, LargeRecords, decode_outline

PREDICT = "/v1/models/m:predict"
ROOM = b" " * (LARGE + 1)
"""Makes a body large and says nothing."""
RECORD = {"a": 1, "b": 2}
SLOW = b'{"instances":[' + b"NaN," * 1_000_000 + b"NaN]}"
"""Only the exact reader knows NaN, and it takes seconds."""


def said(answer: requests.Response) -> tuple[int, Any]:
    document = answer.json()
    document.get("metadata", {}).pop("request_id", None)
    return answer.status_code, document


BODIES = [
    {"instances": [[1, 2], [3, 4]]},
    {"inputs": {"x": [[1, 2]]}},
    {"inputs": [[1.5, 2]], "signature_name": "serving_default"},
    {"instances": [[1, 2]], "signature_name": "nope"},
    {"instances": [[1, 2]], "signature_name": 3},
    {"instances": [["a", 2]]},
    {"instances": [[1], [1, 2]]},
    {"instances": []},
    {},
    {"records": [RECORD]},
    {"records": [RECORD, {"a": 0.5, "b": 0}], "metadata": {"k": [1]}, "version": "v1"},
    {"records": [RECORD, {"a": "x", "b": 1}]},
    {"records": [3]},
    {"records": []},
    {"records": [RECORD], "version": "v2"},
    {"records": [RECORD], "metadata": []},
]


@pytest.mark.parametrize("document", BODIES, ids=range(len(BODIES)))
def test_a_large_body_is_answered_as_a_small_one(gateway: GatewayProcess, document: object) -> None:
    body = json.dumps(document).encode()
    assert said(gateway.post(body + ROOM)) == said(gateway.post(body))


@pytest.mark.parametrize("body", [b"[", b'{"instances":[1,}', b'{"records":[{"a":1,}]}', b'{"records":{}}',
                                  b'{"records":[],"recrods":1}'])  # fmt: skip
def test_a_large_body_that_is_wrong_gets_a_400(gateway: GatewayProcess, body: bytes) -> None:
    answer = gateway.post(body + ROOM)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_thousand_large_records_are_answered_in_order(gateway: GatewayProcess) -> None:
    records = [{"a": index, "b": 0} for index in range(1000)]
    answer = gateway.post(json.dumps({"records": records}).replace("{", "{" + " " * 1000))
    assert [p["value"] for p in answer.json()["predictions"]] == [10.0 * index for index in range(1000)]
    wrong = gateway.post(json.dumps({"records": [*records, {"a": 1}]}).replace("{", "{" + " " * 1000))
    assert (wrong.status_code, wrong.json()["details"][0]["record"]) == (400, 1000)


def test_the_other_protocols_read_large_bodies_as_small_ones(protocols: GatewayProcess) -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2.5]}
    asked = [
        ("/v2/models/scale/infer", {"inputs": [tensor], "id": "7"}),
        ("/v2/models/scale/infer", {"inputs": [{**tensor, "shape": [3]}]}),
        ("/v2/models/scale/infer", {"inputs": []}),
        ("/v1/models/scale:classify", {"examples": [{"x": 1}]}),
        ("/v1/models/scale:regress", {"examples": 3}),
    ]
    for path, document in asked:
        body = json.dumps(document).encode()
        assert said(protocols.post(body + ROOM, path=path)) == said(protocols.post(body, path=path)), document


@pytest.fixture
def roomy(tmp_path: Path, server: FakeModelServer) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path, config(server.address), "--drain-seconds", "0")
    yield gateway
    assert gateway.stop() == 0


def test_small_requests_are_answered_while_a_slow_body_is_read(roomy: GatewayProcess) -> None:
    answers: list[int] = []
    slow = threading.Thread(
        target=lambda: answers.append(requests.post(roomy.url + PREDICT, SLOW, timeout=60).status_code)
    )
    slow.start()
    eventually(lambda: roomy.metric("gateway_request_memory_bytes") > 2 * len(SLOW), lambda: "it is not being read")
    for _ in range(20):
        assert roomy.post({"records": [RECORD]}).status_code == 200
    assert answers == [], "they did not wait for it"
    slow.join()
    assert answers in ([400], [504])


def test_nobody_reads_for_a_client_that_left_or_past_the_deadline(roomy: GatewayProcess) -> None:
    late = roomy.post(SLOW, x_request_timeout_ms="300")
    assert (late.status_code, "while the body was read" in late.json()["error"]) == (504, True)
    host, port = roomy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nx-request-timeout-ms: 10000\r\ncontent-length: {len(SLOW)}\r\n\r\n"
        )
        client.sendall(head.encode() + SLOW)
        eventually(lambda: roomy.metric("gateway_in_flight") == 1, lambda: "it is not in flight")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: roomy.metric("gateway_request_memory_bytes") == 0, lambda: roomy.told("/metrics").text)
    assert roomy.metric("gateway_in_flight") == 0
    assert roomy.post(b'{"instances": [[1, 2]]}' + ROOM).status_code == 200, "the next one is read again"


def test_records_are_decoded_as_they_are_asked_for() -> None:
    given = [{"a": index, "pad": "x" * 1000} for index in range(1000)]
    records = LargeRecords(decode_outline(json.dumps({"records": given})).records)
    assert len(records) == 1000
    assert records.at_once <= BYTES_AT_ONCE // 1000
    assert (records[3], records[-1], list(records[5:7]), list(records)) == (given[3], given[-1], given[5:7], given)


def test_what_the_process_replies() -> None:
    assert reply(PredictTask(b""), b"[") == Failed(3, "JSON Parse error: Invalid value. at offset: 1")
    assert isinstance(reply(ExamplesTask(), b'{"examples":[{"x":1}]}'), Examples)
