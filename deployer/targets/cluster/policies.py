"""A NetworkPolicy for a pod that the deployer creates: it can only be called at its port, and only call what it needs.

It also admits the API server, through which the deployer calls the pod, where a namespace denies everything by
default. No selector of Kubernetes names the API server, so the port is open to every address; a token protects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from deployer.decode import json_as
from deployer.targets.agents.pod import PORT
from deployer.targets.base import Progress
from deployer.targets.cluster.api import ApiServer, Refused
from deployer.targets.cluster.objects import Meta

DNS_PORT = 53
FORBIDDEN = 403


class _Created(msgspec.Struct, frozen=True):
    metadata: Meta


def policy_manifest(
    name: str, labels: Mapping[str, str], owner: Mapping[str, object], *, calls_release: bool
) -> dict[str, object]:
    """The policy of the pods with these labels; it is deleted with its `owner`, a reference to an object.

    With `calls_release` the pods may call the pods of their namespace, and DNS; without it nothing.
    """
    dns = [{"port": DNS_PORT, "protocol": protocol} for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": dict(labels), "ownerReferences": [dict(owner)]},
        "spec": {
            "podSelector": {"matchLabels": dict(labels)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
            "egress": [{"to": [{"podSelector": {}}]}, {"ports": dns}] if calls_release else [],
        },
    }


def owner_of(created: bytes, *, version: str, kind: str) -> dict[str, object]:
    """A reference to an object that the API server has just created."""
    meta = json_as(created, _Created).metadata
    return {"apiVersion": version, "kind": kind, "name": meta.name, "uid": meta.uid}


def put_policy(api: ApiServer, namespace: str, manifest: Mapping[str, object], name: str, progress: Progress) -> None:
    """Create or replace a policy; where that is forbidden, say that the pod runs without. Errors: TargetError."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{quote(namespace)}/networkpolicies/{quote(name)}"
    try:
        api.apply(path, manifest)
    except Refused as error:
        if error.code != FORBIDDEN:
            raise
        progress(f"{name} runs without a NetworkPolicy: you may not create one in namespace {namespace}")
