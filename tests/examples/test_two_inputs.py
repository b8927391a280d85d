"""examples/two-inputs as its README says: asked with tensors in both forms, and rolled out under traffic."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from example_folder import Example

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the README asks with curl, which is not on PATH"),
]


def test_two_inputs_are_served_and_rolled_out(example: Callable[[str], Example]) -> None:
    tickets = example("two-inputs")
    train_and_serve, ask, ask_directly, roll_out = tickets.blocks
    tickets.run(train_and_serve)

    by_row, by_input = documents(tickets.run(ask))
    assert by_row["predictions"] == by_input["outputs"]
    (row,) = by_row["predictions"]
    assert row.index(max(row)) == 0
    assert sum(row) == pytest.approx(1)

    accuracy = re.search(r"^accuracy (\S+) ", tickets.run(ask_directly), re.M)
    assert accuracy
    assert float(accuracy[1]) >= 0.8

    told = tickets.run(roll_out)
    assert "routing: version 1 → 2: Healthy, promoted" in told
    assert re.search(r"^replica-0 +routing +2 +AVAILABLE +stable ", told, re.M)


def test_what_the_readme_says_is_missing_is_refused_with_a_reason(example: Callable[[str], Example]) -> None:
    tickets = example("two-inputs")
    (tickets.directory / "features.yaml").write_text(
        "features: [{name: words, type: vector, length: 12}]\n"
        "input: {name: words, dtype: float32, shape: [-1, 12]}\noutput: {name: team, kind: raw}\n"
    )
    tickets.run(
        "deployer export train:model --store store --model routing --features features.yaml 2> refused || exit 3",
        code=3,
    )
    assert "the spec fills 'words' only, the signature also needs 'customer'" in tickets.read("refused")


def documents(text: str) -> list[dict[str, Any]]:
    """The JSON documents that stand one after the other in a text."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found
