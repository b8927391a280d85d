"""docs/architecture.md: every path and name in it is there, and every part of the tree is in it."""

from __future__ import annotations

import re

import pytest
from named_paths import absent_paths, named_paths
from paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CHANGES = [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", PAGE.partition("## Ten changes")[2], re.M)[1:]]


def test_every_path_is_there() -> None:
    assert len(named_paths(PAGE)) > 100
    assert absent_paths(PAGE) == []


@pytest.mark.parametrize("package", ["tfserving", "gateway", "deployer"])
def test_every_package_is_in_the_tree(package: str) -> None:
    tree = named_paths(PAGE.partition("## The tree")[2].partition("## ")[0])
    packages = {path.parent for path in (ROOT / package).glob("*/__init__.py")}
    assert {path.relative_to(ROOT).as_posix() for path in packages} <= set(tree)


def test_the_ten_changes_name_files_and_tests() -> None:
    assert len(CHANGES) == 10
    for change, files, tests in CHANGES:
        assert named_paths(files), change
        assert all("tests/" in path for path in named_paths(tests)), change
        assert named_paths(tests), change


@pytest.mark.parametrize(
    ("names", "path"),
    re.findall(r"((?:`\w+`(?:, | and )?)+) in `([^`]+\.py)`", PAGE),
    ids=lambda value: value.strip("`"),
)
def test_a_name_is_defined_in_the_file_that_the_page_names(names: str, path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    for name in re.findall(r"`(\w+)`", names):
        assert re.search(rf"^(class |def |async def )?{name}\b.*[:=(]", text, re.M), f"{path} has no {name}"
