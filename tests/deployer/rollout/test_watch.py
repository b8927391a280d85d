"""Another process waits for a rollout: what it says, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, Killed, World

from deployer.domain.history import History
from deployer.domain.rollout import Event, OnFail, Phase
from deployer.errors import TargetError, WaitTimeout
from deployer.rollout.proof import Clock
from deployer.rollout.status import exit_code
from deployer.rollout.watch import Watched, watch
from deployer.targets.history import FileHistory


class Recorded(FileHistory):
    """A history that another process writes: each look sees the next state, and that somebody is at work."""

    def __init__(self, states: list[History], *, worker: str = "bob") -> None:
        super().__init__(Path("/nowhere"))
        self.states = states
        self.worker = worker
        self.broken = 0

    def read(self, model: str) -> History:
        if self.broken:
            self.broken -= 1
            raise TargetError("the API server does not respond")
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def holder(self) -> str:
        return self.worker


def history_of(world: World, start: Callable[[], object]) -> list[History]:
    """Every state that a rollout left in its history."""
    states: list[History] = []
    world.seen_at = lambda _: states.append(world.histories.read(MODEL))
    start()
    return [*states, world.histories.read(MODEL)]


def watched(histories: FileHistory, *, timeout: float = 1000.0) -> tuple[Watched, list[str]]:
    now, said = [0.0], list[str]()

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock = Clock(now=lambda: now[0], sleep=sleep)
    return watch(histories, MODEL, timeout=timeout, clock=clock, progress=said.append), said


def test_each_change_is_a_line_and_it_ends_with_the_rollout(tmp_path: Path) -> None:
    world = World(tmp_path)
    states = history_of(world, lambda: world.rollouts().start(REQUEST))
    found, said = watched(Recorded(states))
    assert (found.rollout.outcome, found.killed, exit_code(found.rollout)) == ("promoted", False, 0)
    assert len(said) == len(set(said)) > 5
    assert said[0].startswith(f"{MODEL} 1 → 2: step 1 of ")
    assert "waiting at most " in said[0]
    assert any("error_rate<5% pass" in line for line in said)


@pytest.mark.parametrize(("on_fail", "phase"), [(OnFail.ABORT, Phase.HEALTHY), (OnFail.PAUSE, Phase.PAUSED)])
def test_a_rollout_that_failed_or_paused_ends_the_wait_with_7(tmp_path: Path, on_fail: OnFail, phase: Phase) -> None:
    world = World(tmp_path, FakeRelease(3, canary_failures=0.5))
    states = history_of(world, lambda: world.rollouts().start(replace(REQUEST, on_fail=on_fail)))
    found, _ = watched(Recorded(states))
    assert (found.rollout.phase, exit_code(found.rollout)) == (phase, 7)


def test_a_deployer_that_was_killed_ends_the_wait(tmp_path: Path) -> None:
    world = World(tmp_path, at={12: "kill the deployer"})
    with pytest.raises(Killed):
        world.rollouts().start(REQUEST)
    found, _ = watched(Recorded([world.histories.read(MODEL)], worker=""))
    assert found.killed
    assert exit_code(found.rollout) == 7


def test_a_wait_has_an_end_that_names_what_was_missing(tmp_path: Path) -> None:
    world = World(tmp_path, at={12: "kill the deployer"})
    with pytest.raises(Killed):
        world.rollouts().start(REQUEST)
    with pytest.raises(WaitTimeout, match="has not ended within 30 s") as late:
        watched(Recorded([world.histories.read(MODEL)]), timeout=30.0)
    assert "step " in late.value.cause


def test_a_history_that_cannot_be_read_for_a_while_is_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.rollouts().start(REQUEST)
    flaky = Recorded([world.histories.read(MODEL)])
    flaky.broken = 20
    found, said = watched(flaky)
    assert found.rollout.outcome == "promoted"
    assert sum("trying again" in line for line in said) == 1
    flaky.broken = 1000
    with pytest.raises(TargetError, match="does not respond"):
        watched(flaky)


def test_without_a_rollout_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="there is no rollout"):
        watched(FileHistory(tmp_path))


def test_an_abort_by_hand_counts_as_not_promoted(tmp_path: Path) -> None:
    world = World(tmp_path, at={12: Event.ABORT})
    states = history_of(world, lambda: world.rollouts().start(REQUEST))
    found, _ = watched(Recorded(states))
    assert (found.rollout.outcome, exit_code(found.rollout)) == ("aborted", 7)
