"""Recorded states of pods as text for users. The records are responses of an API server, shortened."""

from __future__ import annotations

import json

import msgspec
import pytest

from deployer.targets.cluster.objects import Deployment, Event, Pod
from deployer.targets.cluster.state.view import crashed, ends, explain, last_end, pod_problem

READY = [{"type": "Ready", "status": "True"}]


def pod(status: dict[str, object], name: str = "demo-tf-serving-abc") -> Pod:
    meta = {"name": name, "namespace": "demo", "uid": f"uid-{name}", "creationTimestamp": "2026-11-22T07:00:00Z"}
    return msgspec.json.decode(json.dumps({"kind": "Pod", "metadata": meta, "status": status}), type=Pod)


def container(**fields: object) -> list[dict[str, object]]:
    return [{"name": "model-server", "ready": False, "restartCount": 0, "image": "x", **fields}]


PULL = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x:1"'}}
CRASH = {
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
    "lastState": {"terminated": {"exitCode": 255, "reason": "Error"}},
    "restartCount": 3,
}
KILLED = {
    "state": {"running": {"startedAt": "2026-11-22T07:00:00Z"}},
    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    "restartCount": 1,
}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param({"phase": "Running", "conditions": READY}, "", id="ready"),
        pytest.param(
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: Insufficient cpu."}
                ],
            },
            "it cannot be scheduled: 0/1 nodes are available: Insufficient cpu.",
            id="unschedulable",
        ),
        pytest.param(
            {"phase": "Pending", "containerStatuses": container(state=PULL)},
            'container model-server is waiting: ImagePullBackOff: Back-off pulling image "x:1"',
            id="image",
        ),
        pytest.param(
            {"phase": "Pending", "containerStatuses": container(state={"waiting": {"reason": "ContainerCreating"}})},
            "",
            id="creating",
        ),
        pytest.param(
            {"phase": "Running", "containerStatuses": container(**CRASH)},
            "container model-server is waiting: CrashLoopBackOff; before: Error (exit code 255), restarted 3 times",
            id="crash",
        ),
        pytest.param(
            {"phase": "Running", "containerStatuses": container(**KILLED)},
            "container model-server is not ready; before: OOMKilled (exit code 137), restarted 1 times",
            id="killed",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
            "it has ended: Evicted: The node was low on resource: memory.",
            id="evicted",
        ),
    ],
)
def test_the_problem_of_a_pod(status: dict[str, object], said: str) -> None:
    assert pod_problem(pod(status)) == said


def test_only_a_container_that_has_not_come_back_counts_as_crashed() -> None:
    back = container(**KILLED)
    back[0]["ready"] = True

    assert crashed(pod({"phase": "Running", "containerStatuses": container(**KILLED)})) == "model-server"
    assert crashed(pod({"phase": "Running", "containerStatuses": back})) == ""


def event(about: Pod, when: str, message: str, kind: str = "Warning") -> Event:
    content = {
        "involvedObject": {"kind": "Pod", "name": about.name, "uid": about.metadata.uid},
        "type": kind,
        "reason": "FailedMount",
        "message": message,
        "lastTimestamp": when,
        "eventTime": None,
    }
    return msgspec.json.decode(json.dumps(content), type=Event)


def test_an_explanation_names_each_pod_that_is_not_ready_and_its_latest_warning() -> None:
    well, sick, young = (
        pod({"phase": "Running", "conditions": READY}, "a"),
        pod({"phase": "Pending"}, "b"),
        pod({"phase": "Pending"}, "c"),
    )
    events = [
        event(sick, "2026-11-22T07:00:09Z", "configmap not found"),
        event(sick, "2026-11-22T07:00:01Z", "older"),
        event(sick, "2026-11-22T07:00:20Z", "not a warning", kind="Normal"),
    ]

    assert explain([well, sick, young], events).splitlines() == [
        "b: event FailedMount: configmap not found",
        "c: it is starting; no problem so far",
    ]


@pytest.mark.parametrize(
    ("observed", "updated", "total", "settled"),
    [(2, 3, 3, True), (1, 3, 3, False), (2, 2, 3, False), (2, 3, 4, False)],
    ids=["done", "not yet seen", "old pods are left", "one too many"],
)
def test_a_deployment_is_settled_when_only_new_pods_are_left(
    observed: int, updated: int, total: int, settled: bool
) -> None:
    content = {
        "metadata": {"name": "demo", "generation": 2},
        "spec": {"replicas": 3},
        "status": {"observedGeneration": observed, "updatedReplicas": updated, "replicas": total},
    }

    assert msgspec.json.decode(json.dumps(content), type=Deployment).settled is settled


@pytest.mark.parametrize(
    ("state", "number", "how"),
    [
        ({"state": {"running": {}}}, 0, ""),
        (KILLED, 1, "OOMKilled (exit code 137)"),
        ({"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}, 1, "OOMKilled (exit code 137)"),
        (CRASH, 4, "Error (exit code 255)"),
    ],
    ids=["running", "back again", "not yet started again", "held back"],
)
def test_an_end_is_counted_before_the_server_is_started_again(state: dict[str, object], number: int, how: str) -> None:
    found = pod({"phase": "Running", "containerStatuses": container(**state)})
    assert (ends(found), last_end(found)) == (number, how)
