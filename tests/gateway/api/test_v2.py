"""The Open Inference Protocol over REST, by its specification; the clients of others are in test_v2_clients.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from gateway_process import GatewayProcess, protocol_config
from v2_values import VALUES

X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]}


def infer(gateway: GatewayProcess, model: str, *inputs: Any, version: str = "", **more: Any) -> requests.Response:
    path = f"/v2/models/{model}{version}/infer"
    return gateway.session.post(gateway.url + path, json={"inputs": inputs, **more}, timeout=30)


def inputs_of(values: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [{"name": n.lower(), "shape": [len(v)], "datatype": n, "data": v} for n, v in values.items()]


def test_health_and_metadata(protocols: GatewayProcess) -> None:
    assert protocols.get("/v2/health/live").json() == {"live": True}
    assert protocols.get("/v2/health/ready").json() == {"live": True, "ready": True}
    server = protocols.get("/v2").json()
    assert (type(server["name"]), type(server["version"])) == (str, str)
    assert server["extensions"] == ["binary_tensor_data"]
    for path in ("", "/versions/1", "/versions/2", "/versions/canary", "/labels/stable"):
        assert protocols.get(f"/v2/models/scale{path}").json() == {
            "name": "scale",
            "versions": ["1", "2"],
            "platform": "tensorflow_savedmodel",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        }
        assert protocols.get(f"/v2/models/scale{path}/ready").json() == {"name": "scale", "ready": True}
    described = protocols.get("/v2/models/types").json()["inputs"]
    assert {entry["name"].upper(): entry["datatype"] for entry in described} == {name: name for name in VALUES}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/none", 404),
        ("/v2/models/none/ready", 404),
        ("/v2/models/scale/versions/9", 404),
        ("/v2/models/scale/versions/9/ready", 503),
        ("/v2/models/scale/versions/nope/ready", 503),
        ("/v2/models/scale/versions/99999999999999999999", 400),
        ("/v2/nowhere", 404),
    ],
)
def test_what_does_not_exist(protocols: GatewayProcess, path: str, status: int) -> None:
    answer = protocols.get(path)
    assert (answer.status_code, type(answer.json()["error"])) == (status, str)


def test_a_response_has_all_that_the_specification_names(protocols: GatewayProcess) -> None:
    answer = infer(protocols, "scale", X, id="i-7")
    assert answer.json() == {
        "model_name": "scale",
        "model_version": "1",
        "id": "i-7",
        "parameters": {"version_label": "stable"},
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]}],
    }
    assert answer.headers["content-type"] == "application/json"
    assert "id" not in infer(protocols, "scale", X).json()


@pytest.mark.parametrize("version", ["/versions/2", "/versions/canary", "/labels/canary"])
def test_a_version_or_label_in_the_url_wins(protocols: GatewayProcess, version: str) -> None:
    answer = infer(protocols, "scale", X, version=version).json()
    assert (answer["model_version"], answer["outputs"][0]["data"]) == ("2", [3.0, 4.0])


def test_weights_and_sticky_keys_are_those_of_the_other_apis(tmp_path: Path, protocol_address: str) -> None:
    content = protocol_config(protocol_address)
    content["models"]["scale"]["routing"] = {
        "weights": {"stable": 50, "canary": 50},
        "sticky": {"metadata": "user"},
    }
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    try:
        seen: dict[str, set[str]] = {}
        for user in map(str, range(20)):
            for _ in range(3):
                answer = infer(gateway, "scale", X, parameters={"user": user}).json()
                seen.setdefault(user, set()).add(answer["model_version"])
        assert {len(versions) for versions in seen.values()} == {1}, "the same key goes to the same label"
        assert set().union(*seen.values()) == {"1", "2"}
        free = {infer(gateway, "scale", X).json()["model_version"] for _ in range(60)}
        assert free == {"1", "2"}
        assert gateway.metric('gateway_requests_total{model="scale",version="2",label="canary",kind="tensors"') > 0
    finally:
        gateway.stop()


def test_every_element_type_as_json(protocols: GatewayProcess) -> None:
    answer = infer(protocols, "types", *inputs_of(VALUES))
    assert answer.status_code == 200, answer.text
    outputs = {entry["name"].removeprefix("echo_").upper(): entry for entry in answer.json()["outputs"]}
    for name, values in VALUES.items():
        assert (outputs[name]["datatype"], outputs[name]["shape"]) == (name, [2])
        assert outputs[name]["data"] == [float(np.float32(v)) for v in values] if name == "FP32" else values


def test_bfloat16_values_are_rounded_to_the_nearest(protocols: GatewayProcess) -> None:
    values = {**VALUES, "BF16": [1.00390625, 3.14159265]}
    wanted = [{"name": "echo_bf16"}]
    answer = infer(protocols, "types", *inputs_of(values), outputs=wanted).json()["outputs"]
    assert answer == [{"name": "echo_bf16", "datatype": "BF16", "shape": [2], "data": [1.0, 3.140625]}]
    refused = infer(protocols, "types", *inputs_of({**VALUES, "BF16": [3.4e38, 1]}))
    assert (refused.status_code, "bfloat16 does not hold" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize("compressed", [False, True])
def test_binary_tensors_in_and_out(protocols: GatewayProcess, compressed: bool) -> None:
    raw = np.array([[1.5, 2], [3, 4]], "<f4").tobytes()
    head = json.dumps(
        {
            "parameters": {"binary_data_output": True},
            "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}}],
        }
    ).encode()
    body, headers = head + raw, {"Inference-Header-Content-Length": str(len(head))}
    if compressed:
        import gzip

        body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
    answer = protocols.session.post(
        protocols.url + "/v2/models/scale/versions/2/infer", data=body, headers=headers, timeout=30
    )
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    document = json.loads(answer.content[:size])
    assert document["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    ]
    assert np.frombuffer(answer.content[size:], "<f4").tolist() == [3.0, 4.0, 6.0, 8.0]


def test_an_output_chooses_its_form_over_the_request(protocols: GatewayProcess) -> None:
    outputs = [{"name": "root"}, {"name": "bytes", "parameters": {"binary_data": True}}]
    answer = infer(
        protocols, "strange", {"name": "x", "shape": [2], "datatype": "FP32", "data": [4, 9]}, outputs=outputs
    )
    size = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.content[:size])
    assert [entry["name"] for entry in document["outputs"]] == ["root", "bytes"]
    assert document["outputs"][0]["data"] == [2.0, 3.0]
    assert answer.content[size:] == b"\x02\x00\x00\x00\xff\x00" * 2


def test_numbers_that_json_lacks_are_written_as_tensorflow_serving_writes_them(protocols: GatewayProcess) -> None:
    outputs = [{"name": "root"}]
    answer = infer(
        protocols, "strange", {"name": "x", "shape": [2], "datatype": "FP32", "data": [-1, 4]}, outputs=outputs
    )
    found = answer.json()["outputs"][0]["data"]
    assert math.isnan(found[0])
    assert found[1] == 2.0


def test_nested_data_is_taken_as_flat(protocols: GatewayProcess) -> None:
    x = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}
    assert infer(protocols, "scale", x).json()["outputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]


BAD: list[tuple[Any, str]] = [
    ("[", "not an inference request"),
    ("[]", "Expected `object`"),
    ("{}", "inputs"),
    ({"inputs": []}, "inputs: there are none"),
    ({"inputs": [{**X, "data": [1]}]}, "input 'x': data: 1 elements, but its shape needs 2"),
    ({"inputs": [{**X, "data": [1, "2"]}]}, "input 'x': data: expected numbers"),
    ({"inputs": [{**X, "data": [1, True]}]}, "input 'x': data: expected numbers"),
    ({"inputs": [{**X, "data": [1, None]}]}, "input 'x': data: expected numbers"),
    ({"inputs": [{**X, "data": [1, 1e39]}]}, "input 'x': data: a number that float does not hold"),
    ({"inputs": [{**X, "data": [[1], 2]}]}, "arrays and values side by side"),
    ({"inputs": [{**X, "data": [[1, 2], [3]]}]}, "arrays of different lengths"),
    ({"inputs": [{**X, "data": 5}]}, "data: expected an array"),
    ({"inputs": [{**X, "datatype": "FP8"}]}, "datatype: expected one of BOOL"),
    ({"inputs": [{**X, "datatype": "INT8", "data": [1, 128]}]}, "a number that int8 does not hold"),
    ({"inputs": [{**X, "datatype": "INT8", "data": [1, 1.5]}]}, "expected whole numbers"),
    ({"inputs": [{**X, "datatype": "UINT64", "data": [1, -1]}]}, "does not hold"),
    ({"inputs": [{**X, "datatype": "FP64", "data": [1, 10**400]}]}, ""),
    ({"inputs": [{**X, "datatype": "FP64", "data": [1, 2]}]}, "Expects arg[0] to be float but double is provided"),
    ({"inputs": [{**X, "shape": [-1, 2]}]}, "none of them below 0"),
    ({"inputs": [{**X, "shape": [2**40, 2**40], "data": []}]}, "are too many"),
    ({"inputs": [{**X, "shape": [1.5, 2]}]}, "shape"),
    ({"inputs": [{**X, "parameters": {"binary_data_size": 8}}]}, "both data and parameters.binary_data_size"),
    ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}, "neither data nor"),
    ({"inputs": [X, X]}, "given twice"),
    ({"inputs": [{**X, "name": "z"}]}, "z"),
    ({"inputs": [X], "outputs": [{"name": "q"}]}, "output tensor alias not found in signature: q"),
    ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification is not offered"),
    ({"inputs": [X], "parameters": {"signature_name": "nope"}}, "nope"),
    ({"inputs": [X], "parameters": {"signature_name": 7}}, "parameters.signature_name"),
    ('{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": ' + "[" * 90_000 + "]" * 90_000 + "}]}", ""),
]


@pytest.mark.parametrize(("body", "message"), BAD, ids=range(len(BAD)))
def test_bad_requests_get_a_400_that_says_what_is_wrong(protocols: GatewayProcess, body: Any, message: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    answer = protocols.session.post(protocols.url + "/v2/models/scale/infer", data=text, timeout=30)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "size", "raw", "message"),
    [
        ("x", 8, 8, "inference-header-content-length"),
        ("9" * 30, 8, 8, "inference-header-content-length"),
        (None, 7, 8, "7 bytes, but its shape and datatype need 8"),
        (None, 9, 8, "binary_data_size: expected a number up to the 8 bytes"),
        (None, -1, 8, "binary_data_size"),
        (None, 8, 9, "1 bytes after the JSON object that belong to no input"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(
    protocols: GatewayProcess, length: str | None, size: int, raw: int, message: str
) -> None:
    head = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32",
                                   "parameters": {"binary_data_size": size}}]}).encode()  # fmt: skip
    answer = protocols.session.post(
        protocols.url + "/v2/models/scale/infer",
        data=head + b"\0" * raw,
        headers={"Inference-Header-Content-Length": length or str(len(head))},
        timeout=30,
    )
    assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("name", "message"), [("complex", "has the type complex64"), ("bytes", "has bytes that are not UTF-8 text")]
)
def test_an_output_that_has_no_form_is_refused_by_name(protocols: GatewayProcess, name: str, message: str) -> None:
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    answer = infer(protocols, "strange", x, outputs=[{"name": name}])
    assert answer.status_code == 400
    assert f"output '{name}' {message}" in answer.json()["error"]


def test_unknown_models_versions_and_labels(protocols: GatewayProcess) -> None:
    for model, version, status in (("none", "", 404), ("scale", "/versions/9", 404), ("scale", "/versions/no", 400)):
        answer = infer(protocols, model, X, version=version)
        assert (answer.status_code, type(answer.json()["error"])) == (status, str)
