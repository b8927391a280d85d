"""Server-side apply of manifests that are part of this package."""

from __future__ import annotations

from importlib import resources

import yaml

from deployer.targets.cluster.api import ApiServer

METRICS_SERVER_MANIFEST = "metrics-server.yaml"

_COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Namespace": "/api/v1/namespaces",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "APIService": "/apis/apiregistration.k8s.io/v1/apiservices",
}
"""API paths by kind; only the kinds in our own manifests."""


def apply(api: ApiServer, manifest: str) -> None:
    """Apply every object of a manifest of this package. Errors: TargetError."""
    text = resources.files("deployer.targets.cluster").joinpath("manifests", manifest).read_text("utf-8")
    for document in yaml.safe_load_all(text):
        meta = document["metadata"]
        collection = _COLLECTIONS[document["kind"]].format(namespace=meta.get("namespace", ""))
        api.apply(f"{collection}/{meta['name']}", document)
