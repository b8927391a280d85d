"""A release on this machine: up, down, and watched until somebody ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from deployer import spec
from deployer.domain.location import DirectoryStore
from deployer.domain.release import Release
from deployer.domain.serving import ModelState, ServingConfig, first_state
from deployer.errors import SpecError, TargetError
from deployer.export.layout import ModelStore
from deployer.export.manifest import FEATURES
from deployer.render import render_release, state_of
from deployer.targets.base import GatewayReplica, Progress, Replica
from deployer.targets.local import LocalRelease, LocalTarget
from deployer.targets.local_process import log_tail
from deployer.targets.local_state import Engine

STATE = ".deployer"
WATCH_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class UpRequest:
    """What is to run here.

    `file` is the deployer.yaml. `serving` says which versions, labels and weights; None keeps what is in force, and on
    the first start serves the newest version of each model. `replicas` and `gateway_port` None are as described in the
    file; `cpus` is the share of each replica, None for no limit. `bound` ties every process to this one.
    """

    file: Path
    state_dir: Path | None = None
    serving: ServingConfig | None = None
    replicas: int | None = None
    cpus: float | None = None
    engine: Engine = Engine.EMBEDDED
    gateway_port: int | None = None
    bound: bool = False
    timeout: float = 120.0


def state_directory(file: Path) -> Path:
    """Where the state of a local release is kept when nobody says otherwise: `.deployer/<release>` beside its file."""
    return file.parent / STATE / spec.load(file).name


def up(request: UpRequest, progress: Progress) -> LocalTarget:
    """Start the release, or bring the running one to what is described. What this call started stops if it fails.

    Errors: SpecError, TargetError (port in use, a process that ends), WaitTimeout, ToolError (no such engine).
    """
    release = spec.load(request.file)
    if not isinstance(release.store, DirectoryStore):
        raise SpecError(
            f"the store of {release.name} is a claim in a cluster", hint="a local release needs a store in a directory"
        )
    target = LocalTarget(request.state_dir or request.file.parent / STATE / release.name)
    progress(f"{release.name}: {target.describe()}")
    target.up(_wanted(release, Path(release.store.path), request, target), timeout=request.timeout, progress=progress)
    return target


def _wanted(release: Release, store: Path, request: UpRequest, target: LocalTarget) -> LocalRelease:
    """The description and the state as the target takes them."""
    if request.cpus is not None:
        resources = replace(release.serving.resources, cpu=f"{round(request.cpus * 1000)}m")
        release = replace(release, serving=replace(release.serving, resources=resources))
    state = request.serving or _in_force(release, store, target)
    rendered = render_release(release, state, _specs(release, store, state))
    return LocalRelease(
        name=release.name,
        engine=request.engine,
        replicas=request.replicas or release.serving.replicas,
        server_flags=rendered.server_flags,
        files=rendered.files,
        cpus=request.cpus,
        gateway_port=release.gateway.port if request.gateway_port is None else request.gateway_port,
        bound_to_parent=request.bound,
    )


def _in_force(release: Release, store: Path, target: LocalTarget) -> ServingConfig:
    """What rollouts have decided so far; for models that nobody decided about yet, their newest version."""
    running = target.layout.read() is not None
    before = state_of(target.model_config(), target.gateway_config()).models if running else {}
    return ServingConfig(
        models={model.name: before.get(model.name) or _first(store, model.name) for model in release.models}
    )


def _first(store: Path, model: str) -> ModelState:
    try:
        return first_state(ModelStore(root=store, model=model).versions())
    except ValueError as error:
        raise SpecError(
            f"model {model} has no version in {store}", hint=f"`deployer export … --model {model}` publishes one"
        ) from error


def _specs(release: Release, store: Path, state: ServingConfig) -> dict[str, dict[int, str]]:
    """features.yaml of every version that is served: from deployer.yaml where it names one, else as exported."""
    found: dict[str, dict[int, str]] = {}
    for model in release.models:
        versions = state.models[model.name].versions if model.name in state.models else ()
        for version in versions:
            path = ModelStore(root=store, model=model.name).path(version) / FEATURES
            named = model.features.get(version)
            if named or path.exists():
                found.setdefault(model.name, {})[version] = _read(Path(named) if named else path)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"feature spec {path} cannot be read", hint="correct `features` in deployer.yaml") from error


def watch(target: LocalTarget, *, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Wait for as long as every process of the release runs. Errors: TargetError when one ends by itself."""
    while True:
        processes: list[Replica | GatewayReplica] = [*target.replicas(), *target.gateways()]
        for process in processes:
            if not process.alive:
                raise TargetError(
                    f"{process.name} has ended by itself",
                    cause=log_tail(target.layout, process.name),
                    hint=f"the whole log is {target.layout.log(process.name)}",
                )
        sleep(WATCH_SECONDS)
