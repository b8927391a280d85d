"""`--dry-run` of rollout start and rollback: what would be done, and nothing is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, World

from deployer.cli.views.rollout import plan_text
from deployer.domain.history import Entry
from deployer.domain.rollout import OnFail, Phase, RolloutRequest
from deployer.domain.serving import ModelState
from deployer.domain.verdict import Verdict
from deployer.errors import TargetError, UsageError
from deployer.rollout.facts import VersionFacts
from deployer.rollout.preview import preview_rollback, preview_start


def untouched(world: World) -> object:
    """What a preview must leave as it is."""
    return (
        world.release.model_config(),
        world.release.gateway_config(),
        world.histories.read(MODEL),
        world.release.recorded,
    )


def test_the_steps_of_a_start_are_those_that_it_makes(tmp_path: Path) -> None:
    world = World(tmp_path / "ledgers")
    before = untouched(world)

    found = preview_start(world.rollouts(), REQUEST)

    assert (untouched(world), world.points, world.said) == (before, [], [])
    assert not (tmp_path / "ledgers").exists()
    reached: dict[str, ModelState] = {}
    world.seen_at = lambda point: reached.update({point: world.state()})
    done = world.rollouts().start(REQUEST)
    assert [one.step for one in found.steps] == [e.step.partition(": ")[2] for e in entries(world, "proven")]
    assert {"load: written", "promote: written"} <= reached.keys()
    for one in found.steps:
        if (written := f"{one.step}: written") in reached:
            assert one.after == reached[written], one.step
    assert found.steps[-1].after == world.state()
    assert (found.exit_code, done.outcome) == (0, "promoted")


def entries(world: World, event: str) -> list[Entry]:
    return [entry for entry in world.histories.read(MODEL).entries if entry.event == event]


def test_what_can_be_judged_beforehand_is_and_the_rest_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release.memory = {"replica-0": 300 * 2**20, "replica-1": 420 * 2**20}
    world.release.memory_limit = 640 * 2**20
    tight = VersionFacts(size=160 * 2**20, parity=0.0)
    request = replace(REQUEST, gates=("size<100MB", "parity<1", "p99<1s"))

    found = preview_start(replace(world.rollouts(), facts=lambda version: tight), request)

    said = {one.gate: one.verdict for one in found.verdicts}
    assert said == {"size<100MB": Verdict.FAIL, "parity<1": Verdict.PASS, "two versions fit in memory": Verdict.FAIL}
    assert (found.later, found.exit_code) == (("p99<1s",), 7)
    text = plan_text(found)
    assert "scale: planned rollout from version 1 to version 2 in steps of 5 %, 50 %" in text
    assert "420 Mi in use + 1.5 × 160 Mi to load the version, limit 640 Mi" in text
    assert "judged later: p99<1s" in text


def test_what_a_start_refuses_its_preview_refuses(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(traffic=10))
    with pytest.raises(TargetError, match="cannot be rolled out to version 1"):
        preview_start(world.rollouts(), RolloutRequest(to=1, no_gates=True))
    assert world.rollouts().start(REQUEST).phase is Phase.PAUSED
    with pytest.raises(TargetError, match="version 2 is Paused"):
        preview_start(world.rollouts(), REQUEST)


def test_another_running_deployer_is_named_and_does_not_block_a_preview(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.histories.locked("bob (process 7)"):
        found = preview_start(world.rollouts(), REQUEST)
    assert found.at_work == "bob (process 7)"
    assert "bob (process 7) is working on this release: this would be rejected" in plan_text(found)


def test_a_rollback_is_foreseen_with_the_load_that_it_needs(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.rollouts().start(REQUEST)
    before = untouched(world)

    found = preview_rollback(world.rollouts(), None, timeout=30)

    assert untouched(world) == before
    assert [one.step for one in found.steps] == ["teach", "load", "promote", "settle", "unload"]
    assert found.steps[-1].after.labels == {"stable": 1}
    assert "scale: planned rollback from version 2 to version 1" in plan_text(found)
    world.rollouts().rollback()
    assert world.state() == found.steps[-1].after


def test_the_rollback_of_an_open_rollout_is_foreseen_as_its_abort(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(canary_failures=0.5))
    paused = world.rollouts().start(replace(REQUEST, on_fail=OnFail.PAUSE))
    assert paused.phase is Phase.PAUSED

    found = preview_rollback(world.rollouts(), None, timeout=30)

    assert world.histories.read(MODEL).rollout == paused
    assert [one.step for one in found.steps] == ["withdraw", "restore", "unlabel", "forget", "drop"]
    assert found.steps[0].after.weights == {"stable": 100}
    assert "planned abort, back to version 1" in plan_text(found)
    assert world.rollouts().rollback().base == found.steps[-1].after


def test_a_rollback_without_a_version_before_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no version of scale before"):
        preview_rollback(World(tmp_path).rollouts(), None, timeout=30)


@pytest.mark.parametrize("verb", ["promote", "resume", "abort", "rollback"])
def test_a_verb_waits_as_long_as_its_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    world = World(tmp_path, FakeRelease(traffic=10))
    assert world.rollouts().start(REQUEST).phase is Phase.PAUSED
    for server in world.release.servers:  # none looks at what is written from here on
        server.own = world.release.model_config()
    monkeypatch.setattr(world.release, "own_configs", dict)  # and nobody knows
    if verb == "resume":
        world.release.traffic = 4000

    done = getattr(world.rollouts(), verb)(timeout=7)

    assert done.phase is not Phase.HEALTHY
    assert "timed out after 7 s" in done.reason
    waits = [line for line in world.said if line.startswith("waiting for ")]
    assert any(line.endswith(("; at most 2 s more", "; at most 1 s more")) for line in waits), waits
    assert done.request.timeout == 7


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(traffic=10))
    world.rollouts().start(REQUEST)
    with pytest.raises(UsageError, match="timeout"):
        world.rollouts().resume(timeout=0)
    with pytest.raises(UsageError, match="timeout"):
        world.rollouts().rollback(7, timeout=0)
