"""A short-lived pod that mounts a PVC and runs the storage agent.

The pod's name is derived from the name of the PVC, so only one deployer at a time can use a PVC. A pod whose deployer
was killed exits soon, and the next run replaces it.
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
from deployer.domain.pods import Pods
from deployer.errors import TargetError
from deployer.targets.agents import pod as agent_pod
from deployer.targets.agents import server as agent_server
from deployer.targets.agents.pod import PORT
from deployer.targets.base import HttpReply, Progress
from deployer.targets.cluster.api import ApiServer, Refused, pod_path, proxy_path
from deployer.targets.cluster.objects import Event, Pod, Pvc
from deployer.targets.cluster.policies import owner_of, policy_manifest, put_policy
from deployer.targets.cluster.state import view
from deployer.targets.storage import agent as storage_agent
from deployer.targets.storage.classes import require_class
from deployer.targets.storage.client import Send, Storage
from deployer.targets.waiting import until_nothing

CONTAINER = "storage-agent"
AGENT_IDLE_SECONDS = 30
"""After this time without a request the agent exits: its deployer is dead."""

MAX_POD_SECONDS = 24 * 3600
SHARED_MODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})


@dataclass(frozen=True, kw_only=True)
class NewPvc:
    """A PVC to create if it does not exist; an empty `storage_class` means the cluster's default."""

    size: str
    access_mode: str = "ReadWriteOnce"
    storage_class: str = ""


def pvc_path(store: PvcStore) -> str:
    """The API path of a store's PVC."""
    return f"/api/v1/namespaces/{store.namespace}/persistentvolumeclaims/{store.pvc}"


def require_pvc(api: ApiServer, store: PvcStore, new: NewPvc | None, progress: Progress) -> Pvc:
    """The PVC of a store; created if it does not exist and `new` is given. Errors: TargetError."""
    found = api.find(pvc_path(store), Pvc)
    if found is not None:
        return found
    if new is None:
        raise TargetError(
            f"there is no PVC {store.pvc} in namespace {store.namespace}",
            hint="--create 10Gi creates one of that size",
        )
    require_class(api, new.storage_class, store.pvc)
    if api.find(f"/api/v1/namespaces/{store.namespace}", object) is None:
        progress(f"creating namespace {store.namespace}")
        api.create("/api/v1/namespaces", {"metadata": {"name": store.namespace}})
    progress(f"creating PVC {store.pvc} of {new.size} ({new.access_mode})")
    spec: dict[str, object] = {"accessModes": [new.access_mode], "resources": {"requests": {"storage": new.size}}}
    if new.storage_class:
        spec["storageClassName"] = new.storage_class
    collection = pvc_path(store).rpartition("/")[0]
    api.create(collection, {"metadata": {"name": store.pvc}, "spec": spec})
    return api.read(pvc_path(store), Pvc)


@contextmanager
def storage_in(
    api: ApiServer, store: PvcStore, pvc: Pvc, *, image: str, pods: Pods, timeout: float, progress: Progress
) -> Iterator[Storage]:
    """The store in a PVC, reachable while the context is open; the pod is deleted on every exit.

    `image` is any image with `python` 3.8 or later on its PATH; `timeout` limits the wait for the pod, in seconds.
    Errors: TargetError; WaitTimeout that names the cause (image, PVC, node, another deployer).
    """
    deadline = time.monotonic() + timeout
    name = pod_name(store.pvc)
    token = secrets.token_hex(32)
    manifest = pod_manifest(store, image=image, pods=pods, token=token, node=_node_of(api, store, pvc))
    created = _create(api, store, manifest, deadline, progress)
    try:
        owner = owner_of(created, version="v1", kind="Pod")
        policy = policy_manifest(name, agent_pod.labels(CONTAINER, instance=name), owner, calls_release=False)
        put_policy(api, store.namespace, policy, name, progress)
        storage = Storage(_through_proxy(api, store.namespace, name), token)
        _await_agent(api, store, name, storage, deadline, progress)
        yield storage
    finally:
        api.delete(pod_path(store.namespace, name))


def pod_name(pvc: str) -> str:
    """The name of the storage pod for this PVC."""
    return f"deployer-storage-{hashlib.sha256(pvc.encode()).hexdigest()[:12]}"


