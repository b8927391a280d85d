"""Versions in a PVC, read through a short-lived pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deployer.domain import release
from deployer.domain.location import PvcStore
from deployer.domain.pods import Pods
from deployer.errors import SpecError, TargetError
from deployer.targets.base import Progress
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.objects import Pvc
from deployer.targets.storage import manifest
from deployer.targets.storage.client import Storage, version_directories
from deployer.targets.storage.contents import Contents, StoredVersion, contents
from deployer.targets.storage.pod import pvc_path, storage_in
from gateway.spec.statistics import with_statistics


class PvcVersions:
    """The versions of a store in a PVC. Errors of every method: TargetError."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def versions(self, model: str) -> Mapping[int, str]:
        """Directory names of a model's versions by number; empty when there is none."""
        there = version_directories(self._storage.entries(model) or ())
        return {number: name for number, name in there.items() if number >= 1}

    def read(self, model: str, version: int) -> StoredVersion:
        """One version. Errors: SpecError when the PVC does not contain it."""
        existing = self.versions(model)
        if version not in existing:
            listed = ", ".join(map(str, sorted(existing))) or "none"
            raise SpecError(
                f"version {version} of model {model} is not in the PVC",
                hint=f"versions in the PVC: {listed}; `deployer publish {model} --version {version}` adds it",
            )
        base = f"{model}/{existing[version]}"
        path = f"{base}/{manifest.MANIFEST}"
        content, features = self._storage.read(path), self._storage.read(f"{base}/{manifest.FEATURES}")
        known = None if content is None else manifest.decode(content, path)
        text = None
        if features is not None:
            seen = self._storage.read(f"{base}/{manifest.STATISTICS}")
            text = with_statistics(features.decode(), None if seen is None else seen.decode())
        return StoredVersion.of(known, size=known.size if known else 0, features=text)


def creation(storage: release.Storage) -> str:
    """The options of `publish` that create the PVC as deployer.yaml describes it."""
    options = f"--create {storage.size} --access-mode {storage.access_modes[0]}"
    return options + (f" --storage-class {storage.storage_class}" if storage.storage_class else "")


def read_pvc(
    api: ApiServer,
    store: PvcStore,
    wanted: Mapping[str, Iterable[int]],
    *,
    image: str,
    pods: Pods,
    creation: str,
    timeout: float,
    progress: Progress,
) -> Contents:
    """Read a PVC through a short-lived pod; `wanted` as of `contents`.

    `creation` are the options of `publish` that create the PVC, for the hint if there is none.

    Errors: TargetError when there is no such PVC; SpecError for a missing version; WaitTimeout.
    """
    pvc = api.find(pvc_path(store), Pvc)
    if pvc is None:
        raise TargetError(
            f"there is no PVC {store.pvc} in namespace {store.namespace}, so no version can be served",
            hint=f"`deployer publish MODEL --store DIR --to pvc://{store.namespace}/{store.pvc} {creation}`",
        )
    with storage_in(api, store, pvc, image=image, pods=pods, timeout=timeout, progress=progress) as storage:
        stored = PvcVersions(storage)
        return contents(wanted, stored.versions, stored.read)
