"""REST against the embedded server with real models."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server_process import Start

from tfserving.client import ModelServerError


def ask(port: int, path: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON of one request."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as failure:
        with failure:
            return failure.code, json.load(failure)


def ask_bytes(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of one request of any bytes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_names_that_are_no_text_are_not_found(models: Path, start: Start) -> None:
    port = start("--model_name=scale", f"--model_base_path={models / 'scale'}").rest_port
    assert ask_bytes(port, "/v1/models/scale:predict", b'{"signature_name":"a\xff","instances":[1]}') == (
        400,
        b'{\n    "error": "Serving signature name: \\"a\xff\\" not found in signature def"\n}',
    )
    assert ask_bytes(port, "/v1/models/scale:classify", b'{"signature_name":"a\xff","examples":[{"x":1.0}]}') == (
        400,
        b'{\n    "error": "No signature was found with the name: a\xff"\n}',
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/a%FF")
    with caught.value as failure:
        assert failure.read() == b'{\n    "error": "Could not find any versions of model a\xff"\n}'
    assert ask_bytes(port, "/v1/models/a%FF:predict", b'{"instances":[1]}') == (
        404,
        b'{\n    "error": "Servable not found for request: Latest(a\xff)"\n}',
    )
    assert ask_bytes(port, "/v1/models/scale/labels/%FF:predict", b'{"instances":[1]}') == (
        400,
        b'{\n    "error": "Unrecognized servable version label: \xff"\n}',
    )
    feature = b'{"signature_name":"classify","examples":[{"x":2.0,"\xff":1}]}'
    assert ask_bytes(port, "/v1/models/scale:classify", feature)[0] == 200


def test_an_error_of_the_model_is_passed_on_byte_for_byte(models: Path, start: Start) -> None:
    server = start("--model_name=scale", f"--model_base_path={models / 'scale'}")
    body = b'{"signature_name":"classify","instances":[{"b64":"YWJjAP8="}]}'
    status, answer = ask_bytes(server.rest_port, "/v1/models/scale:predict", body)
    assert (status, b"value: 'abc\\u0000\xff'\\n" in answer) == (400, True), answer
    with pytest.raises(ModelServerError) as caught:
        server.client.predict("scale", {"inputs": np.array(["abc\x00é"], object)}, signature="classify")
    assert "value: 'abc\x00é'" in caught.value.message


def test_rest_and_its_metrics(models: Path, start: Start, tmp_path: Path) -> None:
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    config = tmp_path / "models.config"
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}'
        for name in ("scale", "words", "slow")
    )
    config.write_text(f"model_config_list {{ {entries} }}")
    port = start(
        f"--model_config_file={config}", f"--monitoring_config_file={monitoring}", "--rest_api_timeout_in_ms=200"
    ).rest_port

    assert ask(port, "/v1/models/scale:predict", {"instances": [2.0, 4]}) == (200, {"predictions": [31.0, 32.0]})
    assert ask(port, "/v1/models/scale:predict", {"inputs": {"x": 2}}) == (200, {"outputs": 31.0})
    examples = {"signature_name": "classify", "examples": [{"x": 2.0}, {"x": 4.0}]}
    assert ask(port, "/v1/models/scale:classify", examples) == (200, {"results": [[["", 31.0]], [["", 32.0]]]})
    status, answer = ask(port, "/v1/models/words:predict", {"instances": ["home", {"b64": "Y2Fy"}, "é"]})
    assert (status, answer["predictions"]) == (
        200,
        [{"index": 1, "echo": "home"}, {"index": 0, "echo": "car"}, {"index": -1, "echo": "é"}],
    )
    status, answer = ask(port, "/v1/models/scale:predict", {"instances": [[1.0], [1.0, 2.0]]})
    assert (status, "Expecting tensor size: 1 but got: 2" in answer["error"]) == (400, True)
    assert ask(port, "/v1/models/slow:predict", {"instances": [100000.0]})[0] == 504
    assert ask(port, "/v1/models/scale")[1]["model_version_status"][0]["state"] == "AVAILABLE"
    inputs = ask(port, "/v1/models/scale/metadata")[1]["metadata"]["signature_def"]["signature_def"]
    assert inputs["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/monitoring/prometheus/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    assert ':tensorflow:serving:request_count{model_name="scale",status="INVALID_ARGUMENT"} 1' in lines
    assert ':tensorflow:serving:request_count{model_name="slow",status="DEADLINE_EXCEEDED"} 1' in lines
    assert ':tensorflow:serving:runtime_latency_count{model_name="scale",API="Predict",runtime="TF1"} 2' in lines
    assert any(line.startswith(":tensorflow:cc:saved_model:load_attempt_count{") for line in lines)
