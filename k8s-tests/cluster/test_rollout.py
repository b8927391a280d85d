"""Rollouts on three pods under continuous load: good and bad versions, dead deployers and pods, and edits by hand.

No request may fail in any of them. The load comes from inside the cluster; the deployer is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from under_load import Release, served_throughout, until
from variants import altered, cut, large, unreadable

from deployer.export.samples import SAMPLES
from deployer.targets.cluster import ClusterTarget
from deployer.targets.cluster_api import pod_path
from deployer.targets.cluster_names import MODEL_SERVER
from deployer.usecases import observe, rollout_files

ERRS, CORRUPT, LARGE, WRONG = 4, 5, 6, 7
GATES = ("--gate", "error_rate<5%", "--gate", "p99<5s", "--min-samples", "20", "--timeout", "60s")


@dataclass(frozen=True, kw_only=True)
class Rolling:
    """A release with version 1 of `digits` stable on three pods, and every other version in its claim."""

    release: Release
    deployer: Callable[..., Any]
    where: tuple[str, ...]
    kubeconfig: str

    @property
    def target(self) -> ClusterTarget:
        return self.release.target

    @property
    def state(self) -> Any:
        """Versions, labels and weights in force."""
        return rollout_files.state(self.target, "digits")

    def rollout(self, verb: str, *options: object) -> Any:
        """`deployer rollout VERB digits …` to its end."""
        return self.deployer("rollout", verb, "digits", *self.where, *options)

    @contextmanager
    def started(self, to: int, *options: object) -> Iterator[subprocess.Popen[bytes]]:
        """A rollout that is under way, with canary at half of the traffic for a minute."""
        steps = ("--steps", "50", "--soak", "60s", *GATES)
        argv = ("rollout", "start", "digits", "--to", to, *steps, *self.where, "-q", *options)
        process = subprocess.Popen(
            [sys.executable, "-m", "deployer.cli.__main__", *map(str, argv)],
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
            stdout=subprocess.DEVNULL,
        )
        try:
            until(lambda: self.state.weights.get("canary") == 50 or process.poll(), "traffic for canary", seconds=90)
            assert process.poll() is None, "the rollout has ended already"
            yield process
        finally:
            process.kill()
            process.wait()

    def proven(self) -> None:
        """Fails unless every pod and gateway is as configured."""
        status = self.deployer("status", *self.where).result
        assert status["healthy"], status["lacks"]


@pytest.fixture(scope="module")
def rolling(
    cluster: Any,
    deployer: Any,
    digits: Any,
    new_namespace: Any,
    claim_of: Callable[..., str],
    describe: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Rolling:
    namespace, store = new_namespace("rollout"), tmp_path_factory.mktemp("bad")
    for version, change in ((ERRS, unreadable), (CORRUPT, cut), (LARGE, large)):
        altered(digits.store, store, version, change)
    features = store / "features.yaml"
    SAMPLES["digits"].write_features(features)
    wrong = ("--store", store, "--model", "digits", "--version", WRONG, "--features", features)
    assert deployer("export", "deployer.export.samples:digits_bad", *wrong).code == 0
    claim = claim_of(namespace)
    published = deployer(
        "publish", "digits", "--store", store, "--all", "--to", claim, "--image", cluster.image("gateway")
    )
    assert published.code == 0, published.stderr
    file = describe(claim, replicas=3, gateways=2, cpu="50m")
    file.write_text(file.read_text().replace("replicas: 3\n", "replicas: 3\n  max_load_retries: 0\n"))
    done = deployer("deploy", "-f", file, "--version", "digits=1")
    assert done.code == 0, done.stderr
    target = ClusterTarget.open("demo", cluster.place(namespace))
    return Rolling(
        release=Release(target=target, image=cluster.image("deployer"), records=digits.records),
        deployer=deployer,
        where=("-f", str(file), "--target", "cluster"),
        kubeconfig=cluster.kubeconfig,
    )


@contextmanager
def last_answers(target: ClusterTarget) -> Iterator[dict[str, float]]:
    """When each label was last seen to have answered, by the gateways' own counters."""
    seen: dict[str, float] = {}
    counts: dict[str, int] = {}
    over = threading.Event()
    began = observe.read(target, "digits")

    def work() -> None:
        while not over.wait(0.1):
            for label, window in observe.between(began, observe.read(target, "digits")).labels.items():
                if window.answers > counts.get(label, 0):
                    counts[label], seen[label] = window.answers, time.monotonic()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_good_version_goes_to_the_end_and_a_rollback_is_a_matter_of_seconds(
    rolling: Rolling, record_property: Callable[[str, object], None]
) -> None:
    with rolling.release.load(45) as load:
        promoted = rolling.rollout("start", "--to", 2, "--steps", "20,60", "--soak", "3s", *GATES, "--keep-previous")
        assert promoted.result["outcome"] == "promoted"
        assert rolling.state.labels == {"stable": 2}
        began = time.monotonic()
        back = rolling.deployer("rollback", "digits", *rolling.where)
        record_property("seconds_from_Enter_to_a_rollback_proven_on_3_pods_and_2_gateways", time.monotonic() - began)
        assert back.result["outcome"] == "rolled back"
        assert rolling.state.labels == {"stable": 1}
        rolling.proven()
    served_throughout(load)


