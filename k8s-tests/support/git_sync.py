"""A GitOps controller as far as the API server can tell: it applies the same manifests again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from deployer.errors import DeployerError
from deployer.targets.cluster.api import APPLY_PATCH, ApiServer

MANAGER = "git"
PATHS = {
    "v1": "/api/v1",
    "apps/v1": "/apis/apps/v1",
    "autoscaling/v2": "/apis/autoscaling/v2",
    "networking.k8s.io/v1": "/apis/networking.k8s.io/v1",
    "policy/v1": "/apis/policy/v1",
    "rbac.authorization.k8s.io/v1": "/apis/rbac.authorization.k8s.io/v1",
}
PLURALS = {"NetworkPolicy": "networkpolicies"}


@dataclass
class FakeGitOps:
    """Applies manifests as the field manager `git`, server-side and without force: who else owns a field is a conflict.

    Its Helm hooks are left out, as with `helm template --no-hooks`.
    """

    api: ApiServer
    namespace: str
    documents: list[dict[str, Any]]
    syncs: int = 0
    refused: list[str] = field(default_factory=list)

    def sync(self) -> None:
        """One sync."""
        for document in self.documents:
            kind = document["kind"]
            plural = PLURALS.get(kind, f"{kind.lower()}s")
            path = (
                f"{PATHS[document['apiVersion']]}/namespaces/{self.namespace}/{plural}/{document['metadata']['name']}"
            )
            body = msgspec.json.encode(document)
            try:
                self.api.call("PATCH", path, query={"fieldManager": MANAGER}, body=body, content_type=APPLY_PATCH)
            except DeployerError as error:
                self.refused.append(f"{kind} {document['metadata']['name']}: {error.message}: {error.cause}")
        self.syncs += 1

    @contextmanager
    def every(self, seconds: float) -> Iterator[None]:
        """Syncs while the context is open."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(seconds):
                self.sync()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
