"""Where the store of a release is: a directory, or a PVC in a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

MODELS_MOUNT = "/models"
"""Where the PVC is mounted in a replica."""

_PVC = re.compile(r"pvc://([a-z0-9-]+)/([a-z0-9][a-z0-9.-]*)(?:/(.+))?")


@dataclass(frozen=True, kw_only=True)
class DirectoryStore:
    """A store in a directory of this machine; `path` is absolute."""

    path: str

    def base_path(self, model: str) -> str:
        """The directory of a model's versions, as a replica sees it."""
        return f"{self.path.rstrip('/')}/{model}"


@dataclass(frozen=True, kw_only=True)
class PvcStore:
    """A store in a PersistentVolumeClaim, or in the folder `subpath` of it."""

    namespace: str
    pvc: str
    subpath: str = ""

    def base_path(self, model: str) -> str:
        """The directory of a model's versions, as a replica sees it."""
        return f"{MODELS_MOUNT}/{model}"


Store = DirectoryStore | PvcStore


def cluster_store(store: Store, *, release: str, namespace: str) -> PvcStore:
    """Where replicas in a cluster find the versions; those of a directory are published to the PVC RELEASE-models."""
    if isinstance(store, PvcStore):
        return store
    return PvcStore(namespace=namespace, pvc=f"{release}-models")


def parse_store(text: str, directory: str) -> Store:
    """`pvc://NAMESPACE/PVC[/SUBPATH]`, or a path relative to `directory`. Errors: ValueError."""
    if not text:
        raise ValueError("store is empty; name a directory or pvc://NAMESPACE/PVC")
    scheme, separator, _ = text.partition("://")
    if not separator:
        return DirectoryStore(path=str(PurePosixPath(directory) / text))
    match = _PVC.fullmatch(text)
    if scheme != "pvc" or not match:
        raise ValueError(f"store {text!r} is neither a directory nor pvc://NAMESPACE/PVC[/SUBPATH]")
    subpath = match[3] or ""
    if ".." in PurePosixPath(subpath).parts:
        raise ValueError(f"store {text!r} leaves its PVC through '..'")
    return PvcStore(namespace=match[1], pvc=match[2], subpath=subpath.strip("/"))
