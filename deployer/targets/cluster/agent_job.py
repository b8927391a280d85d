"""One of the deployer's own programs as a Job beside a release, so that it reaches the release as any client would.

The Job's name follows from the release's, so there is at most one of a kind for a release. Its pod ends by itself soon
after its deployer has died, and Kubernetes removes the Job a little later.
"""

from __future__ import annotations

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
from deployer.targets.cluster.api import CALL_TIMEOUT, ApiServer, Place, Refused, pod_path, proxy_path
from deployer.targets.cluster.names import Names
from deployer.targets.cluster.objects import Event, Pod
from deployer.targets.cluster.state import view
from deployer.targets.waiting import until_nothing

LONGEST_SECONDS = 12 * 3600
KEPT_SECONDS = 60
"""How long Kubernetes keeps a Job that has ended and that nobody deleted."""


class Cluster(Protocol):
    """As much of a `ClusterTarget` as a Job needs."""

    @property
    def api(self) -> ApiServer: ...
    @property
    def place(self) -> Place: ...
    @property
    def names(self) -> Names: ...
    def last_words(self, pod: Pod) -> str: ...


@contextmanager
def agent_job(cluster: Cluster, program: AgentProgram, *, timeout: float, progress: Progress) -> Iterator[Agent]:
    """The program in a pod for as long as the context lasts; the Job is deleted on every way out.

    `timeout` bounds the wait for the pod, in seconds. Errors: TargetError, WaitTimeout that names why the pod does not
    start.
    """
    deadline = time.monotonic() + timeout
    name, token = job_name(cluster.names.release, program), secrets.token_hex(32)
    progress(f"starting Job {name} with image {program.image}")
    _create(cluster, program, token, deadline, progress)
    try:
        job = AgentJob(cluster, program, token)
        job.wait(deadline, progress)
        with job.kept():
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
        self.name = ""

    def ask(self, method: str, path: str, body: bytes | None = None) -> HttpReply:
        return self._reply(method, path, body, timeout=CALL_TIMEOUT + self._program.answers_within)

    def running(self) -> bool:
        pod = self._find()
        return pod is not None and pod.status.phase == "Running"

    def explain(self) -> str:
        pod = self._find()
        if pod is None:
            return f"there is no pod {self.name} any more"
        problem = view.pod_problem(pod) or f"its phase is {pod.status.phase}"
        words = self._cluster.last_words(pod)
        return f"{problem}; the end of its log: {words}" if words else problem

    def wait(self, deadline: float, progress: Progress) -> None:
        """Return once the program answers."""
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

        what = f"{self._program.what} ready"
        until_nothing(missing, what=what, deadline=deadline, progress=progress, explain=explain)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps the program from taking its deployer for dead, while that waits for replicas, for example."""
        over = threading.Event()

        def ask() -> None:
            while not over.wait(self._program.idle_seconds / 4):
                with suppress(TargetError):
                    self._probe()

        asking = threading.Thread(target=ask, name=f"questions to {self._program.what}", daemon=True)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()

    def _probe(self) -> None:
        self._reply("GET", self._program.probe, None, timeout=CALL_TIMEOUT)

    def _reply(self, method: str, path: str, body: bytes | None, *, timeout: float) -> HttpReply:
        where = proxy_path(self._cluster.place.namespace, self.name, PORT, path)
        headers = {self._program.token_header: self._token}
        return self._cluster.api.proxied(method, where, body=body, headers=headers, timeout=timeout)

    def _find(self) -> Pod | None:
        labels = f"batch.kubernetes.io/job-name={self._job}"
        pods = self._cluster.api.list(pod_path(self._cluster.place.namespace), Pod, labels=labels)
        return next((pod for pod in pods if not pod.leaving), None)


def job_name(release: str, program: AgentProgram) -> str:
    """The one name that this program can have beside this release."""
    return f"{release}-{program.suffix}"


def job_path(place: Place, name: str = "") -> str:
    """The path of one Job, or of all of a namespace."""
    return f"/apis/batch/v1/namespaces/{quote(place.namespace)}/jobs" + (f"/{quote(name)}" if name else "")


def job_manifest(release: str, program: AgentProgram, *, token: str) -> Mapping[str, object]:
    """The Job. Its pod meets the restricted Pod Security Standard, and holds only the sha256 of `token`."""
    agent = agent_pod.container(
        program.component,
        image=program.image,
        command=["python", "-m", program.module],
        token=token,
        idle_seconds=program.idle_seconds,
        resources=program.resources,
        mount={"name": "tmp", "mountPath": "/tmp"},
    )
    spec = agent_pod.spec(agent, volume={"name": "tmp", "emptyDir": {}}, grace_seconds=5)
    labels = agent_pod.labels(program.component, instance=release)
    return {
        "metadata": {"name": job_name(release, program), "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LONGEST_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


class _JobStatus(msgspec.Struct, frozen=True):
    active: int = 0
    succeeded: int = 0
    failed: int = 0


class _Job(msgspec.Struct, frozen=True):
    status: _JobStatus = _JobStatus()


def _create(cluster: Cluster, program: AgentProgram, token: str, deadline: float, progress: Progress) -> None:
    """Make the Job; one that has ended makes room, one that runs is waited for."""
    release = cluster.names.release
    name, manifest = job_name(release, program), job_manifest(release, program, token=token)

    def missing() -> tuple[str, ...]:
        try:
            cluster.api.create(job_path(cluster.place), manifest)
        except Refused as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            return ()
        there = cluster.api.find(job_path(cluster.place, name), _Job)
        if there is not None and there.status.succeeded + there.status.failed:
            _delete(cluster, name)
        return (f"Job {name} of another deployer exists",)

    until_nothing(
        missing,
        what=f"room for Job {name}",
        deadline=deadline,
        progress=progress,
        explain=lambda: f"one at a time; the Job of a dead deployer ends within {program.idle_seconds} seconds",
    )


def _delete(cluster: Cluster, name: str) -> None:
    """Delete a Job with its pod: the API would leave the pod behind if it were not told."""
    try:
        cluster.api.call("DELETE", job_path(cluster.place, name), query={"propagationPolicy": "Background"})
    except Refused as error:
        if error.code != 404:
            raise
