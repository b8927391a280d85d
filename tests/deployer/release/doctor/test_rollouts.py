"""`deployer doctor` while a rollout is in progress, and after it was left: what is only late is not called wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, Killed, World

from deployer.domain.rollout import Phase, Policy
from deployer.release.doctor.finding import Finding, Severity
from deployer.release.doctor.serving import lasting_findings
from deployer.rollout.overview import with_rollouts
from deployer.targets.serving_view import ServingView, view


def seen(world: World) -> ServingView:
    """As the doctor sees it."""
    return with_rollouts(world.release, view(world.release))


def faults(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.severity is not Severity.NOTE]


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("failures", [0.0, 0.5], ids=["promoted", "taken back"])
def test_a_rollout_under_way_is_no_illness(tmp_path: Path, policy: Policy, failures: float) -> None:
    world = World(tmp_path, FakeRelease(3, canary_failures=failures))
    looks: dict[str, list[Finding]] = {}
    world.seen_at = lambda point: looks.update({point: list(lasting_findings(seen(world), None))})
    done = world.rollouts().start(replace(REQUEST, policy=policy))
    assert done.phase is Phase.HEALTHY
    assert {point: found for point, found in looks.items() if faults(found)} == {}
    assert looks["shift 5 %: begun recorded"][-1].cause == f"a rollout of model {MODEL} is in progress"
    assert list(lasting_findings(seen(world), None)) == []


def test_what_a_killed_deployer_left_is_reported_with_a_remedy(tmp_path: Path) -> None:
    calm = World(tmp_path / "calm")
    calm.rollouts().start(REQUEST)
    world = World(tmp_path / "killed", at={calm.points.index("shift 5 %: written") + 1: "kill the deployer"})
    with pytest.raises(Killed):
        world.rollouts().start(REQUEST)
    world.settle()
    (found,) = lasting_findings(seen(world), None)
    assert (found.severity, found.cause) == (Severity.WARNING, f"a rollout of model {MODEL} was interrupted")
    assert "at step shift 5 %; no deployer is working on it" in found.evidence
    assert "rollout abort" in found.remedy


def test_a_rollout_that_cannot_be_proven_is_an_illness(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.rollouts().start(REQUEST)
    world.release.unloadable = {1}
    world.rollouts().rollback()
    found = list(lasting_findings(seen(world), None))
    assert f"a rollout of model {MODEL} could not be finished" in [one.cause for one in found]


def test_what_is_late_at_the_first_look_only_is_not_wrong(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release.put_model_config(world.release.model_config().replace("versions: 1", "versions: 1 versions: 2"))
    before = seen(world)
    assert {one.cause for one in lasting_findings(before, None)} == {
        f"version 2 of model {MODEL} is missing from the store"
    }
    assert list(lasting_findings(before, before)) != []
    world.settle()
    assert list(lasting_findings(seen(world), before)) == []
