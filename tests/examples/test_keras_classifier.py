"""examples/keras-classifier as its README says: trained, exported, served, and asked with records."""

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


def test_records_become_decisions_and_wrong_ones_are_explained(example: Callable[[str], Example]) -> None:
    loans = example("keras-classifier")
    train_and_serve, ask, ask_wrongly, stop = loans.blocks

    accuracy = re.search(r"^accuracy (0\.\d+|1\.0+) \(\d+ correct\)", loans.run(train_and_serve), re.M)
    assert accuracy
    assert float(accuracy[1]) >= 0.95

    answer = json.loads(loans.run(ask))
    assert answer["predictions"][0]["top_prediction"] == "approve"
    assert answer["metadata"] | {"request_id": ""} == {
        "model": "loan", "model_version": 1, "version_label": "stable", "request_id": ""
    }  # fmt: skip

    refused, schema = loans.run(ask_wrongly).replace("}{", "}\n{").splitlines()
    assert json.loads(refused)["error"] == "record 0: feature 'income': expected a number, got string (and 2 more)"
    assert set(json.loads(schema)["properties"]) == {"income", "employment_years", "purpose"}

    assert loans.run(stop) == "stopped gateway-0, replica-0, replica-1\n"
