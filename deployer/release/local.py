"""A local release: up, down and watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import yaml

from deployer.domain.location import DirectoryStore
from deployer.domain.release import Release
from deployer.domain.serving import ModelState, ServingConfig
from deployer.domain.workload import Image
from deployer.errors import ExportError, SpecError, TargetError
from deployer.release import spec
from deployer.release.render import render_release, state_of
from deployer.release.render.render import Choice, choose, feature_specs, store_versions
from deployer.release.render.server_files import ssl_text
from deployer.release.render.values import EMBEDDED_SERVER
from deployer.release.unloadable import Unloadable, find, without
from deployer.release.where import state_directory_of
from deployer.targets.base import GatewayReplica, Progress, Replica
from deployer.targets.cluster.helm_releases import TF_SERVING_CHART, charts_directory
from deployer.targets.history import exclusively
from deployer.targets.local import record
from deployer.targets.local.container import Container
from deployer.targets.local.one_server import Program
from deployer.targets.local.process import LOOPBACK, log_tail
from deployer.targets.local.state import Engine
from deployer.targets.local.target import LocalRelease, LocalTarget

PROCESS_WATCH_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class UpRequest:
    """The local release to start.

    `file` is the deployer.yaml. `choices` are the initial versions, labels and weights of models, by default the newest
    version; running models keep theirs. `replicas` and `gateway_port` None are taken from the file; `cpus` is the CPU
    limit of each replica, None for no limit. All processes listen on `host`; with `port_base`, replicas have fixed
    ports. With `bound` all processes die with this one.
    """

    file: Path
    state_dir: Path | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)
    replicas: int | None = None
    cpus: float | None = None
    engine: Engine = Engine.EMBEDDED
    gateway_port: int | None = None
    host: str = LOOPBACK
    port_base: int = 0
    bound: bool = False
    timeout: float = 120.0


@dataclass(frozen=True, kw_only=True)
class UpPlan:
    """What `up` would do: `running` are the processes that already run, `state` is what would be served."""

    release: str
    directory: str
    engine: Engine
    replicas: int
    gateway_port: int
    running: tuple[str, ...]
    state: ServingConfig


def plan(request: UpRequest) -> UpPlan:
    """Plan `up` without changing anything. Errors: SpecError, TargetError, as for `up`."""
    release, target, state = _prepared(request)
    wanted = _wanted(release, state, request)
    return UpPlan(
        release=release.name,
        directory=str(target.layout.directory),
        engine=wanted.engine,
        replicas=wanted.replicas,
        gateway_port=wanted.gateway_port,
        running=running_processes(target),
        state=state,
    )


@dataclass(frozen=True, kw_only=True)
class UpResult:
    """A release that runs, and the versions that it had to leave out because no model server can load them."""

    target: LocalTarget
    left_out: tuple[Unloadable, ...] = ()

    def require_complete(self) -> None:
        """Errors: ExportError naming what was left out, with the model server's reason."""
        if self.left_out:
            names = sorted({one.model for one in self.left_out})
            raise ExportError(
                f"{', '.join(names)} cannot be served as described; the other models are",
                cause="; ".join(map(str, self.left_out)),
                hint=f"`deployer models verify {names[0]} --load` says more; export it again as the next version",
            )


def up(request: UpRequest, progress: Progress) -> UpResult:
    """Start the release, or update the running one. What this call started is stopped if it fails.

    A version that no model server can load is left out when other models can be served.

    Errors: SpecError, TargetError (another deployer at work, a port in use, a process that exits), WaitTimeout,
    ToolError (missing engine).
    """
    release = spec.load(request.file)
    target = LocalTarget(request.state_dir or state_directory_of(release, request.file))
    with exclusively(target.history()):  # a rollout that moves labels meanwhile would be undone
        release, target, state = _prepared(request)
        progress(f"{release.name}: {target.describe()}")
        if _has_new_versions(target, state) and (broken := _unloadable(release, state, request, progress)):
            return _up_without(broken, release, target, state, request, progress)
        try:
            target.up(_wanted(release, state, request), timeout=request.timeout, progress=progress)
        except TargetError:
            broken = _unloadable(release, state, request, progress) if len(state.models) > 1 else ()
            if not without(state, broken).models or not broken:
                raise
            return _up_without(broken, release, target, state, request, progress)
    return UpResult(target=target)


def _has_new_versions(target: LocalTarget, state: ServingConfig) -> bool:
    """Whether running replicas would load a version that they do not have; a broken one would end the next of them."""
    if target.layout.read() is None or len(state.models) < 2:
        return False
    served = state_of(target.model_config(), target.gateway_config()).models
    return any(
        name not in served or set(model.versions) - set(served[name].versions) for name, model in state.models.items()
    )


def _unloadable(
    release: Release, state: ServingConfig, request: UpRequest, progress: Progress
) -> tuple[Unloadable, ...]:
    program = Program(engine=request.engine)
    if request.engine is Engine.DOCKER:
        image, entry_point = chart_image(release.serving.image)
        program = Program(engine=request.engine, image=image, entry_point=entry_point)
    paths = {model.name: release.store.base_path(model.name) for model in release.models}
    return find(program, state, paths, timeout=request.timeout, progress=progress)


def _up_without(
    broken: tuple[Unloadable, ...],
    release: Release,
    target: LocalTarget,
    state: ServingConfig,
    request: UpRequest,
    progress: Progress,
) -> UpResult:
    """Serve what can be loaded."""
    rest = without(state, broken)
    release = replace(release, models=tuple(model for model in release.models if model.name in rest.models))
    for one in broken:
        progress(f"left out: {one}")
    target.up(_wanted(release, rest, request), timeout=request.timeout, progress=progress)
    return UpResult(target=target, left_out=broken)


