"""Pods that the deployer creates itself: one container with an agent, under the restricted Pod Security Standard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from deployer.domain.pods import Pods

PORT = 8080
PRODUCT = "tfserving-deployer"


def labels(component: str, **more: str) -> dict[str, str]:
    """Labels of an agent's pod; `more` are further app.kubernetes.io labels."""
    own = {"name": PRODUCT, "component": component, "managed-by": PRODUCT, **more}
    return {f"app.kubernetes.io/{key}": value for key, value in own.items()}


def metadata(pods: Pods, own: Mapping[str, str]) -> dict[str, object]:
    """Labels and annotations of an agent's pod: those of `pods`, and its `own` labels, by which it is found."""
    found: dict[str, object] = {"labels": {**pods.labels, **own}}
    return {**found, "annotations": dict(pods.annotations)} if pods.annotations else found


def container(
    name: str,
    *,
    image: str,
    command: Sequence[str],
    token: str,
    idle_seconds: int,
    resources: Mapping[str, Mapping[str, str]],
    cpu_limit: str,
    mount: Mapping[str, str],
) -> dict[str, object]:
    """The container. Address, port, sha256 of `token` and idle timeout are appended to `command`; the token itself is
    nowhere in the pod. `cpu_limit` is added to the limits of `resources`, empty for none."""
    limits = {**resources.get("limits", {}), **({"cpu": cpu_limit} if cpu_limit else {})}
    address = ["$(POD_IP)", str(PORT), hashlib.sha256(token.encode()).hexdigest(), str(idle_seconds)]
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*command, *address],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": {**resources, "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [mount],
    }


def spec(
    container: Mapping[str, object],
    *,
    pods: Pods,
    volume: Mapping[str, object],
    grace_seconds: int,
    owns_files: bool = False,
) -> dict[str, object]:
    """The spec of a pod with this one `container`, which is never restarted.

    `owns_files` gives the files of the volume to the pod's group.
    """
    security: dict[str, object] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if pods.user != "assigned":
        security |= {"runAsUser": pods.user, "runAsGroup": pods.user}
        security |= {"fsGroup": pods.user} if owns_files else {}
    if owns_files:
        security["fsGroupChangePolicy"] = "OnRootMismatch"
    return {
        **pods.placement,
        **({"serviceAccountName": pods.service_account} if pods.service_account else {}),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        "containers": [container],
        "volumes": [volume],
    }
