"""Which feature specs a rollout leaves with the gateways: those of what is served, and of the version to go back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, Killed, World

from deployer.domain.rollout import Event, Phase
from deployer.errors import TargetError
from deployer.rollout import files
from deployer.rollout.facts import VersionFacts
from deployer.rollout.rollouts import Rollouts

FEATURES = """
features: [{name: x, type: float}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: raw}
"""


class Specified(World):
    """A world whose versions all come with a feature spec, and whose gateways know that of version 1."""

    def __init__(
        self, directory: Path, release: FakeRelease | None = None, at: Mapping[int, str | Event] | None = None
    ) -> None:
        super().__init__(directory, release, at)
        document = yaml.safe_load(self.release.gateway_config())
        document["models"][MODEL]["specs"] = {"1": yaml.safe_load(FEATURES)}
        self.release.put_gateway_config(yaml.safe_dump(document))

    def rollouts(self) -> Rollouts:
        return replace(super().rollouts(), facts=lambda version: VersionFacts(size=1000, features=FEATURES))

    def without_store(self) -> Rollouts:
        """The same where the store cannot be asked."""

        def unreachable(version: int) -> VersionFacts:
            raise TargetError(f"no store to ask for version {version}")

        return replace(self.rollouts(), facts=unreachable)

    def specs(self) -> set[int]:
        return set(files.versions_with_spec(self.release, MODEL))


def test_a_promotion_leaves_the_spec_of_the_version_to_go_back_to_and_no_older_one(tmp_path: Path) -> None:
    world = Specified(tmp_path)
    for version in (2, 3, 4):
        assert world.rollouts().start(replace(REQUEST, to=version)).outcome == "promoted"
        assert world.specs() == {version - 1, version}
    assert world.without_store().rollback().outcome == "rolled back"


def test_a_rollback_keeps_both_specs_so_that_it_can_be_reverted_without_the_store(tmp_path: Path) -> None:
    world = Specified(tmp_path)
    world.rollouts().start(REQUEST)
    assert world.without_store().rollback().outcome == "rolled back"
    assert world.specs() == {1, 2}
    assert world.without_store().rollback().outcome == "rolled back"
    assert (world.state().labels, world.specs()) == ({"stable": 2}, {1, 2})


def test_an_abort_forgets_the_spec_that_the_rollout_brought(tmp_path: Path) -> None:
    world = Specified(tmp_path, FakeRelease(canary_failures=0.5))
    assert world.rollouts().start(REQUEST).outcome == "aborted"
    assert world.specs() == {1}


def test_an_abort_keeps_the_spec_of_the_version_to_go_back_to(tmp_path: Path) -> None:
    world = Specified(tmp_path)
    world.rollouts().start(REQUEST)
    world.release.traffic = 10
    for version in (3, 1):
        assert world.rollouts().start(replace(REQUEST, to=version)).phase is Phase.PAUSED
        assert world.rollouts().abort().outcome == "aborted"
        assert world.specs() == {1, 2}
    assert world.without_store().rollback().outcome == "rolled back"


def test_traffic_is_back_before_a_spec_is_forgotten(tmp_path: Path) -> None:
    world = Specified(tmp_path, FakeRelease(canary_failures=0.5))
    seen: dict[str, object] = {}
    world.seen_at = lambda point: seen.update({point: (world.state().weights, world.specs())})
    world.rollouts().start(REQUEST)
    assert seen["withdraw: written"] == ({"stable": 100}, {1, 2})
    assert seen["forget: written"] == ({"stable": 100}, {1})


@pytest.mark.parametrize(("verb", "left"), [("resume", {1, 2}), ("abort", {1})])
def test_killed_at_any_point_the_same_specs_are_left(tmp_path: Path, verb: str, left: set[int]) -> None:
    whole = Specified(tmp_path / "whole")
    whole.rollouts().start(REQUEST)
    for point in range(2, len(whole.points)):
        world = Specified(tmp_path / str(point), at={point: "kill the deployer"})
        with pytest.raises(Killed):
            world.rollouts().start(REQUEST)
        done = getattr(world.rollouts(), verb)()
        assert (done.phase, world.specs()) == (Phase.HEALTHY, left), (point, done.reason)
        assert world.release.broken_rules == [], point


def test_a_spec_with_a_file_waits_until_gateways_see_the_store(tmp_path: Path) -> None:
    world = Specified(tmp_path)
    features = FEATURES.replace(
        "{name: x, type: float}", "{name: x, type: category, encoding: index, vocabulary_file: w.txt}"
    )
    rollouts = replace(world.rollouts(), facts=lambda version: VersionFacts(size=1000, features=features))
    ended = rollouts.start(replace(REQUEST, to=2))
    assert ended.reason.endswith("reads 'x' from w.txt, and gateways do not see the store")
    assert world.specs() == {1}
