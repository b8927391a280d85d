"""The request API over a real socket: answers, errors, limits."""

from __future__ import annotations

import gzip
import json
import socket

import grpc
import pytest
import requests
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess

RECORD = {"a": 1, "b": 2}


def test_records_get_predictions_and_the_metadata_is_echoed(gateway: GatewayProcess) -> None:
    body = {"version": "v1", "metadata": {"request_id": "r1", "locale": "de"}, "records": [RECORD, {"a": 0.5, "b": 0}]}
    answer = gateway.post(body, x_request_id="outer")
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == "outer"
    assert answer.json() == {
        "version": "v1",
        "predictions": [{"value": 30.0}, {"value": 5.0}],
        "metadata": {"request_id": "r1", "locale": "de", "model": "m", "model_version": 1, "version_label": "stable"},
    }


def test_a_request_without_identifier_gets_one(gateway: GatewayProcess) -> None:
    answer = gateway.post({"records": [RECORD]})
    assert answer.headers["x-request-id"] == answer.json()["metadata"]["request_id"] != ""


@pytest.mark.parametrize(
    ("path", "value", "version"),
    [
        ("/v1/models/m/labels/canary:predict", 30.0, 2),
        ("/v1/models/m/versions/2:predict", 30.0, 2),
        ("/v1/models/m/versions/1:predict", 30.0, 1),
    ],
)
def test_label_and_version_in_the_url_win(gateway: GatewayProcess, path: str, value: float, version: int) -> None:
    answer = gateway.post({"records": [RECORD]}, path=path).json()
    assert answer["predictions"] == [{"value": value}]
    assert answer["metadata"]["model_version"] == version


BAD_RECORDS = [
    ({"records": []}, "at least one"),
    ({"records": {}}, "expected an array"),
    ({"records": [RECORD], "metadta": {}}, "unknown key 'metadta'"),
    ({"records": [RECORD], "version": "v2"}, 'expected "v1"'),
    ({"records": [RECORD], "metadata": []}, "metadata: expected an object"),
    ({"records": [3]}, "record 0: expected an object"),
    ({"records": [RECORD, {"a": "x", "b": 1}]}, "record 1: feature 'a'"),
    ({"records": [{"a": 1}]}, "record 0: feature 'b'"),
    ({"records": [{**RECORD, "c": 1}]}, "unknown feature 'c'"),
    ({"records": [{**RECORD, "a": None}]}, "record 0: feature 'a'"),
    ('{"records": [{"a": NaN, "b": 1}]}', "record 0: feature 'a'"),
    ('{"records": [{"a": Infinity, "b": 1}]}', "record 0: feature 'a'"),
    ('{"records": [{"a": 1e999, "b": 1}]}', "Number too big"),
    ('{"records": [', "JSON Parse error"),
    ('{"records": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    (b'{"records": [{"a": 1, "b": 2}], "metadata": {"x": "\xff"}}', "not valid JSON"),
    ("", "JSON Parse error: The document is empty"),
    ("[]", "Is not object"),
    ("{}", "Missing 'inputs' or 'instances' key"),
]


@pytest.mark.parametrize(("body", "message"), BAD_RECORDS, ids=range(len(BAD_RECORDS)))
def test_bad_input_gets_a_400_that_says_what_is_wrong(gateway: GatewayProcess, body: object, message: str) -> None:
    answer = gateway.post(body)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]


def test_all_problems_of_a_request_come_at_once(gateway: GatewayProcess) -> None:
    answer = gateway.post({"records": [{"a": "x", "b": 1}, {"a": 1}], "metadata": {"k": 1}}).json()
    assert [(detail["record"], detail["feature"]) for detail in answer["details"]] == [(0, "a"), (1, "b")]
    assert answer["metadata"]["k"] == 1


def test_ten_thousand_records_are_split_and_one_more_is_refused(
    gateway: GatewayProcess, server: FakeModelServer
) -> None:
    records = [{"a": index, "b": 0} for index in range(10_000)]
    answer = gateway.post({"records": records})
    assert [p["value"] for p in answer.json()["predictions"]] == [10.0 * index for index in range(10_000)]
    assert sorted(seen.rows for seen in server.seen) == [784, *[1024] * 9]
    assert {seen.version for seen in server.seen[1:]} == {1}, "pieces after the first ask for the version that answered"
    refused = gateway.post({"records": [*records, RECORD]})
    assert (refused.status_code, "10001" in refused.json()["error"]) == (400, True)


def test_a_body_over_the_limit_is_refused_without_reading_it_all(gateway: GatewayProcess) -> None:
    head = "POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n"

    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(head.encode() + b"{")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")
    chunked = requests.post(gateway.url + "/v1/models/m:predict", data=(b" " * 100_000 for _ in range(120)), timeout=30)
    assert chunked.status_code == 413
    assert "limits.max_body_bytes" in chunked.json()["error"]


