"""A kind cluster to deploy to: create it, load images, install metrics-server; delete it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from deployer.domain.release import Release
from deployer.errors import ToolError
from deployer.targets.base import Progress
from deployer.targets.cluster import apply
from deployer.targets.cluster.api import FIELD_MANAGER, ApiServer, Place, connect
from deployer.targets.cluster.helm_releases import GATEWAY_CHART, charts_directory
from deployer.targets.cluster.objects import Deployment, Event, Pod
from deployer.targets.cluster.scale import Scale
from deployer.targets.cluster.state.view import explain
from deployer.targets.waiting import until_nothing
from deployer.tools import docker, kind

REPOSITORY = "tfserving-deployer"
TARGETS = ("modelserver", "gateway", "deployer")
"""Targets of the Dockerfile; each is built as the image `tfserving-deployer/<target>`."""

SYSTEM = "kube-system"
METRICS_SERVER = "metrics-server"


@dataclass(frozen=True, kw_only=True)
class UpRequest:
    """The cluster to create.

    An empty `node_image` means kind's default, an empty `kubeconfig` kubectl's. `tag` is the tag of the local images,
    empty for that of the gateway chart; `images` False loads none. `build_arguments` are added to `docker build`.
    `timeout` applies to each of: the cluster, each image, metrics-server.
    """

    name: str
    node_image: str = ""
    workers: int = 0
    kubeconfig: str = ""
    images: bool = True
    tag: str = ""
    build_arguments: tuple[str, ...] = ()
    timeout: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Up:
    """A ready cluster: whether this call created it, and the loaded images."""

    name: str
    context: str
    created: bool
    images: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class UpPlan:
    """What `up` would do: whether it would create the cluster, and the images that it would build and load."""

    name: str
    context: str
    creates: bool
    builds: tuple[str, ...]
    loads: tuple[str, ...]


def plan(request: UpRequest) -> UpPlan:
    """Plan `up` without changing anything. Errors: ToolError when Docker or kind is missing."""
    docker.require()
    if exists(request.name):
        _require_ours(request.name)
    loads = tuple(local_image(target, request.tag) for target in TARGETS) if request.images else ()
    return UpPlan(
        name=request.name,
        context=kind.context(request.name),
        creates=not exists(request.name),
        builds=tuple(reference for reference in loads if not docker.has_image(reference)),
        loads=loads,
    )


def exists(name: str) -> bool:
    """Whether a kind cluster of this name exists. Errors: ToolError."""
    return name in kind.clusters()


def up(request: UpRequest, progress: Progress) -> Up:
    """Create the cluster, or update the one of this name that it made before.

    Errors: ToolError (Docker or kind is missing or fails; a cluster of other origin), WaitTimeout, TargetError.
    """
    docker.require()
    created = not exists(request.name)
    context = kind.context(request.name)
    if created:
        progress(f"creating kind cluster {request.name} (context {context})")
        kind.create(
            request.name,
            workers=request.workers,
            image=request.node_image,
            kubeconfig=request.kubeconfig,
            timeout=request.timeout,
        )
    else:
        _require_ours(request.name)
        progress(f"kind cluster {request.name} already exists")
    images = _load_images(request, progress) if request.images else ()
    api = connect(Place(namespace=SYSTEM, context=context, kubeconfig=request.kubeconfig))
    _install_metrics(api, time.monotonic() + request.timeout, progress)
    return Up(name=request.name, context=context, created=created, images=images)


def can_delete(name: str) -> bool:
    """Whether `down` would delete a cluster. Errors: ToolError for one that `up` did not make."""
    if not exists(name):
        return False
    _require_ours(name)
    return True


def down(name: str, *, kubeconfig: str, timeout: float, progress: Progress) -> bool:
    """Delete the kind cluster of this name and its context; False if it does not exist.

    Errors: ToolError for a cluster that `up` did not make.
    """
    if not can_delete(name):
        return False
    progress(f"deleting kind cluster {name} (context {kind.context(name)})")
    kind.delete(name, kubeconfig=kubeconfig, timeout=timeout)
    return True


def _require_ours(name: str) -> None:
    """Somebody else's cluster of the same name is neither changed nor deleted. Errors: ToolError."""
    if not kind.made_here(name):
        raise ToolError(
            f"kind cluster {name} exists, and `deployer cluster up` did not make it",
            hint=f"choose another --name; `deployer deploy --context {kind.context(name)}` deploys to it as it is,"
            f" `kind delete cluster --name {name}` deletes it",
        )


def local_image(target: str, tag: str = "") -> str:
    """The name of a local image; without `tag`, with that of the gateway chart."""
    return f"{REPOSITORY}/{target}:{tag or _chart_tag()}"


def gateway_image(release: Release) -> str:
    """The image of a release's gateways. It has Python, and every node with a gateway can pull it."""
    wanted = release.gateway.image
    if not wanted.repository:
        return local_image("gateway", wanted.tag)
    name = f"{wanted.registry}/{wanted.repository}" if wanted.registry else wanted.repository
    return f"{name}@{wanted.digest}" if wanted.digest else f"{name}:{wanted.tag or _chart_tag()}"


def _chart_tag() -> str:
    chart = yaml.safe_load((charts_directory() / GATEWAY_CHART / "Chart.yaml").read_text("utf-8"))
    return str(chart["appVersion"])


def _load_images(request: UpRequest, progress: Progress) -> tuple[str, ...]:
    loaded = []
    for target in TARGETS:
        reference = local_image(target, request.tag)
        if not docker.has_image(reference):
            progress(f"building {reference} (takes minutes, only once)")
            docker.build(
                _dockerfile_directory(),
                target=target,
                reference=reference,
                arguments=request.build_arguments,
                timeout=request.timeout,
            )
        progress(f"loading {reference} into {request.name}")
        kind.load_image(request.name, reference, timeout=request.timeout)
        loaded.append(reference)
    return tuple(loaded)


def _dockerfile_directory() -> Path:
    directory = charts_directory().parent
    if (directory / "Dockerfile").exists():
        return directory
    raise ToolError(
        "the images do not exist on this machine, and can only be built from a checkout of the project",
        hint="build them there, or skip them with --no-images",
    )


def _install_metrics(api: ApiServer, deadline: float, progress: Progress) -> None:
    """Install metrics-server, unless it is already installed."""
    existing = api.find(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{METRICS_SERVER}", Deployment)
    if existing is None or existing.metadata.labels.get("app.kubernetes.io/managed-by") == FIELD_MANAGER:
        progress("installing metrics-server")
        apply.apply(api, apply.METRICS_SERVER_MANIFEST)
    scale = Scale(api, SYSTEM, METRICS_SERVER)

    def missing() -> tuple[str, ...]:
        return () if scale.deployment().status.available_replicas else ("no pod is available",)

    def why() -> str:
        where = f"/api/v1/namespaces/{SYSTEM}"
        pods = [p for p in api.list(f"{where}/pods", Pod) if p.name.startswith(METRICS_SERVER)]
        return explain(pods, api.list(f"{where}/events", Event))

    until_nothing(missing, what="metrics-server", deadline=deadline, progress=progress, explain=why)
