"""CPU time of pods from a kubelet's /metrics/resource: measured every 10 to 20 seconds, with timestamps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.domain import quantity
from deployer.targets.base import CpuReading
from deployer.targets.cluster.objects import Pod

_LINE = re.compile(
    r"^container_cpu_usage_seconds_total\{(?P<labels>[^}]*)\} (?P<seconds>\S+) (?P<milliseconds>\d+)$", re.MULTILINE
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class _Sample:
    pod: str
    reading: CpuReading


def path(node: str) -> str:
    """The proxy path of the API server for the metrics of a node's kubelet."""
    return f"/api/v1/nodes/{node}/proxy/metrics/resource"


def readings(text: str, namespace: str) -> Mapping[str, CpuReading]:
    """The CPU time of each pod of a namespace, summed over its containers."""
    found: dict[str, CpuReading] = {}
    for sample in _samples(text, namespace):
        before = found.get(sample.pod, CpuReading(seconds=0.0, at=0.0))
        found[sample.pod] = CpuReading(
            seconds=before.seconds + sample.reading.seconds, at=max(before.at, sample.reading.at)
        )
    return found


def _samples(text: str, namespace: str) -> list[_Sample]:
    found = []
    for line in _LINE.finditer(text):
        labels = dict(_LABEL.findall(line["labels"]))
        if labels.get("namespace") == namespace:
            reading = CpuReading(seconds=float(line["seconds"]), at=int(line["milliseconds"]) / 1e3)
            found.append(_Sample(pod=labels.get("pod", ""), reading=reading))
    return found


def limit(pod: Pod) -> float | None:
    """The CPU limit of the first container of a pod that has one, in CPUs."""
    limits = [one.resources.limits["cpu"] for one in pod.spec.containers if "cpu" in one.resources.limits]
    return quantity.cpus(limits[0]) if limits else None
