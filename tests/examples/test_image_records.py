"""examples/image-records as its README says: pictures are resized as in training, served, and others are refused."""

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


def test_pictures_are_resized_as_in_training(example: Callable[[str], Example]) -> None:
    shapes = example("image-records")
    train_and_serve, ask, ask_wrongly, stop = shapes.blocks

    told = shapes.run(train_and_serve)
    assert "no problems" in told, told
    accuracy = re.search(r"^accuracy (0\.\d+|1\.0+) \(\d+ correct\)", told, re.M)
    assert accuracy, told
    assert float(accuracy[1]) >= 0.9

    expected = json.loads(shapes.read("records.jsonl").splitlines()[0])["expected"]
    assert json.loads(shapes.run(ask))["predictions"][0]["top_prediction"] == expected
    assert "not an image" in json.loads(shapes.run(ask_wrongly))["error"]

    shapes.replace("features.yaml", {"filter: tensorflow, antialias: true": "filter: tensorflow"})
    check = next(line for line in train_and_serve.splitlines() if "features check" in line)
    assert "picture" in shapes.run(check, code=3), "another filter is another tensor"
    assert shapes.run(stop) == "stopped gateway-0, replica-0\n"
