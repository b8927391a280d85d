"""Facts of a version from the store, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployer.domain import quantity
from deployer.domain.release import Release
from deployer.errors import SpecError
from deployer.records.text import text_of
from deployer.release.kind_cluster import gateway_image
from deployer.targets.base import Progress, Target

STORE_READ_TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """One version: `size` in bytes, `parity` and `skew` from its manifest, its feature spec, and the memory limit of a
    replica in bytes. None means unknown."""

    size: int | None = None
    parity: float | None = None
    skew: float | None = None
    features: str | None = None
    memory_limit: int | None = None


def version_facts(target: Target, release: Release, model: str, version: int, progress: Progress) -> VersionFacts:
    """Read the facts from the store of the release: a directory, or a PVC through a short-lived pod.

    Errors: SpecError for an unknown model, a version that is not in the store, and unreadable files; TargetError,
    WaitTimeout.
    """
    if not release.has(model):
        known = ", ".join(model.name for model in release.models)
        raise SpecError(f"the release has no model {model}", hint=f"models: {known}")
    override = release.model(model).features.get(version)
    contents = target.read_store(
        release, {model: (version,)}, image=gateway_image(release), timeout=STORE_READ_TIMEOUT, progress=progress
    )
    stored = contents.stored[model][version]
    return VersionFacts(
        size=stored.size or None,
        parity=stored.parity,
        skew=stored.skew,
        features=_read(Path(override)) if override else stored.features,
        memory_limit=_memory_limit(release),
    )


def _memory_limit(release: Release) -> int | None:
    limit = release.serving.resources.memory
    return quantity.memory(limit) if limit else None


def _read(path: Path) -> str:
    try:
        return text_of(path)
    except OSError as error:
        raise SpecError(f"feature spec {path} cannot be read", hint="correct `features` in deployer.yaml") from error
