"""Both places where ledgers are kept make the same promises."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from eventually import eventually
from fake_api import FakeApi

from deployer.domain.history import ENTRIES, PAST, Entry, History
from deployer.domain.rollout import Course, Event, Phase, Rollout, RolloutRequest
from deployer.domain.serving import ModelState
from deployer.errors import TargetError
from deployer.targets.base import WriteConflict
from deployer.targets.cluster.history import lease as cluster_lease
from deployer.targets.cluster.history.configmaps import ConfigMapHistory
from deployer.targets.cluster.history.lease import LEASE_SECONDS, PROCESS
from deployer.targets.cluster.live_config import LiveConfig, as_helm_writes
from deployer.targets.history import FileHistory, HistoryStore, identity
from deployer.tools import process_mark


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 2
        return self.now


@pytest.fixture(autouse=True)
def keen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed so often that a test need not wait."""
    monkeypatch.setattr(cluster_lease, "RENEW_SECONDS", 0.01)


def in_a_cluster(fake: FakeApi, clock: Clock) -> ConfigMapHistory:
    api = fake.server()
    return ConfigMapHistory(api, namespace="ns", release="r", clock=clock, ticks=clock, sleep=lambda _: time.sleep(0.2))


Two = tuple[HistoryStore, HistoryStore]


@pytest.fixture(params=["file", "configmap"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Two:
    """The same ledgers, as two deployers see them."""
    if request.param == "file":
        return FileHistory(tmp_path), FileHistory(tmp_path)
    fake, clock = FakeApi(), Clock()
    return in_a_cluster(fake, clock), in_a_cluster(fake, clock)


STATE = ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})
ROLLOUT = Rollout(
    id="x",
    model="M_1",
    base=STATE,
    left=STATE,
    request=RolloutRequest(to=2),
    who="ada",
    started=1.5,
    course=Course.ABORT,
)


def entry(number: int) -> Entry:
    return Entry(at=float(number), who="ada", step="load", event="begun")


def test_what_is_written_is_read(two: Two) -> None:
    one, other = two
    assert one.read("M_1") == History()
    history = History().start(ROLLOUT).record(replace(ROLLOUT, phase=Phase.PAUSED, reason="why"), entry(1))
    one.write("M_1", history)
    assert other.read("M_1") == history
    assert other.read("another") == History()


def test_one_at_a_time_and_the_second_names_the_first(two: Two) -> None:
    one, other = two
    assert other.holder() == ""
    with one.locked("ada on host (process 7)"):
        assert other.holder() == "ada on host (process 7)"
        with pytest.raises(TargetError, match=r"ada on host \(process 7\) is working"), other.locked("bob"):
            pass
    with other.locked("bob"):
        assert one.holder() == "bob"


def test_commands_reach_the_running_deployer_once(two: Two) -> None:
    one, other = two
    one.write("M_1", History())
    assert one.take_command("M_1") is None
    other.send_command("M_1", Event.PAUSE)
    other.send_command("M_1", Event.ABORT)
    assert one.take_command("M_1") is Event.ABORT
    assert one.take_command("M_1") is None


def test_a_lease_of_a_deployer_that_was_killed_is_waited_for() -> None:
    fake, clock = FakeApi(), Clock()
    histories = in_a_cluster(fake, clock)
    histories.lease.acquire("ada")  # and nobody renews it
    assert histories.holder() == "ada"
    acquired = clock.now
    with histories.locked("bob"):
        assert histories.holder() == "bob"
    assert clock.now - acquired > LEASE_SECONDS


