"""Rollouts on three pods under continuous load: good and bad versions, dead deployers, pods and gateways, edits.

No request may fail in any of them. The load comes from inside the cluster.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

from eventually import eventually
from rolling import GATES, SUPPORT, Rolling, held_at_once, last_answers
from variants import CORRUPT, DEADLY, ERRS, SLOW, WRONG

from deployer.domain.rollout import Event, Policy, RolloutRequest
from deployer.rollout.facts import VersionFacts
from deployer.targets.cluster.api import pod_path
from deployer.targets.cluster.helm_releases import GATEWAY_CHART, charts_directory
from deployer.targets.cluster.names import GATEWAY, MODEL_SERVER
from deployer.targets.cluster.own_configs import OWN_CONFIG

STEPS = ("teach", "load", "label", "try", "shift 50 %", "judge 50 %", "promote", "settle", "unload")


def test_a_good_version_goes_to_the_end_although_a_gateway_is_replaced_while_a_gate_watches(rolling: Rolling) -> None:
    target, replaced = rolling.target, list[str]()

    def at_point(name: str) -> None:
        if name == "judge 60 %: begun recorded":
            replaced.append(target.pods(GATEWAY)[0].name)
            target.api.delete(pod_path(target.place.namespace, replaced[0]))

    request = RolloutRequest(
        to=2, shares=(20, 60), soak=12, gates=("error_rate<5%", "p99<5s"), min_samples=20, keep_previous=True
    )
    with rolling.load.watched():
        done = rolling.verbs(at_point).start(request)
        assert (done.outcome, len(replaced)) == ("promoted", 1), done.reason
        assert rolling.state.labels == {"stable": 2}
        eventually(lambda: all(pod.ready for pod in target.pods(GATEWAY) if not pod.terminating), "gateways")
        rolling.proven()


def test_a_rollback_loses_no_request_and_its_time_is_recorded(
    rolling: Rolling, record_property: Callable[[str, object], None]
) -> None:
    if rolling.state.versions != (1, 2):  # as the test before leaves it
        assert rolling.rollout("start", "--to", 2, "--steps", "100", "--soak", "0s", "--keep-previous", *GATES).result
    with rolling.load.watched():
        with last_answers(rolling.target) as seen:
            eventually(lambda: 2 in seen, "an answer of version 2")
            began = time.monotonic()
            back = rolling.deployer("rollback", "digits", *rolling.where)
            record_property(
                "seconds_from_Enter_to_a_rollback_proven_by_3_pods_and_2_gateways", time.monotonic() - began
            )
            record_property("seconds_from_Enter_to_the_last_answer_of_a_version_rolled_back", seen[2] - began)
        record_property("journal_of_that_rollback", rolling.journal(time.time() - time.monotonic() + began))
        assert back.result["outcome"] == "rolled back"
        assert rolling.state.labels == {"stable": 1}
        rolling.proven()


def test_an_abort_loses_no_request_and_its_time_is_recorded(
    rolling: Rolling, record_property: Callable[[str, object], None]
) -> None:
    with rolling.load.watched(), rolling.started(2):
        with last_answers(rolling.target) as seen:
            eventually(lambda: "canary" in seen, "an answer of canary")
            began = time.monotonic()
            assert rolling.deployer("rollback", "digits", *rolling.where).result["outcome"] == "aborted"
            record_property("seconds_from_Enter_to_an_abort_proven_on_3_pods_and_2_gateways", time.monotonic() - began)
            record_property("seconds_from_Enter_to_the_last_answer_of_an_aborted_version", seen["canary"] - began)
        record_property("journal_of_that_abort", rolling.journal(time.time() - time.monotonic() + began))
        assert "canary" not in rolling.state.labels
        rolling.proven()


def test_bad_versions_are_rolled_back(rolling: Rolling, record_property: Callable[[str, object], None]) -> None:
    """Each for its own reason, named in the outcome; the good one goes on answering."""
    before = rolling.state
    labelled = ("--labelled", rolling.release.records)
    quick = ("--steps", "50", "--soak", "3s", *GATES)
    bad = {
        ERRS: ((), "error_rate<5%: fail"),
        CORRUPT: ((), f"version {CORRUPT} failed to load"),
        WRONG: (("--gate", "accuracy>=0.9", *labelled), "accuracy>=0.9: fail"),
        SLOW: (("--gate", "p50<50ms"), "p50<50ms: fail"),
    }
    with rolling.load.watched():
        for version, (options, why) in bad.items():
            found = rolling.rollout("start", "--to", version, *quick, *options)
            assert (found.code, found.document["result"]["outcome"]) == (7, "aborted"), (version, found.document)
            assert why in found.document["result"]["rollout"]["reason"]
            assert rolling.state == before
            record_property(f"journal_of_version_{version}", rolling.journal())
        mirrored = ("--steps", "0", "--soak", "4s", "--gate", "disagreement<30%", "--min-samples", "20")
        found = rolling.rollout("start", "--to", WRONG, *mirrored)
        assert "disagreement<30%: fail" in found.document["result"]["rollout"]["reason"]
        assert rolling.state == before


def test_two_versions_that_do_not_fit_are_refused_by_what_pods_use(rolling: Rolling) -> None:
    before, target = rolling.state, rolling.target
    in_force = target.model_config(), target.gateway_config()
    large = VersionFacts(size=600 * 2**20, features=rolling.features)
    done = rolling.verbs(lambda _: None, facts=large).start(RolloutRequest(to=rolling.other, no_gates=True))
    assert (done.outcome, done.gate_failed, rolling.state) == ("aborted", True, before)
    found = re.search(
        r"two versions fit in memory: fail \((\d+) Mi in use \+ 1.5 × 600 Mi .* limit 640 Mi\)", done.reason
    )
    assert found, done.reason
    assert 50 < int(found[1]) < 640, "the working set that the metrics API has"
    assert (target.model_config(), target.gateway_config()) == in_force


def test_a_version_that_kills_its_pod_kills_one_and_is_rolled_back(rolling: Rolling) -> None:
    """It passes every check of size, and is killed for its memory while it is loaded."""
    before = rolling.state
    with rolling.load.watched():
        ends = {replica.name: replica.ends for replica in rolling.target.replicas()}
        found = rolling.rollout("start", "--to", DEADLY, "--steps", "50", "--soak", "1s", *GATES)
        assert (found.code, found.document["result"]["outcome"]) == (7, "aborted"), found.document
        reason = found.document["result"]["rollout"]["reason"]
        assert reason.startswith("load: ")
        assert "its server has ended: OOMKilled" in reason
        now = {replica.name: replica.ends for replica in rolling.target.replicas()}
        assert sum(now[name] > ends[name] for name in ends) == 1, now
        assert rolling.state == before
        eventually(lambda: all(pod.ready for pod in rolling.target.pods(MODEL_SERVER)), "three pods")
        rolling.proven()


def test_a_killed_deployer_a_dead_pod_and_a_new_one_do_not_stop_a_rollout(rolling: Rolling) -> None:
    target, to = rolling.target, rolling.other
    with rolling.load.watched():
        with rolling.started(to) as first:
            assert rolling.deployer("doctor", *rolling.where).result["healthy"]
            second = rolling.rollout("start", "--to", to, *GATES)
            assert second.code == 6
            assert f"process {first.pid}" in second.error["message"]
        status = rolling.rollout("status").document["result"]
        assert status["phase"] == "Progressing"
        findings = rolling.deployer("doctor", *rolling.where).result["diagnosis"]["findings"]
        assert "a rollout of model digits was interrupted" in [finding["cause"] for finding in findings]
        victim = target.pods(MODEL_SERVER)[0].name
        target.api.call("DELETE", pod_path(target.place.namespace, victim), query={"gracePeriodSeconds": "0"})
        target.scaling.to(4)
        promoted = rolling.rollout("promote")
        assert promoted.result["outcome"] == "promoted"
        assert rolling.state.labels == {"stable": to}
        eventually(lambda: sum(pod.ready for pod in target.pods(MODEL_SERVER)) == 4, "four pods", seconds=90)
        rolling.proven()
    target.scaling.to(3)
    eventually(lambda: len(target.pods(MODEL_SERVER)) == 3, "three pods")


def test_a_deployer_that_dies_at_every_point_of_the_journal_is_followed_by_one_that_resumes(
    rolling: Rolling, record_property: Callable[[str, object], None]
) -> None:
    to, script = rolling.other, str(SUPPORT / "mortal.py")
    with rolling.load.watched():
        argv = (sys.executable, script, str(rolling.file), rolling.kubeconfig, str(to))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        record_property("deployers_that_died", len(found["died"]))
        assert found["outcome"] == "promoted"
        for step in STEPS:
            assert f"{step}: begun recorded" in found["died"]
            assert f"{step}: proven recorded" in found["died"]
        for step in ("load", "label", "shift 50 %", "promote", "settle", "unload"):
            assert f"{step}: written" in found["died"]
        assert rolling.state.labels == {"stable": to}
        rolling.proven()


def test_an_order_to_abort_is_followed_in_steps_of_every_kind(rolling: Rolling) -> None:
    """Before traffic, with traffic, after the label has moved, and while the earlier version leaves. Every point of a
    rollout has its turn in tests/deployer/rollout/test_faults.py."""
    before, to = rolling.state, rolling.other
    request = RolloutRequest(to=to, shares=(50,), soak=0.5, timeout=60, no_gates=True)
    with rolling.load.watched():
        other = rolling.verbs(lambda _: None)
        facts = other.facts(to)
        for step in ("load", "shift 50 %", "promote", "unload"):

            def at_point(name: str, step: str = step) -> None:
                if name == f"{step}: begun recorded":
                    other.histories.send_command("digits", Event.ABORT)

            done = rolling.verbs(at_point, facts=facts).start(request)
            assert (done.outcome, rolling.state) == ("aborted", before), (step, done.reason)
        rolling.proven()


def test_an_edit_by_hand_is_named_and_a_paused_rollout_can_go_on_or_back(rolling: Rolling) -> None:
    before, target = rolling.state, rolling.target
    with rolling.load.watched():
        with rolling.started(rolling.other) as first:
            assert rolling.rollout("pause").result["phase"] == "Paused"
            assert first.wait(30) == 7
        path = f"/api/v1/namespaces/{target.place.namespace}/configmaps/{target.names.gateway_config}"
        text = target.gateway_config().replace("canary: 50", "canary: 49")
        target.api.patch(path, {"data": {"gateway.yaml": text}})
        resumed = rolling.rollout("resume")
        assert resumed.code == 7
        assert "weight of canary is 49, not 50" in resumed.document["result"]["rollout"]["reason"]
        assert rolling.rollout("abort").result["outcome"] == "aborted"
        assert rolling.state == before
        rolling.proven()
    events = [entry["event"] for entry in rolling.rollout("history").result["entries"]]
    assert {"pause", "drifted", "abort"} <= set(events)


def test_a_helm_upgrade_by_hand_meets_no_conflict_and_keeps_what_rollouts_moved(rolling: Rolling) -> None:
    target, before = rolling.target, rolling.state
    chart = charts_directory() / GATEWAY_CHART
    argv = ["helm", "upgrade", target.names.gateway, str(chart), "--namespace", target.place.namespace]
    argv += ["--reuse-values", "--set", "config.limits.max_records=777"]
    env = {**os.environ, "KUBECONFIG": rolling.kubeconfig}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "max_records: 777" in target.gateway_config()
    assert rolling.state == before
    target.touch(GATEWAY)
    eventually(lambda: rolling.deployer("status", *rolling.where).code == 0, "gateways that follow")


def test_pods_that_may_hold_one_version_are_deployed_for_it_once(rolling: Rolling) -> None:
    refused = rolling.rollout("start", "--to", rolling.other, "--policy", "resource-preserving", *GATES)
    assert "set serving.rollout_policy: resource-preserving" in refused.error["hint"]
    before = rolling.state
    rolling.set("serving.rollout_policy", "resource-preserving")
    with rolling.load.watched():
        assert rolling.deployer("deploy", "-f", rolling.file).result
        assert rolling.state == before
        rolling.proven()


def test_no_pod_ever_holds_two_versions_where_memory_is_spared(rolling: Rolling) -> None:
    """There, when one pod more is started in the middle, and back; also from a version that cannot be loaded."""
    target, before, to = rolling.target, rolling.state.labels["stable"], rolling.other

    def at_point(name: str) -> None:
        if name == "spread 2: begun recorded":
            target.scaling.to(4)

    request = RolloutRequest(
        to=to, shares=(30,), soak=3, gates=("error_rate<5%",), min_samples=20, policy=Policy.RESOURCES
    )
    with rolling.load.watched(), held_at_once(target) as held:
        done = rolling.verbs(at_point).start(request)
        assert (done.outcome, rolling.state.labels) == ("promoted", {"stable": to}), done.reason
        assert len(target.pods(MODEL_SERVER)) == 4
        rolling.proven()
        broken = rolling.rollout("start", "--to", CORRUPT, "--steps", "30", "--soak", "1s", *GATES)
        assert broken.document["result"]["outcome"] == "aborted", broken.document
        assert rolling.state.labels == {"stable": to}
        assert rolling.deployer("rollback", "digits", *rolling.where).result["outcome"] == "rolled back"
        rolling.proven()
    assert rolling.state.labels == {"stable": before}
    assert {frozenset([to]), frozenset([before])} <= held
    assert max(map(len, held)) == 1, held
    assert {pod.metadata.annotations[OWN_CONFIG] for pod in target.pods(MODEL_SERVER)} == {""}
    assert target.newcomer_config() is None
