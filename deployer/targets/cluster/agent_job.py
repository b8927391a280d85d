"""An agent as a Job in the namespace of a release, so that it reaches the release like any other client.

The Job's name is derived from the name of the release, so there is at most one per agent and release. If its deployer
dies, the pod exits soon after, and Kubernetes deletes the Job a little later.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol
from urllib.parse import quote

import msgspec

from deployer.errors import TargetError
from deployer.targets.agents import pod as agent_pod
from deployer.targets.agents.agent import Agent, AgentProgram
from deployer.targets.agents.pod import PORT
from deployer.targets.base import HttpReply, Progress
from deployer.targets.cluster.api import API_CALL_TIMEOUT, ApiServer, Place, Refused, pod_path, proxy_path
from deployer.targets.cluster.names import Names
from deployer.targets.cluster.objects import Event, Pod
from deployer.targets.cluster.policies import owner_of, policy_manifest, put_policy
from deployer.targets.cluster.state import view
from deployer.targets.waiting import until_nothing

MAX_JOB_SECONDS = 12 * 3600
RUN_LABEL = f"{agent_pod.PRODUCT}/run"
FINISHED_JOB_SECONDS = 60
"""How long Kubernetes keeps a finished Job that was not deleted."""


class Cluster(Protocol):
    """The part of `ClusterTarget` that a Job needs."""

    @property
    def api(self) -> ApiServer: ...
    @property
    def place(self) -> Place: ...
    @property
    def names(self) -> Names: ...
    def crash_log(self, pod: Pod) -> str: ...


@contextmanager
def agent_job(cluster: Cluster, program: AgentProgram, *, timeout: float, progress: Progress) -> Iterator[Agent]:
    """Run the program in a pod while the context is open; the Job is deleted on every exit.

    `timeout` limits the wait for the pod, in seconds. Errors: TargetError, WaitTimeout that says why the pod does not
    start.
    """
    deadline = time.monotonic() + timeout
    name, token = job_name(cluster.names.release, program), secrets.token_hex(32)
    progress(f"starting Job {name} with image {program.image}")
    created = _create(cluster, program, token, deadline, progress)
    try:
        owner = owner_of(created, version="batch/v1", kind="Job")
        labels = agent_pod.labels(program.component, instance=cluster.names.release)
        policy = policy_manifest(name, labels, owner, calls_release=True)
        put_policy(cluster.api, cluster.place.namespace, policy, name, progress)
        job = AgentJob(cluster, program, token)
        job.wait(deadline, progress)
        with job.kept_alive():
            yield job
    finally:
        progress(f"deleting Job {name}")
        _delete(cluster, name)


class AgentJob:
    """The `Agent` in the pod of a Job."""

    def __init__(self, cluster: Cluster, program: AgentProgram, token: str) -> None:
        self._cluster = cluster
        self._program = program
        self._job = job_name(cluster.names.release, program)
        self._token = token
        self._selector = f"{RUN_LABEL}={run_id(token)}"
        self.name = ""

    def ask(self, method: str, path: str, body: bytes | None = None) -> HttpReply:
        return self._reply(method, path, body, timeout=API_CALL_TIMEOUT + self._program.answers_within)

    def running(self) -> bool:
        pod = self._find()
        return pod is not None and pod.status.phase == "Running"

    def explain(self) -> str:
        pod = self._find()
        if pod is None:
            return f"pod {self.name} no longer exists"
        problem = view.pod_problem(pod) or f"its phase is {pod.status.phase}"
        log = self._cluster.crash_log(pod)
        return f"{problem}; last log lines: {log}" if log else problem

    def wait(self, deadline: float, progress: Progress) -> None:
        """Return once the program responds."""
        api, namespace = self._cluster.api, self._cluster.place.namespace

        def missing() -> tuple[str, ...]:
            pod = self._find()
            if pod is None:
                return (f"Job {self._job} has no pod yet",)
            self.name = pod.name
            if pod.status.phase in ("Failed", "Succeeded"):
                raise TargetError(f"pod {pod.name} does not run {self._program.what}", cause=self.explain())
            if pod.status.phase != "Running":
                return (view.pod_problem(pod) or f"pod {pod.name} is starting",)
            try:
                self._probe()
            except TargetError as error:
                return (error.cause or error.message,)
            return ()

        def explain() -> str:
            events = api.list(f"/api/v1/namespaces/{namespace}/events", Event)
            pod = self._find()
            if pod is not None:
                return view.explain((pod,), events)
            about = [e for e in events if e.involved_object.name == self._job]
            return "; ".join(f"{e.reason}: {e.message}" for e in about[-2:])

        what = self._program.what
        until_nothing(missing, what=what, deadline=deadline, progress=progress, explain=explain)

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Send requests regularly, so that the agent does not exit while its deployer waits for something else."""
        done = threading.Event()

        def keep_alive() -> None:
            while not done.wait(self._program.idle_seconds / 4):
                with suppress(TargetError):
                    self._probe()

        thread = threading.Thread(target=keep_alive, name=f"keep-alive of {self._program.what}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _probe(self) -> None:
        reply = self._reply("GET", self._program.probe, None, timeout=API_CALL_TIMEOUT)
        if reply.status != 200:
            raise TargetError(
                f"{self._program.what} returned {reply.status} for {self._program.probe}",
                cause=reply.body.decode(errors="replace")[:300],
            )

    def _reply(self, method: str, path: str, body: bytes | None, *, timeout: float) -> HttpReply:
        where = proxy_path(self._cluster.place.namespace, self.name, PORT, path)
        headers = {self._program.token_header: self._token}
        return self._cluster.api.proxied(method, where, body=body, headers=headers, timeout=timeout)

    def _find(self) -> Pod | None:
        pods = self._cluster.api.list(pod_path(self._cluster.place.namespace), Pod, labels=self._selector)
        return next((pod for pod in pods if not pod.terminating), None)


def job_name(release: str, program: AgentProgram) -> str:
    """The name of this program's Job for this release."""
    return f"{release}-{program.suffix}"


def run_id(token: str) -> str:
    """A label value that tells the pod of this run from one that an earlier Job of the same name left for a moment.

    It is derived from the token's digest, which the pod's command shows anyway.
    """
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def job_path(place: Place, name: str = "") -> str:
    """The API path of one Job, or of all Jobs of a namespace."""
    return f"/apis/batch/v1/namespaces/{quote(place.namespace)}/jobs" + (f"/{quote(name)}" if name else "")


def job_manifest(release: str, program: AgentProgram, *, token: str) -> Mapping[str, object]:
    """The Job. Its pod meets the restricted Pod Security Standard, and contains only the sha256 of `token`."""
    agent = agent_pod.container(
        program.component,
        image=program.image,
        command=["python", "-m", program.module],
        token=token,
        idle_seconds=program.idle_seconds,
        resources=program.resources,
        cpu_limit=program.pods.cpu_limit,
        mount={"name": "tmp", "mountPath": "/tmp"},
    )
    spec = agent_pod.spec(agent, pods=program.pods, volume={"name": "tmp", "emptyDir": {}}, grace_seconds=5)
    labels = agent_pod.labels(program.component, instance=release)
    metadata = agent_pod.metadata(program.pods, {**labels, RUN_LABEL: run_id(token)})
    return {
        "metadata": {"name": job_name(release, program), "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": MAX_JOB_SECONDS,
            "ttlSecondsAfterFinished": FINISHED_JOB_SECONDS,
            "template": {"metadata": metadata, "spec": spec},
        },
    }


class _JobStatus(msgspec.Struct, frozen=True):
    active: int = 0
    succeeded: int = 0
    failed: int = 0


class _Job(msgspec.Struct, frozen=True):
    status: _JobStatus = _JobStatus()


def _create(cluster: Cluster, program: AgentProgram, token: str, deadline: float, progress: Progress) -> bytes:
    """Create the Job and return it; a finished one is deleted first, a running one is waited for."""
    created: list[bytes] = []
    release = cluster.names.release
    name, manifest = job_name(release, program), job_manifest(release, program, token=token)

    def missing() -> tuple[str, ...]:
        try:
            created.append(cluster.api.create(job_path(cluster.place), manifest))
        except Refused as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            return ()
        existing = cluster.api.find(job_path(cluster.place, name), _Job)
        if existing is not None and existing.status.succeeded + existing.status.failed:
            _delete(cluster, name)
        return (f"Job {name} exists",)

    until_nothing(
        missing,
        what=f"Job {name} of another deployer to end",
        deadline=deadline,
        progress=progress,
        explain=lambda: (
            f"only one at a time can run; the Job of a killed deployer ends within {program.idle_seconds} seconds"
        ),
    )
    return created[0]


def _delete(cluster: Cluster, name: str) -> None:
    """Delete a Job with its pod; without the propagation policy the pod would stay."""
    try:
        cluster.api.call("DELETE", job_path(cluster.place, name), query={"propagationPolicy": "Background"})
    except Refused as error:
        if error.code != 404:
            raise
