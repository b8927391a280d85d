"""Rollouts that spare resources: no replica ever holds two versions, whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, Killed, World

from deployer.domain.rollout import Policy
from deployer.errors import TargetError

SPARING = replace(REQUEST, policy=Policy.RESOURCES)


@pytest.mark.parametrize("replicas", [2, 3, 5])
def test_a_replica_never_holds_two_versions_when_resources_are_spared(tmp_path: Path, replicas: int) -> None:
    world = World(tmp_path, FakeRelease(replicas))
    done = world.rollouts().start(SPARING)
    assert done.outcome == "promoted", done.reason
    assert world.state() == replace(done.base, versions=(2,), labels={"stable": 2})
    assert [server.most_held for server in world.release.servers] == [1] * replicas
    assert world.release.broken_rules == []
    back = world.rollouts().rollback()
    assert (back.outcome, world.state()) == ("rolled back", done.base)
    assert [server.most_held for server in world.release.servers] == [1] * replicas
    assert world.release.broken_rules == []
    assert all(server.own is None for server in world.release.servers)


def test_sparing_resources_a_bad_version_reaches_one_replica_only(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(3, canary_failures=0.5))
    done = world.rollouts().start(SPARING)
    assert (done.outcome, done.gate_failed) == ("aborted", True)
    assert world.state() == done.base
    assert "spread 2: begun recorded" not in world.points
    assert all(server.own is None and server.most_held == 1 for server in world.release.servers)
    assert world.release.broken_rules == []


def test_sparing_resources_a_replica_that_starts_meanwhile_is_waited_for(tmp_path: Path) -> None:
    whole = World(tmp_path / "whole", FakeRelease(3))
    whole.rollouts().start(SPARING)
    for name in ("spread 2: begun recorded", "promote: begun recorded"):
        point = whole.points.index(name) + 1
        world = World(tmp_path / str(point), FakeRelease(3), at={point: "add_replica_that_takes_its_time"})
        done = world.rollouts().start(SPARING)
        assert (done.outcome, world.state().labels) == ("promoted", {"stable": 2}), done.reason
        assert [server.most_held for server in world.release.servers] == [1] * 4
        assert world.all_replicas_serve_all_labels()


def test_the_only_replica_is_emptied_only_where_that_was_accepted(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(1))
    with pytest.raises(TargetError, match="empties one replica while others serve, but only 1 is running"):
        world.rollouts().start(SPARING)
    done = world.rollouts().start(replace(SPARING, accept_downtime=True))
    assert (done.outcome, world.state().labels) == ("promoted", {"stable": 2})
    assert world.release.servers[0].most_held == 1


def test_killed_at_any_point_while_resources_are_spared(tmp_path: Path) -> None:
    whole = World(tmp_path / "whole", FakeRelease(3))
    whole.rollouts().start(SPARING)
    assert len(whole.points) > 20
    for point in range(1, len(whole.points) + 1):
        for verb in ("resume", "abort"):
            world = World(tmp_path / f"{point}{verb}", FakeRelease(3), at={point: "kill the deployer"})
            with pytest.raises(Killed):
                world.rollouts().start(SPARING)
            if world.histories.read(MODEL).open is None:
                assert point > len(whole.points) - 3, "only the last points come after the end"
                continue
            done = getattr(world.rollouts(), verb)()
            wanted = "promoted" if verb == "resume" else "aborted"
            assert done.outcome == wanted, (point, verb, done.reason)
            labels = {"stable": 2} if verb == "resume" else done.base.labels
            assert (world.state().labels, len(world.state().versions)) == (labels, 1), (point, verb)
            world.settle()
            assert world.all_replicas_serve_all_labels(), (point, verb)
            assert world.release.broken_rules == [], (point, verb)
            assert {server.most_held for server in world.release.servers} == {1}, (point, verb)