def test_gzip_bodies_are_unpacked_within_the_same_limit(gateway: GatewayProcess) -> None:
    body = json.dumps({"records": [RECORD]}).encode()
    assert gateway.post(gzip.compress(body), content_encoding="gzip").status_code == 200
    assert gateway.post(gzip.compress(b" " * 20_000_000), content_encoding="gzip").status_code == 413
    assert gateway.post(gzip.compress(body)[:-9], content_encoding="gzip").status_code == 400
    assert gateway.post(body, content_encoding="gzip").status_code == 400


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/nope:predict", 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/m/versions/9:predict", 404, "Servable not found for request: Specific(m, 9)"),
        ("/v1/models/m/labels/nope:predict", 400, "Unrecognized servable version label: nope"),
        ("/v1/models/m:Predict/", 400, "Malformed request: POST /v1/models/m:Predict/"),
        ("/nowhere", 404, "no such path: POST /nowhere; health, metrics and routes are on the admin port"),
    ],
)
def test_what_does_not_exist_is_named(gateway: GatewayProcess, path: str, status: int, message: str) -> None:
    answer = gateway.post({"records": [RECORD]}, path=path)
    assert (answer.status_code, answer.json()["error"]) == (status, message)


def test_the_deadline_of_the_client_is_kept_and_passed_on(gateway: GatewayProcess, server: FakeModelServer) -> None:
    assert gateway.post({"records": [RECORD]}, x_request_timeout_ms="2500").status_code == 200
    assert server.seen[-1].seconds_left <= 2.5
    gateway.post({"records": [RECORD]}, x_request_timeout_ms="99999999")
    assert server.seen[-1].seconds_left <= 10, "capped by limits.timeout_ms"
    server.gate.clear()
    late = gateway.post({"records": [RECORD]}, x_request_timeout_ms="100")
    assert late.status_code == 504, "the client is answered while the model server still holds the call"
    server.gate.set()
    assert gateway.post({"records": [RECORD]}, x_request_timeout_ms="soon").status_code == 400


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be float", 400),
        (grpc.StatusCode.FAILED_PRECONDITION, "no variable b", 400),
        (grpc.StatusCode.INTERNAL, "kernel said: % é", 500),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OOM when allocating tensor", 429),
        (grpc.StatusCode.UNAVAILABLE, "going down", 503),
    ],
)
def test_errors_of_the_model_server_keep_status_and_message(
    gateway: GatewayProcess, server: FakeModelServer, code: grpc.StatusCode, text: str, status: int
) -> None:
    server.faults = [(code, text)]
    answer = gateway.post({"records": [RECORD]})
    assert (answer.status_code, answer.json()["error"]) == (status, text)
    assert (answer.headers.get("retry-after") is not None) == (status in (429, 503))


def test_the_admin_pages_respond(gateway: GatewayProcess) -> None:
    assert gateway.told("/livez").status_code == 200
    assert gateway.told("/readyz").json() == {"status": "ready"}
    assert gateway.told("/v1/models").json()["models"][0]["name"] == "m"
    assert set(gateway.told("/v1/models/m/schema").json()["properties"]) == {"a", "b"}
    assert gateway.told("/v1/models/nope/schema").status_code == 404
    assert "/v1/models/m:predict" in gateway.told("/openapi.json").json()["paths"]
    assert gateway.told("/routes").json()["models"]["m"]["weights"] == {"stable": 100, "canary": 0}
    assert gateway.get("/v1/models/m").json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert gateway.get("/v1/models/m/labels/canary/metadata").json()["model_spec"]["version"] == "2"


def test_metrics_count_requests_and_unknown_names_share_one_series(gateway: GatewayProcess) -> None:
    served = 'gateway_requests_total{model="m",version="1",label="stable",kind="records",code="200"}'
    before = gateway.metric(served)
    gateway.post({"records": [RECORD]})
    for index in range(20):
        gateway.post({"records": [RECORD]}, path=f"/v1/models/nope{index}:predict")
        gateway.post({"records": [RECORD]}, path=f"/v1/models/m/labels/nope{index}:predict")
    text = gateway.told("/metrics").text
    assert gateway.metric(served) == before + 1
    assert "nope" not in text
    for stage in ("read", "decode", "preprocess", "backend", "interpret", "encode"):
        assert f'gateway_stage_seconds_count{{model="m",stage="{stage}"}}' in text


def test_a_large_request_gets_every_problem_of_all_its_records(gateway: GatewayProcess) -> None:
    records: list[dict[str, object]] = [{"a": index, "b": 0} for index in range(700)]
    assert [one["value"] for one in gateway.post({"records": records}).json()["predictions"]][-1] == 6990.0
    for index in (3, 250, 699):
        records[index] = {"a": "x", "b": 0}
    answer = gateway.post({"records": records})
    assert answer.status_code == 400
    assert [problem["record"] for problem in answer.json()["details"]] == [3, 250, 699]
    assert answer.json()["error"] == "record 3: feature 'a': expected a number, got string (and 2 more)"
