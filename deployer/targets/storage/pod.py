"""A short-lived pod that mounts a claim and runs the storage agent in it.

The pod's name follows from the claim's, so the API server lets only one publisher at a time work on a claim. A pod
whose deployer was killed ends by itself soon after, and the next run takes its place.
"""

from __future__ import annotations

import hashlib
import inspect
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from deployer.domain.location import PvcStore
from deployer.errors import TargetError
from deployer.targets.agents import pod as agent_pod
from deployer.targets.agents import server as agent_server
from deployer.targets.agents.pod import PORT
from deployer.targets.base import HttpReply, Progress
from deployer.targets.cluster.api import ApiServer, Refused, pod_path, proxy_path
from deployer.targets.cluster.objects import Event, Pod, Pvc
from deployer.targets.cluster.state import view
from deployer.targets.storage import agent as storage_agent
from deployer.targets.storage.client import Send, Storage
from deployer.targets.waiting import until_nothing

CONTAINER = "storage-agent"
IDLE_SECONDS = 30
"""After so long without a request the agent ends: its deployer is dead."""

LONGEST_SECONDS = 24 * 3600
SHARED_MODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})


@dataclass(frozen=True, kw_only=True)
class NewPvc:
    """A claim to make where there is none; `storage_class` empty is the cluster's default."""

    size: str
    access_mode: str = "ReadWriteOnce"
    storage_class: str = ""


def pvc_path(store: PvcStore) -> str:
    """Where the API server keeps the claim of a store."""
    return f"/api/v1/namespaces/{store.namespace}/persistentvolumeclaims/{store.pvc}"


def require_pvc(api: ApiServer, store: PvcStore, new: NewPvc | None, progress: Progress) -> Pvc:
    """The claim of a store, made first when it is absent and `new` is given. Errors: TargetError."""
    found = api.find(pvc_path(store), Pvc)
    if found is not None:
        return found
    if new is None:
        raise TargetError(
            f"there is no claim {store.pvc} in namespace {store.namespace}",
            hint="--create 10Gi makes one of that size",
        )
    if api.find(f"/api/v1/namespaces/{store.namespace}", object) is None:
        progress(f"creating namespace {store.namespace}")
        api.create("/api/v1/namespaces", {"metadata": {"name": store.namespace}})
    progress(f"creating claim {store.pvc} of {new.size} ({new.access_mode})")
    spec: dict[str, object] = {"accessModes": [new.access_mode], "resources": {"requests": {"storage": new.size}}}
    if new.storage_class:
        spec["storageClassName"] = new.storage_class
    collection = pvc_path(store).rpartition("/")[0]
    api.create(collection, {"metadata": {"name": store.pvc}, "spec": spec})
    return api.read(pvc_path(store), Pvc)


@contextmanager
def storage_in(
    api: ApiServer, store: PvcStore, pvc: Pvc, *, image: str, timeout: float, progress: Progress
) -> Iterator[Storage]:
    """The store in a claim, reachable for as long as the context lasts; the pod is deleted on every way out.

    `image` is any with a `python` of 3.8 or later on its PATH; `timeout` bounds the wait for the pod, in seconds.
    Errors: TargetError; WaitTimeout that names the cause (image, claim, node, another publisher).
    """
    deadline = time.monotonic() + timeout
    name = pod_name(store.pvc)
    token = secrets.token_hex(32)
    manifest = pod_manifest(store, image=image, token=token, node=_node_of(api, store, pvc))
    _create(api, store, manifest, deadline, progress)
    try:
        reached = Storage(_through_proxy(api, store.namespace, name), token)
        _await_agent(api, store, name, reached, deadline, progress)
        yield reached
    finally:
        api.delete(pod_path(store.namespace, name))


def pod_name(pvc: str) -> str:
    """The one name that a publisher's pod for this claim can have."""
    return f"deployer-storage-{hashlib.sha256(pvc.encode()).hexdigest()[:12]}"


