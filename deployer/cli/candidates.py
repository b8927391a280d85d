"""Values that a shell may complete: the models, versions and labels of the release on the command line.

A function returns nothing where a release or a store cannot be read: completion never prints an error into a prompt.
"""

from __future__ import annotations

from pathlib import Path

import typer

from deployer.domain.rollout import CANARY
from deployer.domain.serving import STABLE


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Names of models: those of the store, and those of deployer.yaml."""
    from deployer.targets.storage import layout

    root, named = _sources(context)
    return sorted({*named, *(layout.models(root) if root is not None else ())})


def versions(context: typer.Context, incomplete: str) -> list[str]:
    """Versions in the store, newest first; of the model on the command line where one is named."""
    from deployer.targets.storage import layout

    root, _ = _sources(context)
    if root is None:
        return []
    model = context.params.get("model")
    names = [model] if isinstance(model, str) else layout.models(root)
    found = {version for name in names for version in layout.ModelStore(root=root, model=name).versions()}
    return [str(version) for version in sorted(found, reverse=True)]


def labels(context: typer.Context, incomplete: str) -> list[str]:
    """The labels that rollouts set."""
    return [STABLE, CANARY]


def keys(context: typer.Context, incomplete: str) -> list[str]:
    """Keys of deployer.yaml."""
    from deployer.release.explain import explain

    return [found.key for found in explain()]


def _sources(context: typer.Context) -> tuple[Path | None, list[str]]:
    """The store's directory, and the models of deployer.yaml. Where --store is given, deployer.yaml does not count."""
    from deployer.domain.location import DirectoryStore
    from deployer.errors import DeployerError
    from deployer.release import spec

    if store := context.params.get("store"):
        root = Path(str(store))
        return root if root.is_dir() else None, []
    try:
        release = spec.load(Path(context.params.get("file") or "deployer.yaml"))
    except (DeployerError, OSError):
        return None, []
    named = [model.name for model in release.models]
    if isinstance(release.store, DirectoryStore) and Path(release.store.path).is_dir():
        return Path(release.store.path), named
    return None, named
