"""Problems of pods, containers and PVCs as text. Pure: tested on recorded cluster states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deployer.targets.cluster.objects import ContainerStatus, Event, Pod, Pvc, Terminated

NOISE = frozenset({"ContainerCreating", "PodInitializing"})
"""Waiting reasons that are not a problem by themselves."""

CRASHED = "CrashLoopBackOff"
"""Its message only has the back-off time; how the container ended, and its log, say more."""


def pod_problem(pod: Pod) -> str:
    """Why a pod is not ready, with the name of the container; empty if it is ready or nothing is known yet."""
    if pod.terminating:
        return "it is being terminated"
    if pod.status.phase in ("Failed", "Succeeded"):
        return f"it has ended: {_joined(pod.status.reason or pod.status.phase, pod.status.message)}"
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"it cannot be scheduled: {condition.message or condition.reason}"
    for container in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if problem := container_problem(container):
            return problem
    return ""


def container_problem(container: ContainerStatus) -> str:
    """Why a container is not running, and how it ended the last time; empty if it is running."""
    ended = container.state.terminated or container.last_state.terminated
    before = ""
    if ended is not None and ended.exit_code != 0:
        before = _how(ended)
        if container.restart_count:
            before += f", restarted {container.restart_count} times"
    waiting = container.state.waiting
    if waiting is not None and waiting.reason and waiting.reason not in NOISE:
        reason = waiting.reason if waiting.reason == CRASHED else _joined(waiting.reason, waiting.message)
        return f"container {container.name} is waiting: {reason}" + (f"; before: {before}" if before else "")
    if container.state.terminated is not None and before:
        return f"container {container.name} has ended: {before}"
    if before and not container.ready:
        return f"container {container.name} is not ready; before: {before}"
    return ""


def last_end(pod: Pod) -> str:
    """How a container of a pod last failed: "OOMKilled (exit code 137)"; empty if it never did."""
    for container in pod.status.container_statuses:
        ended = container.state.terminated or container.last_state.terminated
        if ended is not None and ended.exit_code != 0:
            return _how(ended)
    return ""


def ends(pod: Pod) -> int:
    """How often containers of a pod have ended. The kubelet's restart count only counts restarts, not the last end."""
    found = 0
    for container in pod.status.container_statuses:
        state = container.state
        down = state.terminated or (state.waiting and container.last_state.terminated)
        found += container.restart_count + (1 if down else 0)
    return found


def _how(ended: Terminated) -> str:
    return f"{ended.reason or 'it ended'} (exit code {ended.exit_code})"


def pvc_problem(pvc: Pvc, events: Iterable[Event]) -> str:
    """Why a PVC is not bound, with its latest event; empty if it is bound."""
    if pvc.status.phase == "Bound":
        return ""
    about = [e for e in events if e.involved_object.uid == pvc.metadata.uid]
    latest = max(about, key=lambda event: event.when, default=None)
    return f"it is {pvc.status.phase}" + (f": {latest.reason}: {latest.message}" if latest else "")


def crashed(pod: Pod) -> str:
    """The name of a container of a pod that has crashed and not become ready again; empty if there is none."""
    for container in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        ended = container.state.terminated or container.last_state.terminated
        if not container.ready and ended is not None and ended.exit_code != 0:
            return container.name
    return ""


def last_warning(subject: Pod | Pvc, events: Iterable[Event]) -> str:
    """The latest warning event of an object; empty if there is none."""
    about = [e for e in events if e.type == "Warning" and e.involved_object.uid == subject.metadata.uid]
    if not about:
        return ""
    latest = max(about, key=lambda event: event.when)
    return f"event {latest.reason}: {latest.message}"


def explain(pods: Sequence[Pod], events: Sequence[Event]) -> str:
    """Why pods are not ready, one line per pod: its problem and its latest warning. Empty if all are ready."""
    lines = []
    for pod in pods:
        if pod.ready and not pod.terminating:
            continue
        problem, warning = pod_problem(pod), last_warning(pod, events)
        parts = [part for part in (problem, warning) if part] or ["it is starting; no problem so far"]
        lines.append(f"{pod.name}: {'; '.join(parts)}")
    return "\n".join(lines)


def _joined(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message and message != reason else reason
