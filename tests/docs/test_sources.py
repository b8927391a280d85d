"""Every row of docs/reference/sources.md names the test that shows it, and the test exists."""

from __future__ import annotations

import ast
import re

import pytest
from paths import ROOT

TESTS = ROOT / "tests/deployer/models/export"
PAGE = (ROOT / "docs/reference/sources.md").read_text("utf-8")


def rows() -> list[tuple[str, str, str]]:
    """Heading of the last column, first cell and last cell of each row."""
    found, heading = [], ""
    for line in PAGE.splitlines():
        if not line.startswith("| ") and not line.startswith("|--"):
            heading = ""
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not heading:
            heading = cells[-1]
        elif not cells[0].startswith("--"):
            found.append((heading, cells[0], cells[-1]))
    return found


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def exported_structures() -> set[str]:
    """The keys of STRUCTURES, each of which is exported and served by a test."""
    for node in ast.parse((TESTS / "test_structures.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STRUCTURES":
            assert isinstance(node.value, ast.Dict)
            return {str(ast.literal_eval(key)) for key in node.value.keys if key is not None}
    raise AssertionError("test_structures.py has no STRUCTURES")


@pytest.mark.parametrize(("heading", "row", "cell"), rows(), ids=[f"{row[1]:.40}" for row in rows()])
def test_a_row_names_the_test_that_shows_it(heading: str, row: str, cell: str) -> None:
    named = re.findall("`([^`]+)`", cell)
    assert named, f"{row}: no test"
    if heading.startswith("Model in"):
        assert set(named) <= exported_structures()
        assert set(named) <= functions("tests/support/structures.py")
        return
    assert heading == "Test"
    known: set[str] = set()
    shown = 0
    for name in named:
        if name.endswith(".py"):
            known = functions(f"tests/deployer/models/export/{name}")
        else:
            assert name in known, f"{row}: there is no test {name}"
            shown += 1
    assert shown, f"{row}: a file, and no test in it"


def test_every_structure_that_is_exported_is_on_the_page() -> None:
    named = {
        name for heading, _, cell in rows() if heading.startswith("Model in") for name in re.findall("`([^`]+)`", cell)
    }
    assert exported_structures() - named == {"rows_depend_on_each_other"}  # not a structure but a fault of the model
