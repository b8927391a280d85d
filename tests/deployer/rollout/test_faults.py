"""Rollouts under faults: whatever happens between whichever two writes, the release ends where it can be trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, Killed, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.domain.rollout import Event, OnFail, Phase, Policy, Rollout, RolloutRequest
from deployer.errors import TargetError, UsageError
from deployer.rollout.facts import VersionFacts
from deployer.rollout.proof import Clock
from deployer.targets.history import FileHistory


def run(world: World, request: RolloutRequest = REQUEST) -> Rollout:
    """Start, and resume after every kill, as a person would."""
    begun = False
    while True:
        try:
            return world.rollouts().resume() if begun else world.rollouts().start(request)
        except Killed:
            begun = True
        except TargetError:
            if (last := world.histories.read(MODEL).rollout) is None or last.open:
                raise
            return last  # killed after the last record: it is over


def test_a_good_version_is_promoted(tmp_path: Path) -> None:
    world = World(tmp_path)
    done = world.rollouts().start(REQUEST)
    assert (done.phase, done.outcome) == (Phase.HEALTHY, "promoted")
    assert world.state().labels == {"stable": 2}
    assert world.state().versions == (2,)
    assert world.state().weights == {"stable": 100}
    assert world.release.broken_rules == []
    assert world.release.in_line
    assert world.all_replicas_serve_all_labels()


def test_a_version_that_fails_is_rolled_back_at_its_first_share(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(canary_failures=0.5))
    done = world.rollouts().start(REQUEST)
    assert (done.outcome, done.gate_failed) == ("aborted", True)
    assert "error_rate<5%: fail" in done.reason
    assert world.state() == done.base
    assert "shift 50 %: begun recorded" not in world.points


def test_too_little_traffic_pauses_and_a_person_may_promote(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(traffic=10))
    done = world.rollouts().start(REQUEST)
    assert done.phase is Phase.PAUSED
    assert "20 needed" in done.reason
    assert world.state().weights["canary"] == 5
    assert world.release.in_line, "what is in force while a rollout rests survives a `helm upgrade`"
    assert world.rollouts().promote().outcome == "promoted"
    assert f"{MODEL} judge 5 % (7 of 12): promote by ada (process 1)" in world.said


def test_a_version_that_does_not_load_is_rolled_back_before_any_traffic(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release.unloadable = {2}
    done = world.rollouts().start(REQUEST)
    assert done.outcome == "aborted"
    assert "replica-0: version 2 failed to load: no graph" in done.reason
    assert "canary" not in world.release.counts
    assert world.state() == done.base


def test_a_version_that_ends_its_server_ends_one_only(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(3))
    world.release.deadly = {2}
    done = world.rollouts().start(REQUEST)
    assert done.outcome == "aborted", done.reason
    assert "load: replica-0: its server has ended: OOMKilled (exit code 137)" in done.reason
    assert [server.ends > 0 for server in world.release.servers] == [True, False, False]
    assert world.state() == done.base
    world.settle()
    assert world.all_replicas_serve_all_labels()


def test_a_version_whose_first_request_crashes_the_server_gets_one_request(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(3))
    world.release.deadly_answers = {2}
    done = world.rollouts().start(REQUEST)
    assert (done.outcome, done.gate_failed) == ("aborted", True)
    assert "smoke: fail (replica-0: its server has ended: OOMKilled (exit code 137))" in done.reason
    assert [server.ends for server in world.release.servers] == [1, 0, 0]
    assert "canary" not in world.release.counts


def test_a_replica_that_was_told_too_early_is_told_again(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(3))
    world.release.deaf_to_touches = 1
    began = world.release.now()
    assert world.rollouts().start(replace(REQUEST, timeout=20)).outcome == "promoted"
    assert world.release.now() - began < 20, "nobody waited until it looked by itself, which takes a minute"


def test_a_replica_that_leaves_while_it_is_asked_says_nothing_about_the_version(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(3))
    world.release.terminating = {"replica-0"}
    assert world.rollouts().start(REQUEST).outcome == "promoted"
    assert [server.alive for server in world.release.servers] == [False, True, True]


def test_on_fail_pause_leaves_the_share_as_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(canary_failures=0.5))
    request = RolloutRequest(to=2, shares=(5,), soak=2, gates=("error_rate<5%",), on_fail=OnFail.PAUSE)
    assert world.rollouts().start(request).phase is Phase.PAUSED
    assert world.state().weights["canary"] == 5
    assert world.rollouts().abort().outcome == "aborted"
    assert world.state().labels == {"stable": 1}


def test_an_edit_by_hand_is_named_and_abort_overrides_it(tmp_path: Path) -> None:
    world = World(tmp_path, at={12: "edit_by_hand"})
    done = world.rollouts().start(REQUEST)
    assert done.phase is Phase.PAUSED
    assert "changed by somebody else: weight of" in done.reason
    assert world.rollouts().resume().phase is Phase.PAUSED
    assert world.rollouts().abort().outcome == "aborted"
    assert world.state() == done.base


def test_rollback_after_promotion_loads_what_it_needs(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.rollouts().start(REQUEST)
    done = world.rollouts().rollback()
    assert done.outcome == "rolled back"
    assert world.state().labels == {"stable": 1}
    assert world.release.broken_rules == []


def test_a_second_deployer_is_rejected_and_the_first_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.histories.locked("ada (process 1)"), pytest.raises(TargetError, match=r"ada \(process 1\) is working"):
        World(tmp_path).rollouts().start(REQUEST)


def test_a_second_rollout_waits_for_the_open_one(tmp_path: Path) -> None:
    world = World(tmp_path, FakeRelease(traffic=10))
    world.rollouts().start(REQUEST)
    with pytest.raises(TargetError, match="version 2 is Paused"):
        world.rollouts().start(REQUEST)


def test_an_order_to_a_deployer_that_dies_is_carried_out_by_who_gave_it(tmp_path: Path) -> None:
    world = World(tmp_path, at={20: "kill the deployer"})
    with pytest.raises(Killed):
        world.rollouts().start(REQUEST)
    dying = FileHistory(tmp_path).locked("bob")
    dying.__enter__()

    def sleep(seconds: float) -> None:
        if world.histories.holder() == "bob":
            dying.__exit__(None, None, None)
        world.release.sleep(seconds)

    verbs = replace(world.rollouts(), clock=Clock(now=world.release.now, sleep=sleep))
    done = verbs.abort()
    assert done.outcome == "aborted"
    assert world.state() == done.base


def test_two_versions_that_do_not_fit_in_memory_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release.memory = {"replica-0": 300 * 2**20, "replica-1": 420 * 2**20}
    world.release.memory_limit = 640 * 2**20
    before = world.release.model_config(), world.release.gateway_config()
    tight = VersionFacts(size=160 * 2**20, parity=0.0, memory_limit=10**12)
    done = replace(world.rollouts(), facts=lambda version: tight).start(REQUEST)
    assert done.outcome == "aborted"
    numbers = "420 Mi in use + 1.5 × 160 Mi to load the version, limit 640 Mi"
    assert f"two versions fit in memory: fail ({numbers})" in done.reason
    assert (world.release.model_config(), world.release.gateway_config()) == before


@pytest.mark.parametrize("gates", [("speed<3",), ("accuracy>=0.9",)])
def test_a_gate_that_cannot_be_judged_is_refused_at_once(tmp_path: Path, gates: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="gate"):
        World(tmp_path).rollouts().start(RolloutRequest(to=2, gates=gates))


def points_of_a_good_rollout(directory: Path) -> int:
    world = World(directory)
    world.rollouts().start(REQUEST)
    assert world.points[-1] == "unload: proven recorded"
    return len(world.points)


def test_killed_at_any_point_and_resumed_it_is_promoted(tmp_path: Path) -> None:
    for point in range(1, points_of_a_good_rollout(tmp_path / "whole") + 1):
        world = World(tmp_path / str(point), at={point: "kill the deployer"})
        done = run(world)
        assert (done.outcome, world.state().labels, world.state().versions) == ("promoted", {"stable": 2}, (2,)), point
        assert world.release.broken_rules == [], point
        assert world.release.in_line, point


def test_killed_at_any_point_and_aborted_it_is_as_before(tmp_path: Path) -> None:
    for point in range(2, points_of_a_good_rollout(tmp_path / "whole")):
        world = World(tmp_path / str(point), at={point: "kill the deployer"})
        with pytest.raises(Killed):
            world.rollouts().start(REQUEST)
        done = world.rollouts().abort()
        assert done.outcome == "aborted", point
        assert world.state() == done.base, point
        assert world.release.broken_rules == [], point
        assert world.release.in_line, point
        assert world.all_replicas_serve_all_labels(), point


def test_who_is_overtaken_looks_again_and_overwrites_nothing(tmp_path: Path) -> None:
    world = World(tmp_path / "harmless")
    world.release.overtakers = [lambda: None, lambda: None]
    assert world.rollouts().start(REQUEST).outcome == "promoted"

    world = World(tmp_path / "edit", FakeRelease(traffic=10))
    world.rollouts().start(REQUEST)
    world.release.overtakers = [world.release.edit_by_hand]
    done = world.rollouts().promote()
    assert done.phase is Phase.PAUSED
    assert "changed by somebody else: weight of canary is 23, not 5" in done.reason
    assert world.state().weights["canary"] == 23


def test_an_order_to_abort_at_any_point_is_followed(tmp_path: Path) -> None:
    for point in range(2, points_of_a_good_rollout(tmp_path / "whole") - 3):
        world = World(tmp_path / str(point), at={point: Event.ABORT})
        done = world.rollouts().start(REQUEST)
        assert (done.outcome, world.state()) == ("aborted", done.base), point
        assert world.release.broken_rules == [], point


def test_a_pause_between_a_write_and_its_proof_is_no_edit_by_hand(tmp_path: Path) -> None:
    calm = World(tmp_path / "calm")
    calm.rollouts().start(REQUEST)
    written = calm.points.index("shift 50 %: written") + 1
    for verb in ("promote", "resume", "abort"):
        world = World(tmp_path / verb, at={written: Event.PAUSE})
        paused = world.rollouts().start(REQUEST)
        assert (paused.phase, world.state().weights["canary"]) == (Phase.PAUSED, 50)
        done = getattr(world.rollouts(), verb)()
        assert done.outcome == ("aborted" if verb == "abort" else "promoted"), done.reason


def test_a_version_that_is_about_to_leave_is_not_taken_for_loaded(tmp_path: Path) -> None:
    calm = World(tmp_path / "calm")
    calm.rollouts().start(REQUEST)
    written = calm.points.index("unload: written") + 1
    world = World(tmp_path / "late", at={written: "kill the deployer"})
    with pytest.raises(Killed):
        world.rollouts().start(REQUEST)
    world.release.lag_behind()
    assert {server.loaded[1] for server in world.release.servers} == {"AVAILABLE"}
    done = world.rollouts().abort()
    assert (done.outcome, world.state()) == ("aborted", done.base), done.reason
    assert world.all_replicas_serve_all_labels()


FAULTS = st.sampled_from(
    [
        *("kill the deployer", "kill_replica", "add_replica", "edit_by_hand", "lag_behind"),
        *(Event.PAUSE, Event.ABORT, Event.PROMOTE),
    ]
)


@given(
    faults=st.dictionaries(st.integers(2, 45), FAULTS, max_size=5),
    failures=st.sampled_from([0.0, 0.5]),
    unloadable=st.booleans(),
    on_fail=st.sampled_from(OnFail),
    policy=st.sampled_from(Policy),
    replicas=st.integers(2, 4),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_interleaving_of_faults_ends_where_it_can_be_trusted(
    tmp_path_factory: pytest.TempPathFactory,
    faults: dict[int, str | Event],
    failures: float,
    unloadable: bool,
    on_fail: OnFail,
    policy: Policy,
    replicas: int,
) -> None:
    release = FakeRelease(replicas, canary_failures=failures)
    release.unloadable = {2} if unloadable else set()
    world = World(tmp_path_factory.mktemp("world"), release, faults)
    request = replace(REQUEST, timeout=10, min_samples=50, on_fail=on_fail, policy=policy)
    done = run(world, request)
    assert done.phase in (Phase.HEALTHY, Phase.PAUSED, Phase.DEGRADED)
    assert world.release.broken_rules == []
    edited_after_the_end = faults.get(len(world.points)) == "edit_by_hand"  # no step follows that could see it
    world.at.clear()
    world.settle()
    if done.phase is Phase.HEALTHY and done.outcome == "promoted":
        assert world.state().labels == {"stable": 2}
        assert not unloadable
    elif done.phase is not Phase.HEALTHY:
        back = world.rollouts().abort()
        assert back.outcome == "aborted"
        assert world.state() == back.base
    world.settle()
    assert world.release.in_line or edited_after_the_end
    assert world.all_replicas_serve_all_labels()
    assert world.release.broken_rules == []


def test_the_abort_path_does_not_read_the_store(tmp_path: Path) -> None:
    world = World(tmp_path)
    begun = world.rollouts().start(replace(REQUEST, gates=("p99<1us",), on_fail=OnFail.PAUSE))
    assert begun.phase is Phase.PAUSED, begun

    def unreachable(version: int) -> VersionFacts:
        raise TargetError(f"no store to ask for version {version}")

    without_store = replace(world.rollouts(), facts=unreachable)
    assert without_store.abort().outcome == "aborted"


@pytest.mark.parametrize(
    ("gates", "shares"), [((), (5.0,)), (("size<500MB", "samples>=10"), (5.0,)), (("error_rate<1%",), (0.0,))]
)
def test_without_a_gate_on_its_traffic_a_version_is_not_promoted_by_accident(
    tmp_path: Path, gates: tuple[str, ...], shares: tuple[float, ...]
) -> None:
    world = World(tmp_path)
    with pytest.raises(UsageError, match="no gate would judge") as refused:
        world.rollouts().start(RolloutRequest(to=2, gates=gates, shares=shares))
    assert "--no-gates" in refused.value.hint
    assert world.state().labels == {"stable": 1}


def test_what_no_gate_judged_is_never_called_passed(tmp_path: Path) -> None:
    world = World(tmp_path)
    done = world.rollouts().start(replace(REQUEST, gates=(), no_gates=True))
    assert done.outcome == "promoted"
    entries = world.release.histories.read(done.model).entries
    events = [entry.event for entry in entries if entry.step.startswith("forward: judge")]
    assert "not judged" in events
    assert not any("pass" in event for event in events)
    assert "without gates" in entries[0].text
