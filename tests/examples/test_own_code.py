"""examples/own-code as its README says: a user's package preprocesses, is compared with training, and responds."""

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


def test_the_package_preprocesses_and_interprets(example: Callable[[str], Example]) -> None:
    trips = example("own-code")
    train_and_serve, ask, ask_wrongly, without, stop = trips.blocks

    told = trips.run(train_and_serve)
    assert re.search(r"^skew +200 rows compared, largest difference (0|\d\S*e-0[6-9])$", told, re.M), told

    (answer,) = json.loads(trips.run(ask))["predictions"]
    assert 50 < answer["values"]["price"] < 75
    assert answer["values"]["band"] == 2

    refused = json.loads(trips.run(ask_wrongly))
    assert sorted(problem["problem"] for problem in refused["details"]) == [
        "-1 is below min 0",
        "to must be [latitude, longitude] in degrees",
    ]
    assert "this image has no transform 'distance' of acme-features" in trips.run(without)
    assert trips.run(stop) == "stopped gateway-0, replica-0\n"
