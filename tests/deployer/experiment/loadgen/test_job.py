"""The load generator in a cluster: the real agent as a process, behind an API server that keeps one Job."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import pytest
from eventually import eventually
from fake_gateway import Behaviour, FakeGateway

from deployer.domain.pods import Pods
from deployer.errors import SpecError, TargetError, WaitTimeout
from deployer.experiment.loadgen.agent import TOKEN_HEADER
from deployer.experiment.loadgen.plan import ClosedLoop, Plan, Reference
from deployer.experiment.loadgen.remote import RemoteGenerator, load_agent
from deployer.experiment.loadgen.workers import Mark
from deployer.records.endpoint import RecordApi
from deployer.targets.base import HttpReply
from deployer.targets.cluster.agent_job import RUN_LABEL, AgentJob, agent_job, job_manifest, run_id
from deployer.targets.cluster.api import Place, Refused
from deployer.targets.cluster.names import Names
from deployer.targets.cluster.objects import Meta, Pod, PodStatus
from deployer.targets.cluster.target import ClusterTarget

PROGRAM = load_agent("deployer:1", Pods())


def silent(_: str) -> None:
    """Progress that nobody reads."""


@dataclass
class FakeCluster:
    """As much of a `ClusterTarget` and its API server as a Job needs: its pod is a process of this machine."""

    names: Names = field(default_factory=lambda: Names(release="demo"))
    place: Place = field(default_factory=lambda: Place(namespace="ns"))
    process: subprocess.Popen[str] | None = None
    port: int = 0
    deleted: list[dict[str, str]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    lingering: bool = False
    """Whether an earlier Job of this name has been deleted, and its pod, which comes first in a list, not yet."""
    asked: int = 0
    policies: list[dict[str, Any]] = field(default_factory=list)
    forbidden: bool = False
    """Whether nobody here may create a NetworkPolicy."""

    @property
    def api(self) -> FakeCluster:
        return self

    def apply(self, path: str, content: Any) -> None:
        assert path == "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies/demo-load"
        if self.forbidden:
            raise Refused("you may not", code=403, reason="Forbidden")
        self.policies.append(content)

    def create(self, path: str, manifest: Any) -> bytes:
        assert path == "/apis/batch/v1/namespaces/ns/jobs"
        if self.process is not None:
            raise Refused("there is one", code=409, reason="AlreadyExists")
        self.labels = manifest["spec"]["template"]["metadata"]["labels"]
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        _, *command = container["command"]
        command[command.index("$(POD_IP)")] = "127.0.0.1"
        command[command.index("8080")] = "0"
        self.process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return json.dumps({**manifest, "metadata": {**manifest["metadata"], "uid": "uid-1"}}).encode()

    def list(self, path: str, shape: type[Pod], *, labels: str = "") -> tuple[Pod, ...]:
        if path.endswith("/events") or self.process is None:
            return ()
        phase = "Running" if self.process.poll() is None else "Failed"
        pods = [("demo-load-x", phase, self.labels)]
        if self.lingering:
            pods.insert(0, ("demo-load-old", "Running", {**self.labels, RUN_LABEL: "0" * 16}))
        wanted = dict(part.split("=") for part in labels.split(","))
        return tuple(
            Pod(metadata=Meta(name=name), status=PodStatus(phase=phase))
            for name, phase, own in pods
            if wanted.items() <= own.items()
        )

    def call(self, method: str, path: str, *, query: dict[str, str]) -> bytes:
        assert (method, path) == ("DELETE", "/apis/batch/v1/namespaces/ns/jobs/demo-load")
        self.deleted.append(query)
        self.stop()
        return b""

    def proxied(self, method: str, path: str, *, body: bytes | None, headers: dict[str, str], timeout: float) -> Any:
        self.asked += 1
        if "demo-load-old" in path:
            return HttpReply(status=403, body=b"the token of another run")
        inside = path.partition(":8080/proxy")[2]
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{inside}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return HttpReply(status=answer.status, body=answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return HttpReply(status=error.code, body=error.read())
        except OSError as error:
            raise TargetError("nobody answers", cause=str(error)) from error

    def crash_log(self, pod: Pod) -> str:
        return "Killed"

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    fake = FakeCluster()
    yield fake
    fake.stop()


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps({"record": {"x": i}, "expected": str(i % 3)}) + "\n" for i in range(12)))
    return path


@contextmanager
def started(cluster: FakeCluster, *, idle_seconds: int = 60) -> Iterator[RemoteGenerator]:
    program = replace(PROGRAM, idle_seconds=idle_seconds)
    with agent_job(cast(ClusterTarget, cluster), program, timeout=60, progress=silent) as agent:
        yield RemoteGenerator(agent)


def plan(gateway: FakeGateway, records: Path, load: Reference | ClosedLoop, **more: Any) -> Plan:
    target = RecordApi(urls=(gateway.url,), path="/v1/models/m:predict")
    return Plan(target=target, load=load, records=str(records), warmup=0.1, seconds=0.5, **more)


def test_trials_run_beside_the_release_and_their_outcomes_come_back(cluster: FakeCluster, records: Path) -> None:
    marks: list[Mark] = []
    with FakeGateway(Behaviour(workers=4, service=0.001)) as gateway, started(cluster) as job:
        baseline = job.run(plan(gateway, records, Reference())).predictions
        outcome = job.run(plan(gateway, records, ClosedLoop(concurrency=2), baseline=baseline), marks.append)
        machine = job.machine()

    assert baseline == tuple(str(i % 3) for i in range(12))
    assert (outcome.errors, outcome.answered) == ({}, outcome.sent)
    assert outcome.answered > 0
    assert marks == [Mark.OPENS, Mark.CLOSES]
    assert outcome.machine_busy is not None
    assert machine.cores >= 1


def test_the_agent_outlasts_a_deployer_that_waits_for_something_else(cluster: FakeCluster) -> None:
    with started(cluster, idle_seconds=4) as job:
        asked = cluster.asked
        eventually(lambda: cluster.asked >= asked + 6, "a sign of life every second")
        assert job.machine().cores >= 1


def test_the_job_goes_with_its_pod_on_every_way_out(cluster: FakeCluster) -> None:
    with pytest.raises(KeyboardInterrupt), started(cluster):
        raise KeyboardInterrupt

    assert cluster.deleted == [{"propagationPolicy": "Background"}], "without it the pod would stay"
    assert cluster.process is None


def test_an_error_of_the_generator_arrives_as_what_it_is(cluster: FakeCluster, records: Path) -> None:
    nowhere = RecordApi(urls=("http://127.0.0.1:9",), path="/")
    records.write_text('{"inputs": {"x": 1}}\n')
    with started(cluster) as job, pytest.raises(SpecError, match='needs lines with "record"'):
        job.run(Plan(target=nowhere, load=Reference(), records=str(records)))


def test_a_generator_that_dies_is_explained(cluster: FakeCluster, records: Path) -> None:
    with FakeGateway() as gateway, started(cluster) as job:
        assert cluster.process is not None
        cluster.process.kill()
        cluster.process.wait(20)
        with pytest.raises(TargetError, match="does not respond") as failed:
            job.run(plan(gateway, records, Reference()))

    assert "Failed" in failed.value.cause
    assert "Killed" in failed.value.cause


def test_the_pod_that_an_earlier_job_left_is_not_taken_for_the_new_one(cluster: FakeCluster) -> None:
    cluster.lingering = True
    with started(cluster) as job:
        assert job.machine().cores >= 1


def test_a_probe_that_is_refused_is_no_response(cluster: FakeCluster) -> None:
    with started(cluster):
        stranger = AgentJob(cast(ClusterTarget, cluster), PROGRAM, "guess")
        cluster.labels[RUN_LABEL] = run_id("guess")
        with pytest.raises(WaitTimeout) as refused:
            stranger.wait(time.monotonic() + 0.5, silent)

    assert "403" in refused.value.message or TOKEN_HEADER in refused.value.message


def test_nobody_without_the_token_starts_load(cluster: FakeCluster) -> None:
    with started(cluster):
        stranger = AgentJob(cast(ClusterTarget, cluster), PROGRAM, "guess")
        stranger.name = "demo-load-x"
        with pytest.raises(TargetError) as refused:
            RemoteGenerator(stranger).machine()

    assert "403" in refused.value.message
    assert TOKEN_HEADER in refused.value.cause


def test_the_policy_of_the_job_goes_with_it_and_lets_it_call_the_release(cluster: FakeCluster) -> None:
    with started(cluster) as job:
        assert job.machine().cores >= 1
    (policy,) = cluster.policies
    kubernetes_validate.validate(policy, "1.30", strict=True)
    (owner,) = policy["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", "demo-load", "uid-1")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= cluster.labels.items()
    assert policy["spec"]["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}], "the API server has no labels"
    assert {"podSelector": {}} in policy["spec"]["egress"][0]["to"]


def test_where_policies_are_forbidden_the_job_runs_without_and_says_so(cluster: FakeCluster) -> None:
    said: list[str] = []
    cluster.forbidden = True
    with agent_job(cast(ClusterTarget, cluster), PROGRAM, timeout=60, progress=said.append) as agent:
        assert RemoteGenerator(agent).machine().cores >= 1
    assert any("without a NetworkPolicy" in line for line in said)


def test_the_agent_ends_when_nobody_asks_any_more() -> None:
    argv = [sys.executable, "-m", "deployer.experiment.loadgen.agent", "127.0.0.1", "0", "0" * 64, "0.5"]
    assert subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode == 0


def test_the_job_is_valid_bounded_and_admitted_by_the_restricted_standard() -> None:
    document = {"apiVersion": "batch/v1", "kind": "Job", **job_manifest("demo", PROGRAM, token="secret")}
    kubernetes_validate.validate(document, "1.30", strict=True)
    spec: Any = document["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]

    assert spec["activeDeadlineSeconds"] > 0
    assert spec["backoffLimit"] == 0
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert "secret" not in json.dumps(document)
    assert hashlib.sha256(b"secret").hexdigest() in container["command"]
    labels = spec["template"]["metadata"]["labels"].items()
    for selector in (Names(release="demo").gateway_labels, Names(release="demo").replica_labels):
        assert not dict(part.split("=") for part in selector.split(",")).items() <= labels, "a Service would find it"
