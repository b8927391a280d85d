"""Findings from Kubernetes objects: pods, PVCs, nodes, autoscalers. Pure, from a snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.release.doctor.finding import Diagnosis, Finding, Severity, merged
from deployer.release.doctor.serving import lasting_findings, unreachable_findings
from deployer.targets.cluster.objects import Autoscaler, ContainerStatus, Pod, Terminated
from deployer.targets.cluster.state import view
from deployer.targets.cluster.state.snapshot import ClusterSnapshot

PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
SHORTAGE = re.compile(r"Insufficient ([a-z0-9./-]*[a-z0-9])")
UNREACHABLE = "a NetworkPolicy may block the API server; otherwise its log shows why"
NO_VERSIONS = re.compile(r"No versions of servable (\S+) found under base path (\S+?)\.? ")
NO_BASE = re.compile(r"Could not find base path (\S+) for servable (\S+)")


def diagnose(snapshot: ClusterSnapshot, *, target: str) -> Diagnosis:
    """Every cause in a snapshot, each once, with the affected pods."""
    return Diagnosis(target=target, findings=merged(_findings(snapshot)))


def _findings(snapshot: ClusterSnapshot) -> Iterator[Finding]:
    for deployment in snapshot.deployments:
        for condition in deployment.status.conditions:
            if condition.type == "ReplicaFailure" and condition.status == "True":
                yield Finding(
                    cause="pods cannot be created",
                    subjects=(f"Deployment {deployment.metadata.name}",),
                    evidence=condition.message,
                    remedy="check quota and Pod Security level of the namespace, or change the values named above",
                )
    yield from _pvcs(snapshot)
    for pod in snapshot.pods:
        if not pod.terminating:
            yield from _pod(pod, snapshot)
    for autoscaler in snapshot.autoscalers:
        yield from _autoscaler(autoscaler)
    yield from unreachable_findings(
        snapshot.serving, {pod.name: UNREACHABLE for pod in snapshot.pods if pod.ready and not pod.terminating}
    )
    yield from lasting_findings(snapshot.serving, snapshot.before)


def _pvcs(snapshot: ClusterSnapshot) -> Iterator[Finding]:
    for name, pvc in snapshot.pvcs.items():
        users = tuple(pod.name for pod in snapshot.pods if name in pod.spec.pvcs)
        if pvc is None:
            yield Finding(
                cause=f"PVC {name} does not exist",
                subjects=users,
                evidence=f"there is no PersistentVolumeClaim {name} in namespace {snapshot.namespace}",
                remedy=f"`deployer publish … --to pvc://{snapshot.namespace}/{name} --create 10Gi` creates it",
            )
        elif problem := view.pvc_problem(pvc, snapshot.events):
            storage_class = pvc.spec.storage_class_name
            yield Finding(
                cause=f"PVC {name} is not bound",
                subjects=users,
                evidence=problem,
                remedy=f"its storage class is {storage_class!r}; `kubectl get storageclass` lists the existing ones"
                if storage_class
                else "set a storage class, or make one the cluster's default",
            )


def _pod(pod: Pod, snapshot: ClusterSnapshot) -> Iterator[Finding]:
    found = [*_unscheduled(pod, snapshot), *_unmounted(pod, snapshot)]
    for container in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        found += _container(pod, container, snapshot)
    yield from found
    if not found and not pod.ready and (found_in_log := _starting(pod, snapshot)):
        yield found_in_log


def _unscheduled(pod: Pod, snapshot: ClusterSnapshot) -> Iterator[Finding]:
    for condition in pod.status.conditions:
        if condition.type != "PodScheduled" or condition.status != "False":
            continue
        shortages = sorted(set(SHORTAGE.findall(condition.message)))
        if any("gpu" in resource for resource in shortages):
            yield _finding(
                pod,
                "no node has a free GPU",
                condition.message,
                "free or add a GPU node; check that its device plug-in advertises the resource",
            )
        elif shortages:
            what = " and ".join({"cpu": "CPU"}.get(resource, resource) for resource in shortages)
            yield _finding(
                pod,
                f"no node has enough free {what}",
                f"{condition.message} The pod requests {_requests(pod)}",
                "add a node, request less (serving.resources), or run fewer replicas",
            )
        elif "persistentvolumeclaim" not in condition.message.lower() or not _pvc_explains(pod, snapshot):
            yield _finding(
                pod,
                "no node matches the pod",
                condition.message,
                "compare its node selector, affinity and tolerations with `kubectl get nodes --show-labels`",
            )


def _pvc_explains(pod: Pod, snapshot: ClusterSnapshot) -> bool:
    pvcs = [snapshot.pvcs.get(name) for name in pod.spec.pvcs]
    return any(pvc is None or pvc.status.phase != "Bound" for pvc in pvcs)


def _unmounted(pod: Pod, snapshot: ClusterSnapshot) -> Iterator[Finding]:
    """Volumes that a kubelet cannot attach or mount. Old warnings of a running pod are ignored."""
    if pod.status.phase != "Pending":
        return
    about = [e for e in snapshot.events if e.involved_object.uid == pod.metadata.uid and e.type == "Warning"]
    for event in about:
        if event.reason in ("FailedMount", "FailedAttachVolume"):
            yield _finding(
                pod,
                "a volume cannot be mounted",
                event.message,
                "a ReadWriteOnce PVC can be mounted on one node only; use ReadWriteMany storage for several nodes",
            )
            return


def _container(pod: Pod, container: ContainerStatus, snapshot: ClusterSnapshot) -> Iterator[Finding]:
    waiting = container.state.waiting
    ended = container.state.terminated or container.last_state.terminated
    if waiting is not None and waiting.reason in PULL:
        yield _finding(
            pod,
            f"image {container.image} cannot be pulled",
            f"container {container.name}: {waiting.message or waiting.reason}",
            "correct its name or tag, add imagePullSecrets, or load it into the nodes "
            "(`kind load docker-image` on kind)",
        )
    elif waiting is not None and waiting.reason in ("CreateContainerConfigError", "CreateContainerError"):
        yield _finding(
            pod,
            "a container cannot be created",
            f"container {container.name}: {waiting.message}",
            "the message says what is missing: a ConfigMap, a Secret, or a non-root user",
        )
    if ended is not None and ended.reason == "OOMKilled":
        limit = next((c.resources.limits.get("memory") for c in pod.spec.containers if c.name == container.name), None)
        yield _finding(
            pod,
            "out of memory",
            f"container {container.name} was killed at its memory limit of {limit or 'the node'}"
            f" and has restarted {container.restart_count} times",
            "raise serving.resources.memory (two versions are resident during a rollout), or serve fewer versions",
            # The cause may be a version that was rolled back; the current one may never need as much.
            severity=Severity.WARNING if container.ready else Severity.ERROR,
        )
    elif ended is not None and ended.exit_code and not container.ready:
        yield _crash(pod, container, ended, snapshot)


def _crash(pod: Pod, container: ContainerStatus, ended: Terminated, snapshot: ClusterSnapshot) -> Finding:
    known = _starting(pod, snapshot)
    if known is not None:
        return known
    lines = snapshot.logs.get(pod.name, "").splitlines()
    how = f"container {container.name} ended with exit code {ended.exit_code}, {container.restart_count} restarts"
    return _finding(
        pod,
        "a container keeps crashing",
        f"{how}; last log line: {lines[-1]}" if lines else how,
        f"`kubectl -n {snapshot.namespace} logs {pod.name} --previous` shows its whole log",
    )


def _starting(pod: Pod, snapshot: ClusterSnapshot) -> Finding | None:
    """Why a model server cannot start serving, from what its log says about the store."""
    log = snapshot.logs.get(pod.name, "")
    remedy = "`deployer publish` copies it there; PVC, subPath and basePath must be those of the release"
    if matches := NO_BASE.findall(log):
        path, model = matches[-1]
        return _finding(pod, f"model {model.rstrip(':')} is missing from the store", f"{path} does not exist", remedy)
    if matches := NO_VERSIONS.findall(log):
        model, path = matches[-1]
        evidence = f"none of the versions in model_config is below {path}"
        return _finding(pod, f"versions of model {model} are missing from the store", evidence, remedy)
    return None


def _autoscaler(autoscaler: Autoscaler) -> Iterator[Finding]:
    subject = f"HorizontalPodAutoscaler {autoscaler.metadata.name}"
    for condition in autoscaler.status.conditions:
        if condition.type == "ScalingActive" and condition.status == "False" and "Metric" in condition.reason:
            yield Finding(
                cause="the autoscaler has no metrics",
                subjects=(subject,),
                evidence=f"{condition.reason}: {condition.message}",
                remedy="metrics-server (or the adapter of a custom metric) must run: `kubectl top pods` shows if "
                "whether it does; metrics of a new pod take up to a minute",
            )
        elif condition.type == "AbleToScale" and condition.status == "False":
            yield Finding(
                cause="the autoscaler cannot scale",
                subjects=(subject,),
                evidence=f"{condition.reason}: {condition.message}",
                remedy="its target must exist and be scalable; `kubectl describe hpa` shows both",
            )
        elif condition.type == "ScalingLimited" and condition.reason == "TooManyReplicas":
            yield Finding(
                cause="the autoscaler has reached its maximum",
                subjects=(subject,),
                evidence=f"{condition.message} ({autoscaler.spec.max_replicas})",
                remedy="raise autoscaling.max_replicas if latency is too high",
                severity=Severity.NOTE,
            )


def _finding(pod: Pod, cause: str, evidence: str, remedy: str, *, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(cause=cause, subjects=(pod.name,), evidence=evidence, remedy=remedy, severity=severity)


def _requests(pod: Pod) -> str:
    requests = [f"{value} {name}" for c in pod.spec.containers for name, value in c.resources.requests.items()]
    return ", ".join(requests) or "nothing"
