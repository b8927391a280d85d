"""docs/reference/charts.md has every value of both charts, and what is generated from values.yaml is up to date."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_pages import REFERENCE, Cell, Page
from paths import ROOT

CHARTS = sorted(path.parent for path in (ROOT / "charts").glob("*/Chart.yaml"))
PAGE = Page(REFERENCE / "charts.md")
by_chart = pytest.mark.parametrize("chart", CHARTS, ids=lambda path: path.name)


def test_what_is_generated_from_the_values_is_up_to_date() -> None:
    generator = runpy.run_path(str(ROOT / "scripts" / "chartgen.py"))
    stale = [path for path, text in generator["everything"]().items() if path.read_text("utf-8") != text]
    assert stale == [], "run `make docs`"


@by_chart
def test_every_value_of_the_schema_has_its_row_and_nothing_else_has(chart: Path) -> None:
    found = dict(values_of(json.loads((chart / "values.schema.json").read_text("utf-8"))))
    assert sorted(found.keys() ^ rows(chart).keys()) == []


@by_chart
def test_every_default_has_its_row(chart: Path) -> None:
    table = rows(chart)
    defaults = yaml.safe_load((chart / "values.yaml").read_text("utf-8"))
    for path, value in ends(defaults, frozenset(table)):
        told = table[path]["Default"].text
        assert told == "see values.yaml" or json.loads(told.strip("`")) == value, path


def rows(chart: Path) -> dict[str, dict[str, Cell]]:
    """The rows of one chart by the path of the value."""
    tables = [table for table in PAGE.tables if table.section.startswith(f"{chart.name}: ")]
    assert tables
    return {path: row for table in tables for path, row in table.keys().items()}


def values_of(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every described value of a schema by its path, and what lists and maps of them are made of."""
    for key, inside in schema.get("properties", {}).items():
        here = f"{path}.{key}".lstrip(".")
        if "description" in inside:
            yield here, inside
        for below, parts in (("", inside), ("[]", inside.get("items")), (".<>", inside.get("additionalProperties"))):
            if isinstance(parts, dict):
                yield from values_of(parts, here + below)


def ends(value: object, known: frozenset[str], path: str = "") -> Iterator[tuple[str, object]]:
    """Every value by its path, down to those that have a row. Errors: AssertionError for one that has none."""
    if path in known:
        yield path, value
    else:
        assert isinstance(value, dict), f"{path} has no row"
        for key, inside in value.items():
            yield from ends(inside, known, f"{path}.{key}".lstrip("."))
