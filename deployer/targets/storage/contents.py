"""What a release needs to know about the versions in its store: numbers, sizes, feature specs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.domain.location import DirectoryStore
from deployer.domain.store import Manifest
from deployer.errors import ExportError, SpecError
from deployer.targets.storage import manifest
from deployer.targets.storage.layout import ModelStore
from gateway.spec.statistics import with_statistics


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """A version: its size in bytes, and the text of its feature spec with its statistics, if any. From the manifest, if
    there is one: the row counts of its warm-up requests, and its largest difference from the source model, and from the
    preprocessing of training."""

    size: int
    warmup: tuple[int, ...]
    features: str | None
    parity: float | None = None
    skew: float | None = None

    @classmethod
    def of(cls, known: Manifest | None, *, size: int, features: str | None) -> StoredVersion:
        """A version and what its manifest says, None without one."""
        return cls(
            size=size,
            warmup=known.warmup_batch_sizes if known else (),
            features=features,
            parity=known.parity.max_difference if known is not None and known.parity is not None else None,
            skew=known.skew.max_difference if known is not None and known.skew is not None else None,
        )


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of a store for some models: all version numbers, and details of the requested versions."""

    versions: Mapping[str, tuple[int, ...]]
    stored: Mapping[str, Mapping[int, StoredVersion]]


def in_directory(location: DirectoryStore, wanted: Mapping[str, Iterable[int]]) -> Contents:
    """Read a local store; `wanted` as of `contents`.

    Errors: SpecError for a missing version, or an unreadable manifest or feature spec.
    """
    stores = {model: ModelStore(root=Path(location.path), model=model) for model in wanted}
    return contents(wanted, lambda model: stores[model].versions(), lambda model, number: _read(stores[model], number))


def contents(
    wanted: Mapping[str, Iterable[int]],
    versions: Callable[[str], Iterable[int]],
    read: Callable[[str, int], StoredVersion],
) -> Contents:
    """What a store holds of `wanted`: versions by model, empty for a model's newest one."""
    there = {model: tuple(sorted(versions(model))) for model in wanted}
    stored = {
        model: {number: read(model, number) for number in (tuple(numbers) or there[model][-1:])}
        for model, numbers in wanted.items()
    }
    return Contents(versions=there, stored=stored)


def _read(store: ModelStore, version: int) -> StoredVersion:
    if version not in store.versions():
        existing = ", ".join(map(str, store.versions())) or "none"
        raise SpecError(f"{store.base} has no version {version} of {store.model}", hint=f"versions: {existing}")
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
        seen = path / manifest.STATISTICS
        if text is not None and seen.exists():
            text = with_statistics(text, seen.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"feature spec {features} cannot be read", hint="export the version again") from error
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return StoredVersion.of(known, size=size, features=text)
