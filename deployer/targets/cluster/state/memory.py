"""Memory of model servers from the metrics API: measured by the kubelets every 10 to 60 seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from deployer.domain import quantity
from deployer.targets.base import MemoryReading
from deployer.targets.cluster.names import MODEL_SERVER
from deployer.targets.cluster.objects import Pod


class _Container(msgspec.Struct, frozen=True):
    name: str
    usage: dict[str, str] = {}


class _Meta(msgspec.Struct, frozen=True):
    name: str


class PodMetrics(msgspec.Struct, frozen=True):
    """Usage of a pod at `timestamp`; `memory` is the working set, which counts for an OOM kill."""

    metadata: _Meta
    timestamp: datetime
    containers: tuple[_Container, ...] = ()


def path(namespace: str) -> str:
    """The API path of the pod metrics of a namespace."""
    return f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"


def readings(found: Iterable[PodMetrics]) -> Mapping[str, MemoryReading]:
    """The memory of the model server in each pod."""
    return {
        pod.metadata.name: MemoryReading(size=_bytes(container.usage["memory"]), at=pod.timestamp.timestamp())
        for pod in found
        for container in pod.containers
        if container.name == MODEL_SERVER and "memory" in container.usage
    }


def limit(pod: Pod) -> int | None:
    """The memory limit of the model server in a pod, in bytes."""
    found = (c.resources.limits.get("memory") for c in pod.spec.containers if c.name == MODEL_SERVER)
    return next((quantity.memory(text) for text in found if text), None)


def _bytes(text: str) -> int:
    return quantity.memory(text) if text.strip("0") else 0