def test_an_aborted_canary_answers_nothing_within_seconds(
    rolling: Rolling, record_property: Callable[[str, object], None]
) -> None:
    with rolling.release.load(30) as load, rolling.started(2):
        with last_answers(rolling.target) as seen:
            until(lambda: "canary" in seen, "an answer of canary", seconds=20)
            began = time.monotonic()
            assert rolling.deployer("rollback", "digits", *rolling.where).result["outcome"] == "aborted"
            record_property("seconds_from_Enter_to_the_last_answer_of_an_aborted_version", seen["canary"] - began)
        assert "canary" not in rolling.state.labels
    served_throughout(load)


def test_bad_versions_are_taken_back(rolling: Rolling) -> None:
    """Each for its own reason, named in the outcome; version 1 goes on answering."""
    before = rolling.state
    labelled = ("--labelled", rolling.release.records)
    quick = ("--steps", "50", "--soak", "3s", *GATES)
    bad = {
        ERRS: ((), "error_rate<5%: fail"),
        CORRUPT: ((), f"version {CORRUPT} failed to load"),
        LARGE: ((), "limit 640 Mi"),
        WRONG: (("--gate", "accuracy>=0.9", *labelled), "accuracy>=0.9: fail"),
    }
    with rolling.release.load(75) as load:
        for version, (options, why) in bad.items():
            found = rolling.rollout("start", "--to", version, *quick, *options)
            assert (found.code, found.document["result"]["outcome"]) == (7, "aborted"), (version, found.document)
            assert why in found.document["result"]["rollout"]["reason"]
            assert rolling.state == before
        mirrored = ("--steps", "0", "--soak", "4s", "--gate", "disagreement<30%", "--min-samples", "20")
        found = rolling.rollout("start", "--to", WRONG, *mirrored)
        assert "disagreement<30%: fail" in found.document["result"]["rollout"]["reason"]
        assert rolling.state == before
    served_throughout(load)


def test_a_killed_deployer_a_dead_pod_and_a_new_one_do_not_stop_a_rollout(rolling: Rolling) -> None:
    target = rolling.target
    with rolling.release.load(70) as load:
        with rolling.started(2) as first:
            second = rolling.rollout("start", "--to", 2, *GATES)
            assert second.code == 6
            assert f"process {first.pid}" in second.error["message"]
        status = rolling.rollout("status").document["result"]
        assert status["phase"] == "Progressing"
        victim = target.pods(MODEL_SERVER)[0].name
        target.api.call("DELETE", pod_path(target.place.namespace, victim), query={"gracePeriodSeconds": "0"})
        target.scaling.to(4)
        promoted = rolling.rollout("promote")
        assert promoted.result["outcome"] == "promoted"
        assert rolling.state.labels == {"stable": 2}
        until(lambda: sum(pod.ready for pod in target.pods(MODEL_SERVER)) == 4, "four pods", seconds=90)
        rolling.proven()
    served_throughout(load)
    target.scaling.to(3)


def test_an_edit_by_hand_is_named_and_a_paused_rollout_can_go_on_or_back(rolling: Rolling) -> None:
    before, target = rolling.state, rolling.target
    other = 1 if before.labels["stable"] == 2 else 2
    with rolling.release.load(45) as load:
        with rolling.started(other) as first:
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
    served_throughout(load)
    events = [entry["event"] for entry in rolling.rollout("history").result["entries"]]
    assert {"pause", "drifted", "abort"} <= set(events)
