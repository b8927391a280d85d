"""Versions, labels and weights in the values files of both charts: written, read back, and compared with a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from deployer.decode import document_as
from deployer.domain.location import cluster_store
from deployer.domain.release import Release
from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import SpecError, UsageError
from deployer.files import replace_file
from deployer.records.text import decoded
from deployer.release.deploy.installed import live_release
from deployer.release.render.everything import GATEWAY_VALUES, TF_SERVING_VALUES
from deployer.release.render.gateway_file import Specs
from deployer.release.render.render import Choice, override
from deployer.release.render.values import values_gateway, values_tf_serving
from deployer.targets.cluster.target import ClusterTarget
from gateway.spec.reading.places import yaml_problem
from gateway.spec.reading.text import load


class _Model(msgspec.Struct, frozen=True):
    name: str
    versions: tuple[int, ...] = ()
    labels: dict[str, int] = {}


class _Live(msgspec.Struct, frozen=True):
    """`models` where the deployer owns the state: the chart does not read `initial`."""

    source: str = ""
    initial: tuple[_Model, ...] = ()


class _TfServing(msgspec.Struct, frozen=True):
    models: tuple[_Model, ...] | _Live = ()

    @property
    def listed(self) -> tuple[_Model, ...]:
        return self.models.initial if isinstance(self.models, _Live) else self.models


class _Routing(msgspec.Struct, frozen=True):
    weights: dict[str, float] = {}


class _Routed(msgspec.Struct, frozen=True):
    routing: _Routing = _Routing()


class _Config(msgspec.Struct, frozen=True):
    models: dict[str, _Routed] = {}


class _Gateway(msgspec.Struct, frozen=True):
    config: _Config = _Config()


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One fact of a model that differs; `None` where one side does not have the model at all."""

    model: str
    what: str
    files: object
    cluster: object


def live_values(release: Release, target: ClusterTarget) -> Mapping[str, str]:
    """The two values files that describe the release as it is now in the cluster, by file name.

    Errors: SpecError when a model of deployer.yaml is not installed; TargetError.
    """
    release = replace(release, store=cluster_store(release.store, release=release.name, namespace=release.namespace))
    live = live_release(target)
    missing = [model.name for model in release.models if model.name not in live.states]
    if missing:
        raise SpecError(
            f"model {missing[0]} is in deployer.yaml and not in {target.describe()}",
            hint="`deployer deploy` installs it",
        )
    state = ServingConfig(models={model.name: live.states[model.name] for model in release.models})
    specs = _with_overrides(release, state, live.specs)
    return {
        TF_SERVING_VALUES: values_tf_serving(release, state),
        GATEWAY_VALUES: values_gateway(release, state, specs),
    }


def _with_overrides(release: Release, state: ServingConfig, live: Specs) -> Specs:
    found: dict[str, dict[int, str]] = {}
    for name, model in state.models.items():
        texts = dict(live.get(name, {}))
        for version in model.versions:
            if (text := override(release.model(name), version)) is not None:
                texts[version] = text
        found[name] = texts
    return found


def write_values(files: Mapping[str, str], directory: Path) -> tuple[Path, ...]:
    """Write the files that differ; returns the paths of all.

    Errors: UsageError when the directory cannot be written.
    """
    paths = []
    for name, text in files.items():
        path = directory / name
        try:
            if not path.exists() or path.read_bytes() != text.encode():
                replace_file(path, text.encode())
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}", hint="choose a folder in which you may write"
            ) from error
        paths.append(path)
    return tuple(paths)


def recorded(directory: Path) -> Mapping[str, ModelState]:
    """The state of every model in the two files of a directory. Errors: SpecError that names the file."""
    serving = _read(directory / TF_SERVING_VALUES, _TfServing)
    routed = _read(directory / GATEWAY_VALUES, _Gateway).config.models
    states = {}
    for model in serving.listed:
        weights = routed[model.name].routing.weights if model.name in routed else {}
        try:
            states[model.name] = ModelState(versions=model.versions, labels=model.labels, weights=weights)
        except ValueError as error:
            raise SpecError(
                f"{directory / TF_SERVING_VALUES}: model {model.name} cannot be served: {error}",
                hint="`deployer rollout start --write-values` writes both files",
            ) from error
    return states


def choices(directory: Path) -> dict[str, Choice]:
    """The recorded state as the choice for a first deployment. Errors: as for `recorded`."""
    return {
        name: Choice(versions=state.versions, labels=state.labels, weights=state.weights)
        for name, state in recorded(directory).items()
    }


def differences(directory: Path, target: ClusterTarget) -> tuple[Difference, ...]:
    """What the files and the cluster do not agree about. Errors: SpecError, TargetError."""
    written, live = recorded(directory), live_release(target).states
    found = []
    for name in sorted({*written, *live}):
        ours, theirs = written.get(name), live.get(name)
        if ours is None or theirs is None:
            found.append(
                Difference(
                    model=name, what="versions", files=ours and ours.versions, cluster=theirs and theirs.versions
                )
            )
            continue
        for what in ("versions", "labels", "weights"):
            before, after = getattr(ours, what), getattr(theirs, what)
            if before != after:
                found.append(Difference(model=name, what=what, files=before, cluster=after))
    return tuple(found)


def _read(path: Path, shape: type[T]) -> T:
    try:
        content = path.read_bytes()
        document = load(decoded(content, path)) if content.strip() else None
        return document_as({} if document is None else document, shape, str_keys=True)
    except FileNotFoundError:
        raise SpecError(
            f"{path} does not exist", hint="`deployer rollout start --write-values` and `deployer render` write it"
        ) from None
    except yaml.YAMLError as error:
        raise SpecError(
            f"{path} is not valid YAML", cause=yaml_problem(error), hint="it must be a values file of the chart"
        ) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise SpecError(f"{path} cannot be read: {error}", hint="it must be a values file of the chart") from error
