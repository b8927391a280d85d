"""Versions in a PVC, read by a short-lived pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deployer.domain.location import PvcStore
from deployer.domain.release import Storage as Wanted
from deployer.errors import SpecError, TargetError
from deployer.targets.base import Progress
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.objects import Pvc
from deployer.targets.storage import manifest
from deployer.targets.storage.client import Storage, version_directories
from deployer.targets.storage.contents import Contents, StoredVersion, contents
from deployer.targets.storage.pod import pvc_path, storage_in


class PvcVersions:
    """The versions of a store in a PVC. Errors of every method: TargetError."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def versions(self, model: str) -> Mapping[int, str]:
        """Directory names of a model's versions by number; empty when there is none."""
        there = version_directories(self._storage.entries(model) or ())
        return {number: name for number, name in there.items() if number >= 1}

    def read(self, model: str, version: int) -> StoredVersion:
        """One version. Errors: SpecError when the claim does not hold it."""
        there = self.versions(model)
        if version not in there:
            held = ", ".join(map(str, sorted(there))) or "none"
            raise SpecError(
                f"version {version} of model {model} is not in the claim",
                hint=f"versions there: {held}; `deployer publish {model} --version {version}` brings it",
            )
        base = f"{model}/{there[version]}"
        path = f"{base}/{manifest.MANIFEST}"
        written, features = self._storage.read(path), self._storage.read(f"{base}/{manifest.FEATURES}")
        known = None if written is None else manifest.decode(written, path)
        text = None if features is None else features.decode()
        return StoredVersion.of(known, size=known.size if known else 0, features=text)


def creation(storage: Wanted) -> str:
    """The options of `publish` that make the claim as deployer.yaml describes it."""
    options = f"--create {storage.size} --access-mode {storage.access_modes[0]}"
    return options + (f" --storage-class {storage.storage_class}" if storage.storage_class else "")


def look(
    api: ApiServer,
    store: PvcStore,
    wanted: Mapping[str, Iterable[int]],
    *,
    image: str,
    creation: str,
    timeout: float,
    progress: Progress,
) -> Contents:
    """Look into a claim by a short-lived pod; `wanted` as of `contents`.

    `creation` are the options of `publish` that make the claim, for the hint where there is none.

    Errors: TargetError when there is no such claim; SpecError for a version that is not there, WaitTimeout.
    """
    pvc = api.find(pvc_path(store), Pvc)
    if pvc is None:
        raise TargetError(
            f"there is no claim {store.pvc} in namespace {store.namespace}, so no version can be served",
            hint=f"`deployer publish MODEL --store DIR --to pvc://{store.namespace}/{store.pvc} {creation}`",
        )
    with storage_in(api, store, pvc, image=image, timeout=timeout, progress=progress) as storage:
        there = PvcVersions(storage)
        return contents(wanted, there.versions, there.read)
