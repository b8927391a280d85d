"""List, inspect and verify the versions of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deployer.domain.store import Fault, Manifest, SignatureFact
from deployer.errors import ExportError
from deployer.targets.base import Progress
from deployer.targets.storage import manifest, signatures
from deployer.targets.storage.layout import ModelStore, models


@dataclass(frozen=True, kw_only=True)
class VersionSummary:
    """One row of a listing. `state` is "published", or a problem of the version; sizes in bytes.

    A version from another tool has no manifest, so its size, date and metrics are unknown.
    """

    model: str
    version: int
    state: str
    size: int | None = None
    created: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Details of one version; `features` is the text of its feature spec, None without one.

    `path` is its directory on this machine, or inside the PVC. Without a manifest, `manifest` is None and only
    the signatures are known.
    """

    model: str
    version: int
    path: str
    tensorflow: str
    signatures: Mapping[str, SignatureFact]
    features: str | None
    manifest: Manifest | None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Result of the check whether the files of a version are unchanged."""

    model: str
    version: int
    files: int
    faults: tuple[Fault, ...]


class Catalog(Protocol):
    """The versions of a store, in a directory or a PVC."""

    def versions(self, model: str | None = None) -> tuple[VersionSummary, ...]:
        """All versions of one model, or of all models, ascending.

        Errors: ExportError for an unreadable store or an unknown model.
        """
        ...

    def inspect(self, model: str, version: int | None = None) -> Inspection:
        """One version, by default the newest.

        Errors: ExportError when it does not exist, or its saved_model.pb is invalid.
        """
        ...

    def verify(self, model: str, version: int | None = None, *, progress: Progress) -> tuple[Verification, ...]:
        """Recompute the checksums of one version, or of all versions of a model.

        Errors: ExportError when there is no version, or a file cannot be read. Faults are in the result. A missing
        manifest is a fault when all versions are verified, and an ExportError when one version was requested.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class DirectoryCatalog:
    """The catalog of a store in a local directory."""

    root: Path

    def versions(self, model: str | None = None) -> tuple[VersionSummary, ...]:
        """As `Catalog.versions`."""
        names = models(self.root)
        if model is not None and model not in names:
            existing = ", ".join(names) or "none"
            raise ExportError(f"there is no model {model} in {self.root}", hint=f"models: {existing}")
        found = []
        for name in names if model is None else (model,):
            place = ModelStore(root=self.root, model=name)
            found += [_summary(place, version) for version in place.versions()]
        return tuple(found)

    def inspect(self, model: str, version: int | None = None) -> Inspection:
        """As `Catalog.inspect`."""
        place, version = _choose(self.root, model, version)
        path = place.path(version)
        facts = signatures.read(path)
        features = path / manifest.FEATURES
        return Inspection(
            model=model,
            version=version,
            path=str(path),
            tensorflow=facts.tensorflow,
            signatures=facts.signatures,
            features=features.read_text("utf-8") if features.exists() else None,
            manifest=manifest.read(path) if (path / manifest.MANIFEST).exists() else None,
        )

    def verify(self, model: str, version: int | None = None, *, progress: Progress) -> tuple[Verification, ...]:
        """As `Catalog.verify`."""
        place = ModelStore(root=self.root, model=model)
        versions = place.versions() if version is None else (version,)
        if not versions:
            raise _no_versions(self.root, model)
        return tuple(_verified(place, number, alone=version is not None, progress=progress) for number in versions)


def version_numbers(store: Path, model: str) -> tuple[int, ...]:
    """The versions of a model in a directory, ascending."""
    return ModelStore(root=store, model=model).versions()


def _verified(place: ModelStore, version: int, *, alone: bool, progress: Progress) -> Verification:
    path = place.path(version)
    progress(f"reading every file of {path}")
    try:
        known = manifest.read(path)
    except ExportError as error:
        if alone:
            raise
        return without_manifest(place.model, version, error)
    faults = manifest.verify(path, known)
    if (known.model, known.version) != (place.model, version):
        moved = f"was published as version {known.version} of {known.model}"
        faults = (*faults, Fault(path=manifest.MANIFEST, problem=moved))
    return Verification(model=place.model, version=version, files=len(known.files), faults=faults)


def without_manifest(model: str, version: int, error: ExportError) -> Verification:
    """The result for a version without a readable manifest, among several versions."""
    problem = "is missing or unreadable, so the files cannot be verified" + (f": {error.cause}" if error.cause else "")
    return Verification(model=model, version=version, files=0, faults=(Fault(path=manifest.MANIFEST, problem=problem),))


def _summary(place: ModelStore, version: int) -> VersionSummary:
    path = place.path(version)
    try:
        known = manifest.read(path)
    except ExportError:
        state = "unreadable manifest" if (path / manifest.MANIFEST).exists() else "no manifest"
        return VersionSummary(model=place.model, version=version, state=state)
    missing = [name for name, fact in known.files.items() if not _has_size(path / name, fact.size)]
    return VersionSummary(
        model=place.model,
        version=version,
        state=f"damaged: {', '.join(missing)}" if missing else "published",
        size=known.size,
        created=known.created,
        metrics=known.metrics,
    )


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _choose(store: Path, model: str, version: int | None) -> tuple[ModelStore, int]:
    place = ModelStore(root=store, model=model)
    versions = place.versions()
    if not versions:
        raise _no_versions(store, model)
    return place, versions[-1] if version is None else version


def _no_versions(store: Path, model: str) -> ExportError:
    existing = ", ".join(models(store)) or "none"
    return ExportError(f"model {model} has no version in {store}", hint=f"models in this store: {existing}")
