"""docs/concepts/rollouts.md has every step and every phase of a rollout, and nothing else."""

from __future__ import annotations

from markdown_pages import Page
from paths import ROOT

from deployer.domain.rollout import Phase
from deployer.rollout.steps import AT_GATEWAYS, Kind

PAGE = Page(ROOT / "docs" / "concepts" / "rollouts.md")
STEPS = {cell.text.split()[0]: row for row in PAGE.table("Steps").rows for cell in row[:1]}


def test_every_step_is_there_and_nothing_else_is() -> None:
    assert STEPS.keys() <= {kind.value for kind in Kind}
    assert {kind.value for kind in Kind} - STEPS.keys() <= PAGE.codes


def test_a_step_that_changes_gateways_says_so() -> None:
    assert {kind for kind, row in STEPS.items() if row[1].text.startswith("gateways")} == STEPS.keys() & AT_GATEWAYS


def test_every_phase_has_its_row_and_nothing_else_has() -> None:
    assert [cell.text for cell in PAGE.table("Phases", "Phase").column("Phase")] == [phase.value for phase in Phase]
