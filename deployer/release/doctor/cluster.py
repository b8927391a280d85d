"""What is wrong by the word of Kubernetes: pods, claims, nodes, autoscalers. Pure, over a snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.release.doctor.finding import Diagnosis, Finding, Severity, merged
from deployer.release.doctor.serving import lasting, silences
from deployer.targets.cluster.objects import Autoscaler, ContainerStatus, Pod, Terminated
from deployer.targets.cluster.state import view
from deployer.targets.cluster.state.snapshot import ClusterSnapshot

PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
SHORTAGE = re.compile(r"Insufficient ([a-z0-9./-]*[a-z0-9])")
NO_VERSIONS = re.compile(r"No versions of servable (\S+) found under base path (\S+?)\.? ")
NO_BASE = re.compile(r"Could not find base path (\S+) for servable (\S+)")


def diagnose(seen: ClusterSnapshot, *, target: str) -> Diagnosis:
    """Every cause in a snapshot, each once, with the pods that show it."""
    return Diagnosis(target=target, findings=merged(_findings(seen)))


def _findings(seen: ClusterSnapshot) -> Iterator[Finding]:
    for deployment in seen.deployments:
        for condition in deployment.status.conditions:
            if condition.type == "ReplicaFailure" and condition.status == "True":
                yield Finding(
                    cause="pods cannot be created",
                    subjects=(f"Deployment {deployment.metadata.name}",),
                    evidence=condition.message,
                    remedy="quota and Pod Security of the namespace decide: change those, or the values named above",
                )
    yield from _claims(seen)
    for pod in seen.pods:
        if not pod.terminating:
            yield from _pod(pod, seen)
    for autoscaler in seen.autoscalers:
        yield from _autoscaler(autoscaler)
    yield from silences(seen.serving, [pod.name for pod in seen.pods if pod.ready and not pod.terminating])
    yield from lasting(seen.serving, seen.before)


def _claims(seen: ClusterSnapshot) -> Iterator[Finding]:
    for name, pvc in seen.pvcs.items():
        users = tuple(pod.name for pod in seen.pods if name in pod.spec.pvcs)
        if pvc is None:
            yield Finding(
                cause=f"claim {name} does not exist",
                subjects=users,
                evidence=f"there is no PersistentVolumeClaim {name} in namespace {seen.namespace}",
                remedy=f"`deployer publish … --to pvc://{seen.namespace}/{name} --create 10Gi` makes it",
            )
        elif problem := view.pvc_problem(pvc, seen.events):
            asked = pvc.spec.storage_class_name
            yield Finding(
                cause=f"claim {name} is not bound",
                subjects=users,
                evidence=problem,
                remedy=f"its storage class is {asked!r}: `kubectl get storageclass` shows which there are"
                if asked
                else "name a storage class, or make one the cluster's default",
            )


def _pod(pod: Pod, seen: ClusterSnapshot) -> Iterator[Finding]:
    found = [*_unscheduled(pod, seen), *_unmounted(pod, seen)]
    for container in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        found += _container(pod, container, seen)
    yield from found
    if not found and not pod.ready and (found_in_log := _starting(pod, seen)):
        yield found_in_log


def _unscheduled(pod: Pod, seen: ClusterSnapshot) -> Iterator[Finding]:
    for condition in pod.status.conditions:
        if condition.type != "PodScheduled" or condition.status != "False":
            continue
        shortages = sorted(set(SHORTAGE.findall(condition.message)))
        if any("gpu" in resource for resource in shortages):
            yield _finding(
                pod,
                "no node has a free GPU",
                condition.message,
                "free or add a GPU node; when there is one, see that its device plug-in advertises the resource",
            )
        elif shortages:
            what = " and ".join({"cpu": "CPU"}.get(resource, resource) for resource in shortages)
            yield _finding(
                pod,
                f"no node has enough {what} left",
                f"{condition.message} It asks for {_requests(pod)}",
                "add a node, ask for less (serving.resources), or run fewer replicas",
            )
        elif "persistentvolumeclaim" not in condition.message.lower() or not _claim_explains(pod, seen):
            yield _finding(
                pod,
                "no node may take the pod",
                condition.message,
                "compare its node selector, affinity and tolerations with `kubectl get nodes --show-labels`",
            )


def _claim_explains(pod: Pod, seen: ClusterSnapshot) -> bool:
    pvcs = [seen.pvcs.get(name) for name in pod.spec.pvcs]
    return any(pvc is None or pvc.status.phase != "Bound" for pvc in pvcs)


def _unmounted(pod: Pod, seen: ClusterSnapshot) -> Iterator[Finding]:
    """Volumes that a kubelet fails to attach or mount. An old warning of a pod that runs is history."""
    if pod.status.phase != "Pending":
        return
    about = [e for e in seen.events if e.involved_object.uid == pod.metadata.uid and e.type == "Warning"]
    for event in about:
        if event.reason in ("FailedMount", "FailedAttachVolume"):
            yield _finding(
                pod,
                "a volume cannot be mounted",
                event.message,
                "a ReadWriteOnce claim serves one node only: use ReadWriteMany storage for more than one",
            )
            return


def _container(pod: Pod, container: ContainerStatus, seen: ClusterSnapshot) -> Iterator[Finding]:
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
            "the message names what is missing: a ConfigMap, a Secret, or a user that is not root",
        )
    if ended is not None and ended.reason == "OOMKilled":
        limit = next((c.resources.limits.get("memory") for c in pod.spec.containers if c.name == container.name), None)
        yield _finding(
            pod,
            "out of memory",
            f"container {container.name} was killed at its limit of {limit or 'the node'}"
            f" and has restarted {container.restart_count} times",
            "raise serving.resources.memory: two versions are resident during a rollout; or serve fewer at a time",
            # It may have been a version that was taken back; what runs now may never need as much again.
            severity=Severity.WARNING if container.ready else Severity.ERROR,
        )
    elif ended is not None and ended.exit_code and not container.ready:
        yield _crash(pod, container, ended, seen)


def _crash(pod: Pod, container: ContainerStatus, ended: Terminated, seen: ClusterSnapshot) -> Finding:
    known = _starting(pod, seen)
    if known is not None:
        return known
    lines = seen.logs.get(pod.name, "").splitlines()
    how = f"container {container.name} ended with exit code {ended.exit_code}, {container.restart_count} restarts"
    return _finding(
        pod,
        "a container keeps ending",
        f"{how}; its last words: {lines[-1]}" if lines else how,
        f"`kubectl -n {seen.namespace} logs {pod.name} --previous` shows all that it wrote",
    )


def _starting(pod: Pod, seen: ClusterSnapshot) -> Finding | None:
    """Why a model server that does not serve yet will not: what its log says of the store."""
    log = seen.logs.get(pod.name, "")
    remedy = "`deployer publish` copies it there; the claim, its subPath and basePath must be those of the release"
    if matches := NO_BASE.findall(log):
        path, model = matches[-1]
        return _finding(pod, f"model {model.rstrip(':')} is missing in the store", f"there is no {path}", remedy)
    if matches := NO_VERSIONS.findall(log):
        model, path = matches[-1]
        evidence = f"none of the versions that model_config names is below {path}"
        return _finding(pod, f"versions of model {model} are missing in the store", evidence, remedy)
    return None


def _autoscaler(autoscaler: Autoscaler) -> Iterator[Finding]:
    subject = f"HorizontalPodAutoscaler {autoscaler.metadata.name}"
    for condition in autoscaler.status.conditions:
        if condition.type == "ScalingActive" and condition.status == "False" and "Metric" in condition.reason:
            yield Finding(
                cause="the autoscaler has no metrics",
                subjects=(subject,),
                evidence=f"{condition.reason}: {condition.message}",
                remedy="metrics-server (or the adapter of a custom metric) must run: `kubectl top pods` shows whether "
                "it does; numbers take up to a minute after a pod has started",
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
                cause="the autoscaler has reached its most replicas",
                subjects=(subject,),
                evidence=f"{condition.message} ({autoscaler.spec.max_replicas})",
                remedy="raise autoscaling.max_replicas when latency suffers",
                severity=Severity.NOTE,
            )


def _finding(pod: Pod, cause: str, evidence: str, remedy: str, *, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(cause=cause, subjects=(pod.name,), evidence=evidence, remedy=remedy, severity=severity)


def _requests(pod: Pod) -> str:
    asked = [f"{value} {name}" for c in pod.spec.containers for name, value in c.resources.requests.items()]
    return ", ".join(asked) or "nothing"
