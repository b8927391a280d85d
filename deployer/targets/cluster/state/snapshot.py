"""All that `deployer doctor` looks at in a cluster, frozen at one moment: it can be kept and looked at again."""

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

LOG_LINES = 30


@dataclass(frozen=True, kw_only=True)
class ClusterSnapshot:
    """Objects of a release and what its pods report.

    `pvcs` holds None for a PVC that a pod mounts and that does not exist; `events` only those about these objects;
    `logs` the end of what a pod that is not ready wrote, before its last restart if there was one.
    `before` is what replicas and gateways reported a few seconds earlier, None when they were asked once.
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
    """Look at everything once. Errors: TargetError when the release is not there, or the cluster cannot be reached."""
    pods = (*target.pods(MODEL_SERVER), *target.pods(GATEWAY))
    scales = (target.scaling, target.gateway_scaling)
    autoscalers = tuple(found for scale in scales if (found := scale.autoscaler()) is not None)
    pvcs = {name: _pvc(target, name) for pod in pods for name in pod.spec.pvcs}
    subjects = {pod.metadata.uid for pod in pods}
    subjects |= {pvc.metadata.uid for pvc in pvcs.values() if pvc is not None}
    subjects |= {autoscaler.metadata.uid for autoscaler in autoscalers}
    unready = [pod for pod in pods if not pod.ready and not pod.leaving and pod.status.container_statuses]
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
    """The end of a pod's log; empty when nothing has been written, or it cannot be had."""
    container = pod.status.container_statuses[0]
    query = {"container": container.name, "tailLines": str(LOG_LINES)}
    if container.restart_count and container.state.waiting is not None:
        query["previous"] = "true"
    path = f"{pod_path(target.place.namespace, pod.name)}/log"
    try:
        return target.api.call("GET", path, query=query).decode(errors="replace").strip()
    except DeployerError:  # a container that never ran has no log, and that is no finding
        return ""