def down(target: LocalTarget, *, grace: float, progress: Progress) -> tuple[str, ...]:
    """Stop every process of the release; returns the names of those that ran. What was served is remembered.

    Errors: TargetError when another deployer is at work on the release.
    """
    if target.layout.read() is None:
        return ()
    with exclusively(target.history()):
        return target.down(grace=grace, progress=progress)


def running_processes(target: LocalTarget) -> tuple[str, ...]:
    """The processes that `down` would stop, gateways first."""
    if target.layout.read() is None:
        return ()
    processes: tuple[Replica | GatewayReplica, ...] = (*target.gateways(), *target.replicas())
    return tuple(process.name for process in processes if process.alive)


def _prepared(request: UpRequest) -> tuple[Release, LocalTarget, ServingConfig]:
    release = spec.load(request.file)
    if not isinstance(release.store, DirectoryStore):
        raise SpecError(
            f"the store of {release.name} is a PVC in a cluster", hint="a local release needs a store in a directory"
        )
    target = LocalTarget(request.state_dir or state_directory_of(release, request.file))
    return release, target, _state(release, request.choices, target)


def _wanted(release: Release, state: ServingConfig, request: UpRequest) -> LocalRelease:
    """The release as the target expects it; thread counts are derived from the CPU limit of a replica."""
    if request.cpus is not None:
        resources = replace(release.serving.resources, cpu=f"{round(request.cpus * 1000)}m")
        release = replace(release, serving=replace(release.serving, resources=resources))
    rendered = render_release(release, state, feature_specs(release, state))
    return LocalRelease(
        name=release.name,
        engine=request.engine,
        replicas=request.replicas or release.serving.replicas,
        server_flags=rendered.server_flags,
        files=rendered.files,
        cpus=request.cpus,
        gateway_port=release.gateway.port if request.gateway_port is None else request.gateway_port,
        grpc_port=release.gateway.grpc_port,
        host=request.host,
        port_base=request.port_base,
        bound_to_parent=request.bound,
        container=_container(release) if request.engine is Engine.DOCKER else None,
        record=str(_record_path(release)),
        tls=release.gateway.tls,
        ssl_config=ssl_text(release.serving.tls) if release.serving.tls is not None else "",
    )


def _container(release: Release) -> Container:
    """The container of replicas: the image of deployer.yaml, by default that of the chart, with the store mounted."""
    assert isinstance(release.store, DirectoryStore)
    image, entry_point = chart_image(release.serving.image)
    return Container(image=image, entry_point=entry_point, mounts=(release.store.path,))


def chart_image(image: Image | None = None) -> tuple[str, str]:
    """Reference and entry point of the model server's image: that of the chart, with what `image` says in its place.

    The entry point of an image of our own is empty: it knows what to start.
    """
    image, chart = image or Image(), charts_directory() / TF_SERVING_CHART
    values = yaml.safe_load((chart / "values.yaml").read_text("utf-8"))
    registry = image.registry or ("" if image.repository else values["image"]["registry"])
    name = image.repository or values["image"]["repository"]
    name = f"{registry}/{name}" if registry else name
    tag = image.tag or yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))["appVersion"]
    reference = f"{name}@{image.digest}" if image.digest else f"{name}:{tag}"
    return reference, "" if image.repository.endswith(EMBEDDED_SERVER) else values["command"][0]


def _record_path(release: Release) -> Path:
    assert isinstance(release.store, DirectoryStore)
    return record.path_in(Path(release.store.path), release.name)


def _state(release: Release, choices: Mapping[str, Choice], target: LocalTarget) -> ServingConfig:
    """The current state of running models, the last state of models that ran before; the chosen state of the others."""
    running = target.layout.read() is not None
    before = _last_state(release, target)
    if not running:
        before = {name: state for name, state in before.items() if name not in choices}
        for name, state in before.items():
            _require_in_store(release, name, state)
    chosen = choose(release, choices).models
    for name in choices:
        if name in before and before[name] != chosen[name]:
            raise TargetError(
                f"{name} is running with other versions, labels or weights than requested",
                cause="changing a label and its version at the same time would fail requests",
                hint="run `deployer local down`, then `up` with the new choice; or use `deployer rollout start`",
            )
    return ServingConfig(models={name: before.get(name, state) for name, state in chosen.items()})


def _last_state(release: Release, target: LocalTarget) -> Mapping[str, ModelState]:
    """What the release serves, or served last: by its own files, or by the record in the store when they are gone."""
    if target.layout.read() is not None:
        return state_of(target.model_config(), target.gateway_config()).models
    found = record.read(target.layout.record) or record.read(_record_path(release))
    return {} if found is None else state_of(found.model_config, found.gateway_config).models


def _require_in_store(release: Release, model: str, state: ModelState) -> None:
    """Refuse to start from a past that the store no longer has, instead of choosing other versions silently."""
    if model not in {known.name for known in release.models}:
        return
    gone = sorted(set(state.versions) - set(store_versions(release, model)))
    if gone:
        versions = ", ".join(f"{label} is version {version}" for label, version in state.labels.items())
        raise SpecError(
            f"version {gone[0]} of {model}, which {release.name} served last, is no longer in the store",
            cause=f"when it was stopped, {versions}",
            hint=f"choose what to serve: --version {model}=N",
        )


def watch(target: LocalTarget, *, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Wait while all processes of the release are running. Errors: TargetError when one ends by itself."""
    while True:
        processes: list[Replica | GatewayReplica] = [*target.replicas(), *target.gateways()]
        for process in processes:
            if not process.alive:
                raise TargetError(
                    f"{process.name} has ended by itself",
                    cause=log_tail(target.layout, process.name),
                    hint=f"the whole log is {target.layout.log(process.name)}",
                )
        sleep(PROCESS_WATCH_SECONDS)
