"""Records for a model with several inputs and outputs, from the gateway's port to TensorFlow and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from gateway_process import GatewayProcess
from model_server_process import model_server

SPEC = """
features:
  - {name: amount, type: float, min: 0, log1p: true}
  - {name: clock, type: timestamp, field: at, timezone: Europe/Paris, parts: [hour]}
  - {name: merchant, type: string, text: {case: lower}}
inputs:
  numbers: {dtype: float32, shape: [-1, 2], features: [amount, clock]}
  merchant: {dtype: string, shape: [-1], features: [merchant]}
output: {name: score, kind: regression}
pass_through: [length, numbers]
"""


class Fraud(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="numbers"), tf.TensorSpec([None], tf.string, name="merchant"),
        ]
    )  # fmt: skip
    def serve(self, numbers: Any, merchant: Any) -> Any:
        shop = tf.cast(merchant == b"shop", tf.float32)
        return {"score": tf.reduce_sum(numbers, axis=1) + 100 * shop, "length": tf.strings.length(merchant),
                "numbers": numbers}  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "batched"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("inputs")
    model = Fraud()
    tf.saved_model.save(model, str(folder / "fraud" / "1"), signatures={"serving_default": model.serve})
    with model_server(folder, "--model_name=fraud", f"--model_base_path={folder / 'fraud'}") as server:
        content = {
            "version": "v1",
            "models": {"fraud": {"specs": {"1": yaml.safe_load(SPEC)}, "max_rows_per_call": 2}},
            "backends": {"static": [server.grpc]},
            "batching": {"enabled": request.param, "max_wait_micros": 0},
        }
        process = GatewayProcess(folder, content, "--drain-seconds", "0")
        yield process
        assert process.stop() == 0


def record(merchant: str, amount: float) -> dict[str, object]:
    return {"amount": amount, "at": "2026-07-01T10:00:00Z", "merchant": merchant}


@pytest.mark.parametrize("count", [1, 5])
def test_every_input_is_filled_and_further_outputs_come_back(gateway: GatewayProcess, count: int) -> None:
    records = [record("Shop", index) if index % 2 else record("x", index) for index in range(count)]
    answer = gateway.post({"records": records}, path="/v1/models/fraud:predict")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    expected = [math.log1p(index) + 12 + 100 * (index % 2) for index in range(count)]
    assert [prediction["value"] for prediction in body["predictions"]] == pytest.approx(expected)
    assert body["outputs"]["length"] == [4 if index % 2 else 1 for index in range(count)]
    assert [row[1] for row in body["outputs"]["numbers"]] == [12.0] * count


def test_problems_of_all_inputs_come_in_one_response(gateway: GatewayProcess) -> None:
    answer = gateway.post({"records": [{"amount": -1, "at": "today", "merchant": 3}]}, path="/v1/models/fraud:predict")
    assert answer.status_code == 400
    assert [(it["record"], it["feature"]) for it in answer.json()["details"]] == [
        (0, "amount"), (0, "at"), (0, "merchant")
    ]  # fmt: skip


def test_the_schema_names_every_key(gateway: GatewayProcess) -> None:
    schema = gateway.told("/v1/models/fraud/schema").json()
    assert schema["required"] == ["amount", "at", "merchant"]
    assert schema["properties"]["at"]["format"] == "date-time"
