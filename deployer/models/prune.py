"""Old versions leave a store, a directory or a claim; what is in use stays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.domain import store as domain
from deployer.errors import ExportError, UsageError, disk_errors
from deployer.targets.base import Progress
from deployer.targets.storage.client import Storage, version_directories
from deployer.targets.storage.layout import ModelStore, models


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Versions that were removed (would be, with `dry_run`), and why each other one stays."""

    model: str
    removed: tuple[int, ...]
    kept: Mapping[int, str]
    dry_run: bool


def prune_directory(
    store: Path, model: str, *, keep: int, protected: Mapping[int, str], dry_run: bool = False, progress: Progress
) -> Pruned:
    """Remove all but the `keep` newest versions and the protected ones. What dead exporters left is cleaned, too.

    Errors: UsageError when `keep` is below 1, ExportError without versions.
    """
    place = ModelStore(root=store, model=model)
    versions = place.versions()
    if not versions:
        there = ", ".join(models(store)) or "none"
        raise ExportError(f"model {model} has no version in {store}", hint=f"models in this store: {there}")
    plan = _plan(versions, keep=keep, protected=protected)
    if not dry_run:
        with disk_errors(ExportError):
            place.clean()
            _remove(model, plan, place.remove, progress)
    return Pruned(model=model, removed=plan.remove, kept=plan.keep, dry_run=dry_run)


def prune_pvc(
    storage: Storage, model: str, *, keep: int, protected: Mapping[int, str], dry_run: bool = False, progress: Progress
) -> Pruned:
    """The same in a claim, through the storage agent. What an interrupted prune left is deleted, too.

    Errors: UsageError when `keep` is below 1, ExportError without versions, TargetError.
    """
    entries = storage.entries(model) or ()
    names = version_directories(entries)
    if not names:
        hint = "`deployer models list` shows what it holds"
        raise ExportError(f"model {model} has no version in the claim", hint=hint)
    plan = _plan(names, keep=keep, protected=protected)
    if not dry_run:
        for entry in entries:
            if entry.name.startswith(".removed-"):
                storage.discard(f"{model}/{entry.name}")
        _remove(model, plan, lambda version: storage.remove(f"{model}/{names[version]}"), progress)
    return Pruned(model=model, removed=plan.remove, kept=plan.keep, dry_run=dry_run)


def _plan(versions: Collection[int], *, keep: int, protected: Mapping[int, str]) -> domain.PrunePlan:
    try:
        return domain.plan_prune(versions, keep=keep, protected=protected)
    except ValueError as error:
        raise UsageError(str(error), hint="--keep 1 leaves the newest version and the protected ones") from error


def _remove(model: str, plan: domain.PrunePlan, remove: Callable[[int], None], progress: Progress) -> None:
    for version in plan.remove:
        progress(f"removing version {version} of model {model}")
        remove(version)
