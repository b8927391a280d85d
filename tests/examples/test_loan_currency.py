"""examples/loan-currency as its README says: skew proven, exported, served, and asked in several currencies."""

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


def test_an_income_counts_the_same_in_every_currency(example: Callable[[str], Example]) -> None:
    loans = example("loan-currency")
    train_and_serve, ask, ask_wrongly, stop = loans.blocks

    told = loans.run(train_and_serve)
    accuracy = re.search(r"^accuracy (0\.\d+|1\.0+) \(\d+ correct\)", told, re.M)
    assert accuracy, told
    assert float(accuracy[1]) >= 0.9
    manifest = json.loads(loans.read("store/loan/1/assets.extra/manifest.json"))
    assert manifest["skew"]["rows"] == 300
    assert manifest["skew"]["max_difference"] < 1e-6

    euros, dollars = json.loads(loans.run(ask))["predictions"]
    assert euros == dollars
    assert 0.02 < dollars["alternatives"][0]["score"] < 0.98, "a score at its end would hide a wrong amount"

    refused = json.loads(loans.run(ask_wrongly))
    assert "'XAU'" in refused["details"][0]["problem"]
    assert loans.run(stop) == "stopped gateway-0, replica-0\n"
