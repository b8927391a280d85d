"""The state of a cluster that `deployer doctor` checks, at one moment. It can be saved and checked again later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.errors import DeployerError
from deployer.targets.cluster.api import pod_path
from deployer.targets.cluster.names import GATEWAY, MODEL_SERVER
from deployer.targets.cluster.objects import Autoscaler, Deployment, Event, Pod, Pvc
from deployer.targets.serving_view import ServingView, view

if TYPE_CHECKING:
    from deployer.targets.cluster.target import ClusterTarget

SNAPSHOT_LOG_LINES = 30


@dataclass(frozen=True, kw_only=True)
class ClusterSnapshot:
    """Objects of a release, and what its pods report.

    `pvcs` maps a PVC that is mounted but missing to None. `events` are only those of these objects. `logs` are the last
    log lines of pods that are not ready, from before the last restart if there was one. `before` is what replicas and
    gateways reported a few seconds earlier, None when they were queried only once.
    """

    namespace: str
    deployments: tuple[Deployment, ...]
    pods: tuple[Pod, ...]
    pvcs: Mapping[str, Pvc | None] = field(default_factory=dict)
    autoscalers: tuple[Autoscaler, ...] = ()
    events: tuple[Event, ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    serving: ServingView
    before: ServingView | None = None


def snapshot(target: ClusterTarget) -> ClusterSnapshot:
    """Read everything once. Errors: TargetError when the release does not exist, or the cluster is unreachable."""
    pods = (*target.pods(MODEL_SERVER), *target.pods(GATEWAY))
    scales = (target.scaling, target.gateway_scaling)
    autoscalers = tuple(found for scale in scales if (found := scale.autoscaler()) is not None)
    pvcs = {name: _pvc(target, name) for pod in pods for name in pod.spec.pvcs}
    subjects = {pod.metadata.uid for pod in pods}
    subjects |= {pvc.metadata.uid for pvc in pvcs.values() if pvc is not None}
    subjects |= {autoscaler.metadata.uid for autoscaler in autoscalers}
    unready = [pod for pod in pods if not pod.ready and not pod.terminating and pod.status.container_statuses]
    logs = target.parallel(lambda pod: _log(target, pod), unready)
    return ClusterSnapshot(
        namespace=target.place.namespace,
        deployments=tuple(scale.deployment() for scale in scales),
        pods=pods,
        pvcs=pvcs,
        autoscalers=autoscalers,
        events=tuple(event for event in target.events() if event.involved_object.uid in subjects),
        logs={pod.name: log for pod, log in zip(unready, logs, strict=True) if log},
        serving=view(target),
    )


def _pvc(target: ClusterTarget, name: str) -> Pvc | None:
    return target.api.find(f"/api/v1/namespaces/{target.place.namespace}/persistentvolumeclaims/{name}", Pvc)


def _log(target: ClusterTarget, pod: Pod) -> str:
    """The last lines of a pod's log; empty if there are none or they cannot be read."""
    container = pod.status.container_statuses[0]
    query = {"container": container.name, "tailLines": str(SNAPSHOT_LOG_LINES)}
    if container.restart_count and container.state.waiting is not None:
        query["previous"] = "true"
    path = f"{pod_path(target.place.namespace, pod.name)}/log"
    try:
        return target.api.call("GET", path, query=query).decode(errors="replace").strip()
    except DeployerError:  # a container that never ran has no log; that is not a finding
        return ""
