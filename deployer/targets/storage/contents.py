"""What a release must know of the versions in its store: which there are, how large, and with which feature spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.domain.location import DirectoryStore, PvcStore
from deployer.domain.release import Storage as Wanted
from deployer.domain.store import version_of
from deployer.errors import ExportError, SpecError, TargetError
from deployer.targets.base import Progress
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.objects import Pvc
from deployer.targets.storage import manifest
from deployer.targets.storage.client import Storage
from deployer.targets.storage.layout import ModelStore
from deployer.targets.storage.pod import pvc_path, storage_in


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """A version: its bytes, the row counts of its warm-up requests and its largest difference from the source model by
    its manifest (0, none and None without one), and the text of its feature spec, if any."""

    size: int
    warmup: tuple[int, ...]
    features: str | None
    parity: float | None = None


class PvcVersions:
    """The versions of a store in a PVC. Errors of every method: TargetError."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def versions(self, model: str) -> Mapping[int, str]:
        """Directory names of a model's versions by number; empty when there is none."""
        entries = self._storage.entries(model) or ()
        return {n: e.name for e in entries if e.directory and (n := version_of(e.name)) is not None and n >= 1}

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
        return StoredVersion(
            size=known.size if known else 0,
            warmup=known.warmup_batch_sizes if known else (),
            features=None if features is None else features.decode(),
            parity=known.parity.max_difference if known is not None and known.parity is not None else None,
        )


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What was found in a store for some models: all version numbers, and those that were asked for in full."""

    versions: Mapping[str, tuple[int, ...]]
    stored: Mapping[str, Mapping[int, StoredVersion]]


def creation(storage: Wanted) -> str:
    """The options of `publish` that make the claim as deployer.yaml describes it."""
    options = f"--create {storage.size} --access-mode {storage.access_modes[0]}"
    return options + (f" --storage-class {storage.storage_class}" if storage.storage_class else "")


def in_directory(store: DirectoryStore, wanted: Mapping[str, Iterable[int]]) -> Contents:
    """Read a store on this machine; `wanted` as of `look`.

    Errors: SpecError for a version that is not there, or whose manifest or feature spec cannot be read.
    """
    stores = {model: ModelStore(root=Path(store.path), model=model) for model in wanted}
    versions = {model: tuple(sorted(one.versions())) for model, one in stores.items()}
    stored = {
        model: {number: _read(stores[model], number) for number in (tuple(numbers) or versions[model][-1:])}
        for model, numbers in wanted.items()
    }
    return Contents(versions=versions, stored=stored)


def _read(store: ModelStore, version: int) -> StoredVersion:
    if version not in store.versions():
        there = ", ".join(map(str, store.versions())) or "none"
        raise SpecError(f"{store.base} holds no version {version} of {store.model}", hint=f"versions: {there}")
    path = store.path(version)
    known = None
    if (path / manifest.MANIFEST).exists():
        try:
            known = manifest.read(path)
        except ExportError as error:
            raise SpecError(
                f"the manifest of {store.model} version {version} cannot be read", hint=error.hint
            ) from error
    features = path / manifest.FEATURES
    try:
        text = features.read_text("utf-8") if features.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"feature spec {features} cannot be read", hint="export the version again") from error
    return StoredVersion(
        size=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        warmup=known.warmup_batch_sizes if known else (),
        features=text,
        parity=known.parity.max_difference if known is not None and known.parity is not None else None,
    )


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
    """Look into a claim by a short-lived pod; `wanted` is versions by model, empty for a model's newest one.

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
        versions = {model: tuple(sorted(there.versions(model))) for model in wanted}
        stored = {
            model: {number: there.read(model, number) for number in (tuple(numbers) or versions[model][-1:])}
            for model, numbers in wanted.items()
        }
    return Contents(versions=versions, stored=stored)
