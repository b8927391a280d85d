"""What the store knows of a version before anything loads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployer.domain import quantity
from deployer.domain.location import DirectoryStore, PvcStore
from deployer.domain.release import Release
from deployer.errors import ExportError, SpecError, TargetError
from deployer.release.kind_cluster import gateway_image
from deployer.targets.base import Progress
from deployer.targets.cluster.api import ApiServer
from deployer.targets.storage import contents as shelf
from deployer.targets.storage import manifest
from deployer.targets.storage.layout import ModelStore

LOOK_TIMEOUT = 120.0
MANIFEST = "assets.extra/manifest.json"
FEATURES = "assets.extra/features.yaml"


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """One version: `size` in bytes and `parity` as its manifest says, its feature spec, and how much memory a replica
    may use, in bytes. None is what is not known."""

    size: int | None = None
    parity: float | None = None
    features: str | None = None
    memory_limit: int | None = None


def version_facts(release: Release, model: str, version: int) -> VersionFacts:
    """Read them from a store in a directory.

    Errors: SpecError for a model that the release has not, a version that the store has not, and unreadable files;
    TargetError for a store in a claim, which only a pod can read: see `claim_facts`.
    """
    described = next((one for one in release.models if one.name == model), None)
    if described is None:
        known = ", ".join(one.name for one in release.models)
        raise SpecError(f"the release has no model {model}", hint=f"it has {known}")
    override = described.features.get(version)
    features = _read(Path(override)) if override else None
    if not isinstance(release.store, DirectoryStore):
        raise TargetError(f"the store of {release.name} is a claim in a cluster", hint="--target cluster reads it")
    store = ModelStore(root=Path(release.store.path), model=model)
    if version not in store.versions():
        there = ", ".join(map(str, store.versions())) or "none"
        raise SpecError(f"{store.base} holds no version {version} of {model}", hint=f"versions: {there}")
    path = store.path(version)
    if features is None and (path / FEATURES).exists():
        features = _read(path / FEATURES)
    parity = None
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if (path / MANIFEST).exists():
        try:
            known_facts = manifest.read(path)
        except ExportError as error:
            raise SpecError(f"the manifest of {model} version {version} cannot be read", hint=error.hint) from error
        parity = known_facts.parity.max_difference if known_facts.parity is not None else None
    return VersionFacts(size=size, parity=parity, features=features, memory_limit=_memory_limit(release))


def pvc_facts(release: Release, api: ApiServer, model: str, version: int, progress: Progress) -> VersionFacts:
    """Read them from a store in a claim, by a short-lived pod.

    Errors: SpecError as of `version_facts`, TargetError, WaitTimeout.
    """
    if not isinstance(release.store, PvcStore):
        raise SpecError(
            f"the store of {release.name} is a directory", hint="a release in a cluster has `store: pvc://…`"
        )
    contents = shelf.look(
        api,
        release.store,
        {model: (version,)},
        image=gateway_image(release),
        creation=shelf.creation(release.storage),
        timeout=LOOK_TIMEOUT,
        progress=progress,
    )
    stored = contents.stored[model][version]
    described = next((one for one in release.models if one.name == model), None)
    own = described.features.get(version) if described is not None else None
    return VersionFacts(
        size=stored.size or None,
        parity=stored.parity,
        features=_read(Path(own)) if own else stored.features,
        memory_limit=_memory_limit(release),
    )


def _memory_limit(release: Release) -> int | None:
    limit = release.serving.resources.memory
    return quantity.memory(limit) if limit else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"feature spec {path} cannot be read", hint="correct `features` in deployer.yaml") from error