def pod_manifest(store: PvcStore, *, image: str, pods: Pods, token: str, node: str = "") -> dict[str, object]:
    """The pod. It meets the restricted Pod Security Standard, and contains only the sha256 of `token`.

    `node` is the node to schedule it on, empty for any that `pods` allow.
    """
    mount = {"name": "store", "mountPath": "/store", **({"subPath": store.subpath} if store.subpath else {})}
    agent = agent_pod.container(
        CONTAINER,
        image=image,
        command=["python", "-I", "-c", agent_source(), "/store"],
        token=token,
        idle_seconds=AGENT_IDLE_SECONDS,
        resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        cpu_limit=pods.cpu_limit,
        mount=mount,
    )
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": store.pvc}}
    spec = agent_pod.spec(agent, pods=pods, volume=volume, grace_seconds=2, owns_files=True)
    spec["activeDeadlineSeconds"] = MAX_POD_SECONDS
    if node:
        # Only there can the volume be mounted; a rule that keeps replicas apart must not keep this pod away from them.
        spec.pop("nodeSelector", None)
        only = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [only]}}
        spec["affinity"] = {"nodeAffinity": required}
    name = pod_name(store.pvc)
    metadata = {"name": name, **agent_pod.metadata(pods, agent_pod.labels(CONTAINER, instance=name))}
    return {"metadata": metadata, "spec": spec}


def agent_source() -> str:
    """The agent and its server as one program, because the pod has none of our packages."""
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
    """The node that a ReadWriteOnce PVC is already attached to; empty for any node."""
    if SHARED_MODES & set(pvc.spec.access_modes):
        return ""
    pods = api.list(pod_path(store.namespace), Pod)
    users = [p for p in pods if store.pvc in p.spec.pvcs and p.status.phase in ("Pending", "Running")]
    return next((p.spec.node_name for p in users if p.spec.node_name and not p.terminating), "")


def _create(
    api: ApiServer, store: PvcStore, manifest: Mapping[str, object], deadline: float, progress: Progress
) -> bytes:
    """Create the pod and return it; wait for the pod of another deployer, and delete one that has ended."""
    created: list[bytes] = []
    path = pod_path(store.namespace, pod_name(store.pvc))

    def missing() -> tuple[str, ...]:
        try:
            created.append(api.create(pod_path(store.namespace), manifest))
        except Refused as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            return ()
        existing = api.find(path, Pod)
        if existing is not None and existing.status.phase in ("Succeeded", "Failed") and not existing.terminating:
            api.delete(path)
        return (f"pod {pod_name(store.pvc)} of another deployer exists",)

    until_nothing(
        missing,
        what=f"PVC {store.pvc} to be free",
        deadline=deadline,
        progress=progress,
        explain=lambda: (
            "only one deployer at a time can use a PVC; "
            f"the pod of a killed deployer exits within {AGENT_IDLE_SECONDS} seconds"
        ),
    )
    return created[0]


def _await_agent(
    api: ApiServer, store: PvcStore, name: str, storage: Storage, deadline: float, progress: Progress
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
            storage.entries()
        except Refused as error:
            return (error.cause or error.message,)
        return ()

    def explain() -> str:
        events = api.list(f"/api/v1/namespaces/{store.namespace}/events", Event)
        pod, pvc = api.find(path, Pod), api.find(pvc_path(store), Pvc)
        problem = view.pvc_problem(pvc, events) if pvc else "it has been deleted"
        parts = [view.explain((pod,), events)] if pod else []
        return "\n".join([*parts, *([f"PVC {store.pvc}: {problem}"] if problem else [])])

    progress(f"starting pod {name} on PVC {store.pvc}")
    until_nothing(missing, what="the storage pod", deadline=deadline, progress=progress, explain=explain)


def _log(api: ApiServer, path: str) -> str:
    return api.call("GET", f"{path}/log", query={"tailLines": "5"}).decode(errors="replace").strip()


def _through_proxy(api: ApiServer, namespace: str, pod: str) -> Send:
    """Sends requests to the agent through the API server's pod proxy."""

    def send(method: str, path: str, body: bytes | None, *, headers: Mapping[str, str], timeout: float) -> HttpReply:
        return api.proxied(method, proxy_path(namespace, pod, PORT, path), body=body, headers=headers, timeout=timeout)

    return send