def pod_manifest(store: PvcStore, *, image: str, token: str, node: str = "") -> dict[str, object]:
    """The pod. It meets the restricted Pod Security Standard, and holds only the sha256 of `token`.

    `node` is the only node that may take it, empty for any.
    """
    mount = {"name": "store", "mountPath": "/store", **({"subPath": store.subpath} if store.subpath else {})}
    agent = agent_pod.container(
        CONTAINER,
        image=image,
        command=["python", "-I", "-c", agent_source(), "/store"],
        token=token,
        idle_seconds=IDLE_SECONDS,
        resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        mount=mount,
    )
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": store.pvc}}
    spec = agent_pod.spec(agent, volume=volume, grace_seconds=2, owns_files=True)
    spec["activeDeadlineSeconds"] = LONGEST_SECONDS
    if node:
        only = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [only]}}
        spec["affinity"] = {"nodeAffinity": required}
    metadata = {"name": pod_name(store.pvc), "labels": agent_pod.labels(CONTAINER)}
    return {"metadata": metadata, "spec": spec}


def agent_source() -> str:
    """The agent and its server as one program: none of our packages is in the pod, so it brings the server itself."""
    server = agent_server.__name__
    return "\n".join(
        [
            "import sys, types",
            f"for name in ({server.partition('.')[0]!r}, {server!r}):",
            "    sys.modules[name] = types.ModuleType(name)",
            f"exec({inspect.getsource(agent_server)!r}, sys.modules[{server!r}].__dict__)",
            f"exec({inspect.getsource(storage_agent)!r})",
        ]
    )


def _node_of(api: ApiServer, store: PvcStore, pvc: Pvc) -> str:
    """The node that a claim is attached to already, when it can be attached to one only; empty for any node."""
    if SHARED_MODES & set(pvc.spec.access_modes):
        return ""
    pods = api.list(pod_path(store.namespace), Pod)
    users = [p for p in pods if store.pvc in p.spec.pvcs and p.status.phase in ("Pending", "Running")]
    return next((p.spec.node_name for p in users if p.spec.node_name and not p.leaving), "")


def _create(
    api: ApiServer, store: PvcStore, manifest: Mapping[str, object], deadline: float, progress: Progress
) -> None:
    """Make the pod; wait for another publisher's to end, and remove one that has ended."""
    path = pod_path(store.namespace, pod_name(store.pvc))

    def missing() -> tuple[str, ...]:
        try:
            api.create(pod_path(store.namespace), manifest)
        except Refused as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            return ()
        there = api.find(path, Pod)
        if there is not None and there.status.phase in ("Succeeded", "Failed") and not there.leaving:
            api.delete(path)
        return (f"pod {pod_name(store.pvc)} of another publisher is there",)

    until_nothing(
        missing,
        what=f"claim {store.pvc} free of other publishers",
        deadline=deadline,
        progress=progress,
        explain=lambda: (
            f"one deployer at a time writes into a claim; a dead one's pod ends within {IDLE_SECONDS} seconds"
        ),
    )


def _await_agent(
    api: ApiServer, store: PvcStore, name: str, reached: Storage, deadline: float, progress: Progress
) -> None:
    path = pod_path(store.namespace, name)

    def missing() -> tuple[str, ...]:
        pod = api.find(path, Pod)
        if pod is None or pod.status.phase in ("Failed", "Succeeded"):
            problem = view.pod_problem(pod) if pod else "it has been deleted"
            raise TargetError(f"pod {name} does not run the storage agent", cause=problem or _log(api, path))
        if pod.status.phase != "Running":
            return (view.pod_problem(pod) or f"pod {name} is starting",)
        try:
            reached.entries()
        except Refused as error:
            return (error.cause or error.message,)
        return ()

    def explain() -> str:
        events = api.list(f"/api/v1/namespaces/{store.namespace}/events", Event)
        pod, pvc = api.find(path, Pod), api.find(pvc_path(store), Pvc)
        problem = view.pvc_problem(pvc, events) if pvc else "it has been deleted"
        parts = [view.explain((pod,), events)] if pod else []
        return "\n".join([*parts, *([f"claim {store.pvc}: {problem}"] if problem else [])])

    progress(f"starting pod {name} on claim {store.pvc}")
    until_nothing(missing, what="the storage pod running", deadline=deadline, progress=progress, explain=explain)


def _log(api: ApiServer, path: str) -> str:
    return api.call("GET", f"{path}/log", query={"tailLines": "5"}).decode(errors="replace").strip()


def _through_proxy(api: ApiServer, namespace: str, pod: str) -> Send:
    """Requests to the agent go through the API server's pod proxy."""

    def send(method: str, path: str, body: bytes | None, *, headers: Mapping[str, str], timeout: float) -> HttpReply:
        return api.proxied(method, proxy_path(namespace, pod, PORT, path), body=body, headers=headers, timeout=timeout)

    return send