@pytest.mark.parametrize("ahead", [-3600, -9, 9, 3600])
def test_a_lease_that_is_renewed_is_never_taken_by_a_deployer_whose_clock_differs(ahead: int) -> None:
    fake, clock = FakeApi(), Clock()
    api = fake.server()
    other = ConfigMapHistory(
        api, namespace="ns", release="r", clock=lambda: clock() + ahead, ticks=clock, sleep=lambda _: time.sleep(0.2)
    )
    with in_a_cluster(fake, clock).locked("ada"):
        assert other.holder() == "ada"
        with pytest.raises(TargetError, match="ada is working on this release"), other.locked("bob"):
            pass


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_dead_deployer_is_found_dead_whatever_its_clock_said(ahead: int) -> None:
    fake, clock = FakeApi(), Clock()
    api = fake.server()
    ConfigMapHistory(api, namespace="ns", release="r", clock=lambda: clock() + ahead).lease.acquire("ada")
    other = in_a_cluster(fake, clock)
    looks = 0
    while other.holder():
        looks += 1
        assert looks < 2 * LEASE_SECONDS, "still at work, they say"
    with other.locked("bob"):
        assert other.holder() == "bob"


def test_who_has_lost_the_lease_records_nothing_and_leaves_it_to_the_other() -> None:
    fake, clock = FakeApi(), Clock()
    late, other = in_a_cluster(fake, clock), in_a_cluster(fake, clock)
    with late.locked("ada"):
        late.write("M_1", History().start(ROLLOUT))
        (lease,) = [known for path, known in fake.objects.items() if "leases" in path]
        lease["spec"]["holderIdentity"] = "bob"  # who came when the lease had run out
        eventually(late.lease._lost.is_set, "the loss is noticed")
        with pytest.raises(TargetError, match="expired"):
            late.write("M_1", History())
        with pytest.raises(TargetError, match="expired"):
            late.take_command("M_1")
    assert lease["spec"]["holderIdentity"] == "bob"
    assert other.read("M_1").open == ROLLOUT


def in_force(fake: FakeApi, text: str) -> LiveConfig:
    """A ConfigMap `c` with this text, as a deployer sees it."""
    fake._put("/api/v1/namespaces/ns/configmaps/c", {"metadata": {"name": "c"}, "data": {"k": text}})
    return LiveConfig(fake.server(), namespace="ns", name="c", key="k")


def test_what_a_suspended_deployer_was_about_to_write_is_refused_once_another_one_has_taken_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_lease, "RENEW_SECONDS", 1000)  # as long as it is suspended
    fake, clock = FakeApi(), Clock()
    late = in_a_cluster(fake, clock)
    api = fake.server()
    other = ConfigMapHistory(
        api, namespace="ns", release="r", fences=("c", "absent"), clock=clock, ticks=clock, sleep=lambda _: None
    )
    live = in_force(fake, "old")
    with late.locked("ada"):
        late.write("M_1", History().start(ROLLOUT))
        assert live.read() == "old"
        late.assert_held()
        # Here it is suspended, for longer than its lease lasts.
        with other.locked("bob"):
            with pytest.raises(WriteConflict, match="ConfigMap c was changed"):
                live.write("stale")
            with pytest.raises(TargetError, match="expired"):
                late.assert_held()
            with pytest.raises(TargetError, match="expired"):
                late.write("M_1", History())
            assert other.read("M_1").open == ROLLOUT
    assert live.read() == "old"


def test_an_edit_between_look_and_write_is_not_overwritten() -> None:
    fake = FakeApi()
    live = in_force(fake, "old")
    assert live.read() == "old"
    in_force(fake, "by hand")
    with pytest.raises(WriteConflict):
        live.write("new")
    assert live.read() == "by hand"
    live.write("new")
    live.write("newer")
    assert live.read() == "newer"
    live.write("newest")
    in_force(fake, "by hand")
    with pytest.raises(WriteConflict):
        live.write("latest")


def test_an_order_that_arrives_while_the_ledger_is_written_is_kept() -> None:
    fake, clock = FakeApi(), Clock()
    one, other = in_a_cluster(fake, clock), in_a_cluster(fake, clock)
    with one.locked("ada"):
        one.write("M_1", History().start(ROLLOUT))
        history = one.read("M_1")
        other.send_command("M_1", Event.PAUSE)
        one.write("M_1", history.record(ROLLOUT, entry(1)))
        assert other.read("M_1").entries == (entry(1),)
        assert one.take_command("M_1") is Event.PAUSE


