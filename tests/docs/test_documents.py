"""Every key of manifest.json and experiment.json stands in its table, and nothing else does."""

from __future__ import annotations

import pytest
from markdown_pages import REFERENCE, Page
from type_keys import inner, leaves

from deployer.experiment.report import folder
from deployer.experiment.results import Kind
from deployer.targets.storage import manifest

DOCUMENTS = [("manifest.md", "Key", manifest._Document), ("experiment-json.md", "Field", folder._Document)]


@pytest.mark.parametrize(("name", "column", "kind"), DOCUMENTS, ids=["manifest", "experiment"])
def test_every_key_has_its_row_and_nothing_else_has(name: str, column: str, kind: type) -> None:
    table = Page(REFERENCE / name).keys(column)
    keys = leaves(kind)
    assert sorted(keys.keys() - table.keys()) == []
    assert sorted(table.keys() - keys.keys() - inner(keys)) == []


def test_the_example_of_a_manifest_is_one() -> None:
    ((_, example),) = Page(REFERENCE / "manifest.md").blocks
    assert manifest.decode(example.encode(), "the example").signatures


def test_the_kinds_of_trials_are_named() -> None:
    row = Page(REFERENCE / "experiment-json.md").keys("Field")["experiment.trials[].kind"]
    assert {kind.value for kind in Kind} == set(row["Content"].codes)
