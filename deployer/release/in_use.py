"""Versions of a model that a release still needs: served, labelled, in a rollout, or the target of a rollback."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deployer.domain.history import History
from deployer.domain.location import DirectoryStore
from deployer.domain.serving import STABLE
from deployer.errors import TargetError, UsageError
from deployer.release import spec
from deployer.release.where import state_directory
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.history.configmaps import HISTORY, MODEL_ANNOTATION
from deployer.targets.cluster.names import MODELS_KEY
from deployer.targets.cluster.objects import ConfigMap
from deployer.targets.history import decode
from deployer.targets.local.target import LocalTarget
from deployer.targets.storage.layout import ModelStore
from tfserving.config import All, ConfigError, Latest, ModelServerConfig, Specific

InUse = dict[int, str]
"""Versions that must stay, each with its user."""


def configured(file: Path, model: str, versions: Collection[int]) -> InUse:
    """Versions that a rendered model_config serves or labels. Errors: UsageError when it is invalid, or does not serve
    the model."""
    try:
        config = ModelServerConfig.parse(file.read_text("utf-8"), str(file))
    except (OSError, ConfigError) as error:
        raise UsageError(f"{file} cannot be read", hint="pass the model_config of the release") from error
    if all(served.name != model for served in config.models):
        raise UsageError(
            f"{file} does not serve model {model}",
            cause=f"models: {', '.join(served.name for served in config.models) or 'none'}",
            hint="pass the model_config of the release that uses this store, or leave it out",
        )
    return _served(config, model, versions, by=str(file))


def of_local_release(file: Path | None, state_dir: Path | None, store: Path, model: str) -> InUse:
    """Versions that the local release of a deployer.yaml uses, if this is its store.

    `file` None means the deployer.yaml of the current directory, if there is one. Errors: SpecError, TargetError.
    """
    described = file or Path("deployer.yaml")
    if file is None and not described.exists():
        return {}
    release = spec.load(described)
    if not isinstance(release.store, DirectoryStore) or Path(release.store.path).resolve() != store.resolve():
        return {}
    target = LocalTarget(state_dir or state_directory(described))
    layout = target.layout
    if not layout.model_config.exists():
        return {}
    config = _parsed(layout.model_config.read_text("utf-8"), str(layout.model_config))
    history = target.history().read(model)
    versions = ModelStore(root=store, model=model).versions()
    by = f"release {release.name}"
    return {**_rollback_targets(history, config, model, by=by), **_served(config, model, versions, by=by)}


def of_cluster_releases(api: ApiServer, namespace: str, model: str) -> InUse:
    """Versions of a model that any release in a namespace uses; a PVC can only be mounted in its own namespace.

    Errors: TargetError.
    """
    found: dict[int, str] = {}
    maps = api.list(f"/api/v1/namespaces/{namespace}/configmaps", ConfigMap)
    data = {configmap.metadata.name: configmap for configmap in maps}
    configs = {
        name: _parsed(one.data[MODELS_KEY], f"ConfigMap {name}") for name, one in data.items() if MODELS_KEY in one.data
    }
    for name, one in data.items():
        if HISTORY in one.data and one.metadata.annotations.get(MODEL_ANNOTATION) == model:
            history = decode(one.data[HISTORY].encode(), f"ConfigMap {name}")
            for config in configs.values():
                found |= _rollback_targets(history, config, model, by=f"history {name}")
    for name, config in configs.items():
        found |= _served(config, model, (), by=name)
    return found


def _parsed(text: str, where: str) -> ModelServerConfig:
    try:
        return ModelServerConfig.parse(text, where)
    except ConfigError as error:
        raise TargetError(
            f"{where} cannot be parsed, so the versions in use are unknown",
            hint="`deployer doctor` finds the cause; nothing was removed",
        ) from error


def _served(config: ModelServerConfig, model: str, versions: Collection[int], *, by: str) -> InUse:
    """Versions that a configuration serves or labels; `versions` are those in the store."""
    found: dict[int, str] = {}
    for served in (m for m in config.models if m.name == model):
        match served.policy:
            case Specific(versions=listed):
                found |= dict.fromkeys(listed, f"served by {by}")
            case Latest(num_versions=count):
                found |= dict.fromkeys(sorted(versions)[-max(count, 1) :], f"served by {by}")
            case All():
                found |= dict.fromkeys(versions, f"served by {by}")
        found |= {version: f"label {label} of {by}" for label, version in served.labels.items()}
    return found


def _rollback_targets(history: History, config: ModelServerConfig, model: str, *, by: str) -> InUse:
    """The version that a rollback of stable would return to, and both versions of an open rollout."""
    found: dict[int, str] = {}
    for served in (m for m in config.models if m.name == model):
        stable = served.labels.get(STABLE)
        before = history.before(stable) if stable is not None else None
        if before is not None:
            found[before] = f"rollback target of {by}"
    if history.open is not None:
        found |= dict.fromkeys((history.open.previous, history.open.request.to), f"open rollout of {by}")
    return found