def test_a_ledger_that_another_one_has_written_is_not_overwritten() -> None:
    fake, clock = FakeApi(), Clock()
    one, other = in_a_cluster(fake, clock), in_a_cluster(fake, clock)
    one.write("M_1", History().start(ROLLOUT))
    stale = one.read("M_1")
    other.write("M_1", other.read("M_1").record(ROLLOUT, entry(7)))
    with pytest.raises(TargetError, match="expired"):
        one.write("M_1", stale.record(ROLLOUT, entry(1)))
    assert other.read("M_1").entries == (entry(7),)


def test_gateway_settings_are_written_in_the_form_of_the_chart() -> None:
    """As `toYaml` of Helm has it, so that an upgrade to the same values changes no byte."""
    text = "version: v1\nmodels: {m: {specs: {'1': {labels: ['0', a, 'yes', 'x: y', '']}}, weight: 47.5}}\n"
    assert as_helm_writes(text) == (
        'models:\n  m:\n    specs:\n      "1":\n        labels:\n        - "0"\n        - a\n        - "yes"\n'
        "        - 'x: y'\n        - \"\"\n    weight: 47.5\nversion: v1\n"
    )


def test_a_text_that_helm_has_taken_over_belongs_to_helm_alone() -> None:
    fake = FakeApi()
    live = in_force(fake, "t")
    (held,) = fake.objects.values()
    owners: list[dict[str, object]] = [
        {"manager": name, "fieldsV1": {"f:data": {}}} for name in ("helm", "tfserving-deployer")
    ]
    held["metadata"]["managedFields"] = owners
    live.disown()
    (held,) = fake.objects.values()
    assert [owner["manager"] for owner in held["metadata"]["managedFields"]] == ["helm"]


def test_a_ledger_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"rollout": 7}')
    with pytest.raises(TargetError, match="not a rollout history"):
        FileHistory(tmp_path).read("m")


def test_a_ledger_stays_small() -> None:
    history = History().start(ROLLOUT)
    for number in range(ENTRIES + 7):
        history = history.record(ROLLOUT, entry(number))
    assert (len(history.entries), history.dropped) == (ENTRIES, 7)
    for _ in range(PAST + 5):
        history = history.record(replace(ROLLOUT, phase=Phase.HEALTHY), entry(0)).start(ROLLOUT)
    assert len(history.past) == PAST
    with pytest.raises(ValueError, match="is open"):
        history.start(ROLLOUT)


MARK = "from deployer.tools import process_mark; print(process_mark.own(), flush=True); input()"


def test_a_deployer_that_was_killed_on_this_machine_is_out_of_the_way_at_once() -> None:
    api, clock = FakeApi().server(), Clock()
    histories = ConfigMapHistory(api, namespace="ns", release="r", clock=lambda: clock.now)
    with subprocess.Popen([sys.executable, "-c", MARK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        mark = child.stdout.readline().decode().strip()
        histories.lease.acquire("ada")
        api.patch(histories.lease._path, {"metadata": {"annotations": {PROCESS: mark}}})
        assert histories.holder() == "ada"
        child.kill()
    assert histories.holder() == ""
    with histories.locked("bob"):
        assert histories.holder() == "bob"


@pytest.mark.parametrize("mark", ["", "nonsense", "another-boot pid:[1] 1 1"])
def test_a_process_that_cannot_be_seen_from_here_has_not_ended(mark: str) -> None:
    assert not process_mark.has_ended(mark)


def test_a_number_that_came_round_again_is_another_process() -> None:
    where, number, _ = process_mark.own().rsplit(" ", 2)
    assert process_mark.has_ended(f"{where} {number} 1")


def test_a_deployer_whose_user_has_no_name_still_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pod, which may run as a user that its image does not list."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", nobody)

    assert identity().startswith(f"user {os.getuid()} on ")
