"""`deployer models prune`: remove old versions from a store; versions in use stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.domain.store import PrunePlan, plan_prune
from deployer.errors import ExportError, UsageError, disk_errors
from deployer.targets.base import Progress
from deployer.targets.storage.client import Storage, version_directories
from deployer.targets.storage.layout import ModelStore, models


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Versions that were removed (or would be, with `dry_run`), and why each of the others stays."""

    model: str
    removed: tuple[int, ...]
    kept: Mapping[int, str]
    dry_run: bool


def prune_directory(
    store: Path, model: str, *, keep: int, protected: Mapping[int, str], dry_run: bool = False, progress: Progress
) -> Pruned:
    """Remove all but the `keep` newest versions and the protected ones. Directories of dead exports are deleted too.

    Errors: UsageError when `keep` is below 1, ExportError without versions.
    """
    place = ModelStore(root=store, model=model)
    versions = place.versions()
    if not versions:
        existing = ", ".join(models(store)) or "none"
        raise ExportError(f"model {model} has no version in {store}", hint=f"models in this store: {existing}")
    plan = _plan(versions, keep=keep, protected=protected)
    if not dry_run:
        with disk_errors(ExportError):
            place.clean()
            _remove(model, plan, place.remove, progress)
    return Pruned(model=model, removed=plan.remove, kept=plan.keep, dry_run=dry_run)


def prune_pvc(
    storage: Storage, model: str, *, keep: int, protected: Mapping[int, str], dry_run: bool = False, progress: Progress
) -> Pruned:
    """As `prune_directory`, in a PVC through the storage agent. The rest of an interrupted prune is deleted too.

    Errors: UsageError when `keep` is below 1, ExportError without versions, TargetError.
    """
    entries = storage.entries(model) or ()
    names = version_directories(entries)
    if not names:
        hint = "`deployer models list` shows its content"
        raise ExportError(f"model {model} has no version in the PVC", hint=hint)
    plan = _plan(names, keep=keep, protected=protected)
    if not dry_run:
        for entry in entries:
            if entry.name.startswith(".removed-"):
                storage.discard(f"{model}/{entry.name}")
        _remove(model, plan, lambda version: storage.remove(f"{model}/{names[version]}"), progress)
    return Pruned(model=model, removed=plan.remove, kept=plan.keep, dry_run=dry_run)


def _plan(versions: Collection[int], *, keep: int, protected: Mapping[int, str]) -> PrunePlan:
    try:
        return plan_prune(versions, keep=keep, protected=protected)
    except ValueError as error:
        raise UsageError(str(error), hint="--keep 1 keeps the newest version and the protected ones") from error


def _remove(model: str, plan: PrunePlan, remove: Callable[[int], None], progress: Progress) -> None:
    for version in plan.remove:
        progress(f"removing version {version} of model {model}")
        remove(version)
