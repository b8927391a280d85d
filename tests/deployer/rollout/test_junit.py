"""The JUnit report of a rollout says what its history says: per gate and step, and how it ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import junit_reports
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, World

from deployer.domain.junit import xml
from deployer.domain.rollout import OnFail, RolloutRequest
from deployer.rollout.junit import suite


def report(world: World, request: RolloutRequest) -> dict[tuple[str, str], tuple[str, str]]:
    world.rollouts().start(request)
    return junit_reports.cases(xml(suite(world.histories.read(MODEL))))


def test_a_promoted_rollout_passes_for_each_share(tmp_path: Path) -> None:
    found = report(World(tmp_path), REQUEST)
    for step in ("judge 5 %", "judge 50 %"):
        kind, figures = found[f"{MODEL}: {step}", "error_rate<5%"]
        assert kind == "passed"
        assert " of " in figures
    assert found[MODEL, "promoted"][0] == "passed"
    assert not [case for case in found.values() if case[0] == "failure"]


def test_a_gate_that_fails_is_a_failure_with_its_figures(tmp_path: Path) -> None:
    found = report(World(tmp_path, FakeRelease(3, canary_failures=0.5)), REQUEST)
    kind, reason = found[f"{MODEL}: judge 5 %", "error_rate<5%"]
    assert kind == "failure"
    assert " failed = " in reason
    kind, reason = found[MODEL, "promoted"]
    assert kind == "failure"
    assert reason.startswith("aborted: judge 5 %: error_rate<5%: fail")


def test_what_no_gate_judged_is_skipped(tmp_path: Path) -> None:
    found = report(World(tmp_path), replace(REQUEST, gates=(), no_gates=True))
    assert found[f"{MODEL}: judge 5 %", "gates"] == ("skipped", "no gate applies to this step")
    assert found[MODEL, "promoted"][0] == "passed"


def test_a_gate_that_the_rollout_never_came_to_is_skipped(tmp_path: Path) -> None:
    found = report(World(tmp_path), replace(REQUEST, gates=("size<1kB", "error_rate<5%")))
    assert found[MODEL, "error_rate<5%"][0] == "skipped"
    assert found[MODEL, "promoted"][0] == "failure"
    (size,) = [case for (_, name), case in found.items() if name == "size<1kB"]
    assert size[0] == "failure"


def test_a_pause_without_evidence_is_a_failure_and_the_last_judgement_counts(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = report(world, replace(REQUEST, min_samples=100_000, on_fail=OnFail.PAUSE))
    assert found[f"{MODEL}: judge 5 %", "error_rate<5%"][0] == "failure"
    assert found[MODEL, "promoted"][1].startswith("Paused: ")
    world.rollouts().promote()
    found = junit_reports.cases(xml(suite(world.histories.read(MODEL))))
    assert found[MODEL, "promoted"][0] == "passed"
