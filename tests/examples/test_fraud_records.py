"""examples/fraud-records as its README says: skew proven, exported, served, and asked with records."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable

import pytest
from example_folder import Example

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the README asks with curl, which is not on PATH"),
]


def test_payments_are_preprocessed_as_in_training(example: Callable[[str], Example]) -> None:
    payments = example("fraud-records")
    train_and_serve, ask, ask_wrongly, stop = payments.blocks

    told = payments.run(train_and_serve)
    assert re.search(r"^skew +300 rows compared, largest difference (0|\d\S*e-0[6-9])$", told, re.M), told
    accuracy = re.search(r"^accuracy (0\.\d+|1\.0+) \(\d+ correct\)", told, re.M)
    assert accuracy, told
    assert float(accuracy[1]) >= 0.9
    manifest = json.loads(payments.read("store/fraud/1/assets.extra/manifest.json"))
    assert manifest["skew"]["rows"] == 300
    assert manifest["skew"]["max_difference"] < 1e-6

    answer = json.loads(payments.run(ask))
    assert answer["predictions"][0]["top_prediction"] == "fraud"
    assert answer["predictions"][0]["decision"] == "block"
    assert len(answer["outputs"]["word"][0]) == 4

    refused = json.loads(payments.run(ask_wrongly))
    assert [problem["feature"] for problem in refused["details"]] == ["amount", "at", "merchant", "colour"]

    assert payments.run(stop) == "stopped gateway-0, replica-0\n"
