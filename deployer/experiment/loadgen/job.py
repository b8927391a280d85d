"""The load generator as a Job beside the release, so that load is what any client in the cluster would send.

The Job's name follows from the release's: one experiment at a time loads a release. Its pod ends by itself soon after
its deployer has died, and Kubernetes removes the Job a little later.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from deployer.errors import SpecError, TargetError, WaitTimeout
from deployer.experiment.loadgen.agent import ANSWERS_WITHIN, TOKEN_HEADER, Report
from deployer.experiment.loadgen.machine import Machine
from deployer.experiment.loadgen.plan import Outcome, Plan, Reference
from deployer.experiment.loadgen.workers import Mark, error_type
from deployer.targets.agents import pod as agent_pod
from deployer.targets.agents.pod import PORT
from deployer.targets.base import HttpReply, Progress
from deployer.targets.cluster.api import CALL_TIMEOUT, Place, Refused, pod_path, proxy_path
from deployer.targets.cluster.objects import Event, Pod
from deployer.targets.cluster.state import view
from deployer.targets.cluster.target import ClusterTarget
from deployer.targets.waiting import until_nothing

COMPONENT = "load-generator"
IDLE_SECONDS = 60
"""After so long without a question the agent ends: its deployer is dead."""

LONGEST_SECONDS = 12 * 3600
KEPT_SECONDS = 60
"""How long Kubernetes keeps a Job that has ended and that nobody deleted."""

CHUNK = 1 << 20
_REFERENCE_SECONDS = 600.0
_SLACK_SECONDS = 60.0
_TRIES = 5
"""Questions in a row that may stay unanswered: an API server on a busy machine is slow now and then."""

T = TypeVar("T")


@contextmanager
def load_job(target: ClusterTarget, *, image: str, timeout: float, progress: Progress) -> Iterator[LoadJob]:
    """A generator in the cluster for as long as the context lasts; the Job is deleted on every way out.

    `image` is the deployer's own; `timeout` bounds the wait for the pod, in seconds. Errors: TargetError, WaitTimeout
    that names why the pod does not start.
    """
    deadline = time.monotonic() + timeout
    name, token = job_name(target.names.release), secrets.token_hex(32)
    progress(f"starting Job {name} with image {image}")
    _create(target, job_manifest(target.names.release, image=image, token=token), deadline, progress)
    try:
        job = LoadJob(target, name, token)
        job.wait(deadline, progress)
        with job.kept():
            yield job
    finally:
        progress(f"deleting Job {name}")
        _delete(target, name)


class LoadJob:
    """A Generator of experiments whose processes run in a pod. Errors of every method: TargetError, and those that the
    generator itself reports."""

    def __init__(self, target: ClusterTarget, name: str, token: str) -> None:
        self._target = target
        self._name = name
        self._token = token
        self._pod = ""
        self._sent: Path | None = None

    def run(self, plan: Plan, on_mark: Callable[[Mark], None] | None = None) -> Outcome:
        """Run one plan in the cluster; `plan.records` is a file on this machine, sent when it is another than before.

        `on_mark` is called when the measured window has opened and closed, as soon as word of it is here.
        """
        self._send_records(Path(plan.records))
        self._ask("POST", "/trial", msgspec.json.encode(plan))
        return self._follow(plan, on_mark or (lambda _: None))

    def machine(self) -> Machine:
        """The node that the generator runs on."""
        return self._decoded(self._ask("GET", "/machine"), Machine)

    def wait(self, deadline: float, progress: Progress) -> None:
        """Return once the agent answers."""
        api, namespace = self._target.api, self._target.place.namespace

        def missing() -> tuple[str, ...]:
            pod = self._find()
            if pod is None:
                return (f"Job {self._name} has no pod yet",)
            self._pod = pod.name
            if pod.status.phase in ("Failed", "Succeeded"):
                raise TargetError(f"pod {pod.name} does not run the load generator", cause=self._explain())
            if pod.status.phase != "Running":
                return (view.pod_problem(pod) or f"pod {pod.name} is starting",)
            try:
                self._reply("GET", "/machine", None, timeout=CALL_TIMEOUT)
            except TargetError as error:
                return (error.cause or error.message,)
            return ()

        def explain() -> str:
            events = api.list(f"/api/v1/namespaces/{namespace}/events", Event)
            pod = self._find()
            if pod is not None:
                return view.explain((pod,), events)
            about = [e for e in events if e.involved_object.name == self._name]
            return "; ".join(f"{e.reason}: {e.message}" for e in about[-2:])

        until_nothing(missing, what="the load generator ready", deadline=deadline, progress=progress, explain=explain)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps the agent from taking its deployer for dead, while that waits for replicas, for example."""
        over = threading.Event()

        def ask() -> None:
            while not over.wait(IDLE_SECONDS / 4):
                with suppress(TargetError):
                    self._reply("GET", "/machine", None, timeout=CALL_TIMEOUT)

        asking = threading.Thread(target=ask, name="questions to the load generator", daemon=True)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()

    def _send_records(self, path: Path) -> None:
        if path == self._sent:
            return
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SpecError(f"records {path} cannot be read", hint="give a JSONL file with --records") from error
        for offset in range(0, max(len(content), 1), CHUNK):
            self._ask("PUT", f"/records?offset={offset}", content[offset : offset + CHUNK])
        self._sent = path

    def _follow(self, plan: Plan, on_mark: Callable[[Mark], None]) -> Outcome:
        lasts = plan.warmup + plan.seconds + plan.timeout
        allowed = _SLACK_SECONDS + (_REFERENCE_SECONDS if isinstance(plan.load, Reference) else lasts)
        deadline, seen = time.monotonic() + allowed, 0
        while True:
            report = self._decoded(self._ask("GET", f"/trial?seen={seen}"), Report)
            for mark in report.marks[seen:]:
                on_mark(mark)
            seen = len(report.marks)
            if report.outcome is not None:
                return report.outcome
            if report.over:
                raise error_type(report.kind)(report.message, cause=report.cause, hint=report.hint)
            if time.monotonic() > deadline:
                raise WaitTimeout(f"the load generator was silent for {allowed:.0f} s", cause=self._explain())

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        reply = self._patiently(method, path, body)
        if reply.status == 200:
            return reply.body
        raise TargetError(
            f"the load generator answers {method} {path} with {reply.status}",
            cause=reply.body.decode(errors="replace")[:300],
            hint="is its image of another version than this deployer?",
        )

    def _patiently(self, method: str, path: str, body: bytes | None) -> HttpReply:
        """A question again when nobody answers it; a trial is started once at most."""
        for left in reversed(range(_TRIES)):
            try:
                return self._reply(method, path, body, timeout=CALL_TIMEOUT + ANSWERS_WITHIN)
            except TargetError as error:
                pod = self._find()
                gone = pod is None or pod.status.phase != "Running"
                if gone or not left or method == "POST":
                    raise TargetError(
                        f"pod {self._pod} with the load generator does not answer",
                        cause=self._explain() if gone else error.cause or error.message,
                        hint="was it killed for lack of memory, or deleted?",
                    ) from error
            time.sleep(1.0)
        raise AssertionError("unreachable")

    def _reply(self, method: str, path: str, body: bytes | None, *, timeout: float) -> HttpReply:
        where = proxy_path(self._target.place.namespace, self._pod, PORT, path)
        headers = {TOKEN_HEADER: self._token}
        return self._target.api.proxied(method, where, body=body, headers=headers, timeout=timeout)

    def _find(self) -> Pod | None:
        labels = f"batch.kubernetes.io/job-name={self._name}"
        pods = self._target.api.list(pod_path(self._target.place.namespace), Pod, labels=labels)
        return next((pod for pod in pods if not pod.leaving), None)

    def _explain(self) -> str:
        pod = self._find()
        if pod is None:
            return f"there is no pod {self._pod} any more"
        problem = view.pod_problem(pod) or f"its phase is {pod.status.phase}"
        last_words_ = self._target.last_words(pod)
        return f"{problem}; it said: {last_words_}" if last_words_ else problem

    def _decoded(self, body: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.MsgspecError as error:
            raise TargetError(
                "the answer of the load generator cannot be read",
                hint="is its image of another version than this deployer?",
            ) from error


def job_name(release: str) -> str:
    """The one name that a load generator for this release can have."""
    return f"{release}-load"


def job_path(place: Place, name: str = "") -> str:
    """The path of one Job, or of all of a namespace."""
    return f"/apis/batch/v1/namespaces/{quote(place.namespace)}/jobs" + (f"/{quote(name)}" if name else "")


def job_manifest(release: str, *, image: str, token: str) -> Mapping[str, object]:
    """The Job. Its pod meets the restricted Pod Security Standard, and holds only the sha256 of `token`."""
    agent = agent_pod.container(
        COMPONENT,
        image=image,
        command=["python", "-m", "deployer.experiment.loadgen.agent"],
        token=token,
        idle_seconds=IDLE_SECONDS,
        # No CPU limit: a generator that is held back would measure itself.
        resources={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        mount={"name": "tmp", "mountPath": "/tmp"},
    )
    spec = agent_pod.spec(agent, volume={"name": "tmp", "emptyDir": {}}, grace_seconds=5)
    labels = agent_pod.labels(COMPONENT, instance=release)
    return {
        "metadata": {"name": job_name(release), "labels": labels},
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


def _create(target: ClusterTarget, manifest: Mapping[str, object], deadline: float, progress: Progress) -> None:
    """Make the Job; one that has ended makes room, one that runs is waited for."""
    name = job_name(target.names.release)

    def missing() -> tuple[str, ...]:
        try:
            target.api.create(job_path(target.place), manifest)
        except Refused as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            return ()
        there = target.api.find(job_path(target.place, name), _Job)
        if there is not None and there.status.succeeded + there.status.failed:
            _delete(target, name)
        return (f"Job {name} of another experiment is there",)

    until_nothing(
        missing,
        what=f"release {target.names.release} free of other experiments",
        deadline=deadline,
        progress=progress,
        explain=lambda: f"one experiment at a time; the Job of a dead one ends within {IDLE_SECONDS} seconds",
    )


def _delete(target: ClusterTarget, name: str) -> None:
    """Delete a Job with its pod: the API would leave the pod behind if it were not told."""
    try:
        target.api.call("DELETE", job_path(target.place, name), query={"propagationPolicy": "Background"})
    except Refused as error:
        if error.code != 404:
            raise
