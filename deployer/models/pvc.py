"""List, inspect and verify the versions of a store in a PVC, through the storage agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployer.domain.location import PvcStore
from deployer.domain.pods import Pods
from deployer.domain.store import Manifest, find_faults, model_name_problem
from deployer.errors import ExportError
from deployer.models.catalog import Inspection, Verification, VersionSummary, without_manifest
from deployer.targets.base import Progress
from deployer.targets.cluster.api import ApiServer, Place, connect
from deployer.targets.cluster.target import resolved
from deployer.targets.storage import manifest, signatures
from deployer.targets.storage.client import Storage, version_directories
from deployer.targets.storage.pod import NewPvc, require_pvc, storage_in
from tfserving import tflite


@dataclass(frozen=True, kw_only=True)
class PvcAccess:
    """Access to a PVC: `image` is the image of the pod, `timeout` limits the wait for it, in seconds; `pods` is what
    the cluster demands of it."""

    pvc: PvcStore
    place: Place
    image: str
    timeout: float = 180.0
    pods: Pods = field(default_factory=Pods)


def reach(access: PvcAccess) -> tuple[Place, ApiServer]:
    """The cluster of a PVC. Errors: TargetError."""
    place = resolved(access.place)
    return place, connect(place)


@contextmanager
def opened(access: PvcAccess, progress: Progress, *, new: NewPvc | None = None) -> Iterator[Storage]:
    """The store in the PVC, through a temporary pod; `new` is created if the PVC does not exist.

    Errors: TargetError, WaitTimeout that says why the pod did not start.
    """
    place, api = reach(access)
    progress(f"PVC {access.pvc.pvc} in {place}")
    pvc = require_pvc(api, access.pvc, new, progress)
    reachable = storage_in(
        api, access.pvc, pvc, image=access.image, pods=access.pods, timeout=access.timeout, progress=progress
    )
    with reachable as storage:
        yield storage


class PvcCatalog:
    """The catalog of a store in a PVC; the agent recomputes checksums in the pod."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def versions(self, model: str | None = None) -> tuple[VersionSummary, ...]:
        """As `Catalog.versions`."""
        names = [
            entry.name
            for entry in self._storage.entries() or ()
            if entry.directory and not model_name_problem(entry.name)
        ]
        if model is not None and model not in names:
            raise ExportError(f"there is no model {model} in the PVC", hint=f"models: {', '.join(names) or 'none'}")
        return tuple(
            _summary(self._storage, name, version, directory)
            for name in (names if model is None else [model])
            for version, directory in sorted(_versions(self._storage, name).items())
        )

    def inspect(self, model: str, version: int | None = None) -> Inspection:
        """As `Catalog.inspect`."""
        storage = self._storage
        directories = _existing(storage, model, version)
        number = max(directories) if version is None else version
        path = f"{model}/{directories[number]}"
        known = _manifest(storage, path) if storage.read(f"{path}/{manifest.MANIFEST}") is not None else None
        facts = known or _graph(storage, path)
        features = storage.read(f"{path}/{manifest.FEATURES}")
        return Inspection(
            model=model,
            version=number,
            path=path,
            tensorflow=facts.tensorflow,
            signatures=facts.signatures,
            features=None if features is None else features.decode(),
            manifest=known,
        )

    def verify(self, model: str, version: int | None = None, *, progress: Progress) -> tuple[Verification, ...]:
        """As `Catalog.verify`."""
        directories = _existing(self._storage, model, version)
        return tuple(
            _verified(self._storage, model, number, directories[number], alone=version is not None, progress=progress)
            for number in (sorted(directories) if version is None else (version,))
        )


def _existing(storage: Storage, model: str, version: int | None) -> Mapping[int, str]:
    """`_versions`, which must include the requested version, or any. Errors: ExportError."""
    directories = _versions(storage, model)
    if not directories or (version is not None and version not in directories):
        wanted = "no version" if version is None else f"no version {version}"
        existing = ", ".join(map(str, sorted(directories))) or "none"
        raise ExportError(f"model {model} has {wanted} in the PVC", hint=f"versions: {existing}")
    return directories


def _versions(storage: Storage, model: str) -> Mapping[int, str]:
    return version_directories(storage.entries(model) or ())


def _summary(storage: Storage, model: str, version: int, directory: str) -> VersionSummary:
    text = storage.read(f"{model}/{directory}/{manifest.MANIFEST}")
    if text is None:
        return VersionSummary(model=model, version=version, state="no manifest")
    try:
        known = manifest.decode(text, manifest.MANIFEST)
    except ExportError:
        return VersionSummary(model=model, version=version, state="unreadable manifest")
    return VersionSummary(
        model=model, version=version, state="published", size=known.size, created=known.created, metrics=known.metrics
    )


def _verified(
    storage: Storage, model: str, version: int, directory: str, *, alone: bool, progress: Progress
) -> Verification:
    path = f"{model}/{directory}"
    try:
        known = _manifest(storage, path)
    except ExportError as error:
        if alone:
            raise
        return without_manifest(model, version, error)
    progress(f"reading every file of {path} in the PVC")
    digests = ((file, storage.digest(f"{path}/{file}")) for file in storage.files(path) if file != manifest.MANIFEST)
    found = {file: fact for file, fact in digests if fact is not None}
    return Verification(model=model, version=version, files=len(known.files), faults=find_faults(known.files, found))


def _graph(storage: Storage, path: str) -> signatures.SavedModelFacts:
    content = storage.read(f"{path}/{signatures.SAVED_MODEL_FILE}")
    lite = storage.read(f"{path}/{tflite.MODEL_FILE}") if content is None else None
    if lite is not None:
        return signatures.decode(lite, f"{path}/{tflite.MODEL_FILE}")
    if content is None:
        raise ExportError(
            f"{path} in the PVC is not a SavedModel: it has no {signatures.SAVED_MODEL_FILE}",
            hint="`deployer publish` only copies complete versions; this one is from another tool",
        )
    return signatures.decode(content, f"{path}/{signatures.SAVED_MODEL_FILE}")


def _manifest(storage: Storage, path: str) -> Manifest:
    text = storage.read(f"{path}/{manifest.MANIFEST}")
    if text is None:
        raise ExportError(
            f"{path} has no manifest",
            cause="it was not published by `deployer`",
            hint="`deployer publish` copies a version with its manifest",
        )
    return manifest.decode(text, f"{path}/{manifest.MANIFEST}")
