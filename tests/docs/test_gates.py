"""docs/reference/gates.md has every metric that a gate may name, with what the parser takes and when it is judged."""

from __future__ import annotations

import pytest
from markdown_pages import REFERENCE, Page

from deployer.domain import gate
from deployer.domain.gate import BEFORE_LOAD, BEFORE_TRAFFIC, Metric, parse_gate

ROWS = Page(REFERENCE / "gates.md").table("Gates").keys()
NO_UNIT = ""
UNITS = {NO_UNIT, "*stable"} | {unit for units in gate._UNITS.values() for unit in units}
RELATIONS = ("<", "<=", ">", ">=")


def test_every_metric_has_its_row_and_nothing_else_has() -> None:
    assert ROWS.keys() == {metric.value for metric in Metric}


@pytest.mark.parametrize("metric", Metric)
def test_a_metric_takes_the_relations_and_units_of_its_row(metric: Metric) -> None:
    row = ROWS[metric.value]
    unit_cell = row["Unit of the bound"]
    relations = set(row["Relation"].codes)
    units = set(unit_cell.codes) | ({NO_UNIT} if unit_cell.text.startswith("none") else set())
    assert units <= UNITS
    taken = {(relation, unit) for relation in RELATIONS for unit in UNITS if taken_by(metric, relation, unit)}
    assert taken == {(relation, unit) for relation in relations for unit in units}


@pytest.mark.parametrize("metric", Metric)
def test_a_metric_is_judged_when_its_row_says(metric: Metric) -> None:
    when = "in each window"
    when = "before anything is changed" if metric in BEFORE_LOAD else when
    when = "before traffic" if metric in BEFORE_TRAFFIC else when
    assert ROWS[metric.value]["Judged"].text == when


def taken_by(metric: Metric, relation: str, unit: str) -> bool:
    """Whether the parser takes such a gate."""
    try:
        return parse_gate(f"{metric}{relation}0.5{unit}").metric is metric
    except ValueError:
        return False
