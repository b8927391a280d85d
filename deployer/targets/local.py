"""A release as processes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from deployer.errors import SpecError, TargetError
from deployer.targets import local_cpu, local_process, local_routes, proof
from deployer.targets.base import GatewayReplica, HttpReply, Progress, Replica
from deployer.targets.local_state import Engine, Layout, LocalState, ProcessState, replace
from deployer.tools import ports
from tfserving import flags
from tfserving.config.models import ModelServerConfig
from tfserving.config.text import ConfigError

GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL: the embedded server drains meanwhile, the original one ignores SIGTERM."""


@dataclass(frozen=True, kw_only=True)
class LocalRelease:
    """What a local release is to be.

    `files` are the texts of its configuration by file name; `server_flags` those of the model server, whose ports and
    paths the target sets itself. `cpus` is the share of each replica, None for no limit. `gateway_port` 0 takes a free
    one. With `bound_to_parent` nothing outlives this process, however it dies.
    """

    name: str
    engine: Engine
    replicas: int
    server_flags: Mapping[str, flags.Value]
    files: Mapping[str, str]
    cpus: float | None = None
    gateway_port: int = 0
    bound_to_parent: bool = False


class LocalTarget:
    """The `Target` whose replicas and gateway are processes here. `directory` holds its files, logs and state."""

    kind = "local"

    def __init__(self, directory: Path, *, limiter: local_cpu.CpuLimiter | None = None) -> None:
        self.layout = Layout(directory)
        self._limiter = limiter or local_cpu.choose()

    # -- the release as a whole

    def up(self, wanted: LocalRelease, *, timeout: float, progress: Progress) -> None:
        """Make it so. What runs already as it should is left alone; what this call started is stopped if it fails.

        Errors: TargetError for a port in use or a process that ends while it starts, WaitTimeout, ToolError when the
        engine is absent; SpecError when a file does not fit.
        """
        deadline = time.monotonic() + timeout
        with self.layout.locked():
            before = self.layout.read()
            for name, text in wanted.files.items():
                if name != self.layout.gateway_config.name:
                    replace(self.layout.config / name, text.encode())
            state = LocalState(
                release=wanted.name,
                engine=wanted.engine,
                server_flags=local_process.server_flags(self.layout, wanted.server_flags),
                bound_to_parent=wanted.bound_to_parent,
                cpus=wanted.cpus,
                limit="none" if wanted.cpus is None else self._limiter.describe(wanted.cpus),
            )
            kept = self._keep(before, state, wanted, progress)
            self.layout.write(kept)
            gateway_text = wanted.files[self.layout.gateway_config.name]
            with self._undone_to(kept, progress):
                self._fit(kept, wanted.replicas, gateway_text, wanted.gateway_port, deadline, progress)

    def down(self, *, progress: Progress, grace: float = GRACE_SECONDS) -> tuple[str, ...]:
        """Stop every process of the release; return the names of those that still ran. Logs and files stay."""
        with self.layout.locked():
            state = self.layout.read()
            if state is None:
                return ()
            stopped = tuple(p.name for p in state.processes if self._stop(p, grace=grace, progress=progress))
            self.layout.state.unlink()
            return stopped

    # -- Target

    def describe(self) -> str:
        return f"processes on this machine, described in {self.layout.directory}"

    def replicas(self) -> tuple[Replica, ...]:
        state = self._state()
        return tuple(
            Replica(
                name=p.name,
                grpc=f"127.0.0.1:{p.grpc_port}",
                rest=f"127.0.0.1:{p.http_port}",
                pid=p.pid,
                cpus=state.cpus,
                alive=p.running.alive(),
            )
            for p in state.replicas
        )

    def gateways(self) -> tuple[GatewayReplica, ...]:
        return tuple(
            GatewayReplica(name=p.name, url=f"http://127.0.0.1:{p.http_port}", pid=p.pid, alive=p.running.alive())
            for p in self._state().gateways
        )

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        return self._request(name, path, None, timeout=timeout)

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        return self._request(name, path, body, timeout=timeout)

    @contextmanager
    def reachable_gateways(self) -> Iterator[tuple[GatewayReplica, ...]]:
        yield tuple(gateway for gateway in self.gateways() if gateway.alive)

    def _request(self, name: str, path: str, body: bytes | None, *, timeout: float) -> HttpReply:
        for one in self._state().processes:
            if one.name == name:
                return local_routes.request(name, one.http_port, path, body, timeout=timeout)
        raise TargetError(f"there is no {name} in {self.layout.directory}", hint="`deployer status` lists them")

    def scale(self, replicas: int, *, timeout: float, progress: Progress) -> None:
        deadline = time.monotonic() + timeout
        with self.layout.locked():
            state = self._state()
            with self._undone_to(state, progress):
                self._fit(state, replicas, None, 0, deadline, progress)

    def model_config(self) -> str:
        self._state()
        return self.layout.model_config.read_text()

    def put_model_config(self, text: str) -> None:
        self._state()
        _parsed(text)
        replace(self.layout.model_config, text.encode())

    def gateway_config(self) -> str:
        self._state()
        return self.layout.gateway_config.read_text()

    def put_gateway_config(self, text: str) -> None:
        self._write_gateway_config(text, self._state())

    def cpu_seconds(self) -> Mapping[str, float]:
        return {p.name: p.running.cpu_seconds() for p in self._state().processes}

    def cpu_limit(self) -> str:
        return self._state().limit

    # -- steps

    def _state(self) -> LocalState:
        state = self.layout.read()
        if state is None:
            raise TargetError(f"no release runs from {self.layout.directory}", hint="`deployer local up` starts it")
        return state

    def _keep(
        self, before: LocalState | None, wanted: LocalState, release: LocalRelease, progress: Progress
    ) -> LocalState:
        """`wanted` with those processes of `before` that run as they should; the others are stopped."""
        if before is None:
            return wanted
        bare = {"replicas": (), "gateways": ()}
        same = msgspec.structs.replace(before, **bare) == wanted
        keep_gateway = same and release.gateway_port in (0, *(g.http_port for g in before.gateways))
        replicas = tuple(p for p in before.replicas if same and p.running.alive())
        gateways = tuple(p for p in before.gateways if keep_gateway and p.running.alive())
        for process in before.processes:
            if process not in replicas + gateways:
                self._stop(process, grace=GRACE_SECONDS, progress=progress)
        return msgspec.structs.replace(wanted, replicas=replicas, gateways=gateways)

    def _fit(
        self, state: LocalState, count: int, gateway_text: str | None, port: int, deadline: float, progress: Progress
    ) -> None:
        """Exactly `count` replicas and a gateway that knows them: it learns of new ones when they are ready, and
        forgets surplus ones before they are stopped. Without `gateway_text` the settings stay, as they are by then:
        a rollout may change them meanwhile."""
        if count < 1:
            raise TargetError("a local release needs at least one replica", hint="`deployer local down` stops it")
        grown = self._grow(state, count, deadline=deadline, progress=progress)
        fitting = msgspec.structs.replace(grown, replicas=grown.replicas[:count])
        self._write_gateway_config(self.gateway_config() if gateway_text is None else gateway_text, fitting)
        fitting = self._with_gateway(fitting, port, deadline=deadline, progress=progress)
        self._gateways_follow(fitting, deadline=deadline)
        for surplus in grown.replicas[count:]:
            self._stop(surplus, grace=GRACE_SECONDS, progress=progress)
        self.layout.write(fitting)

    def _grow(self, state: LocalState, count: int, *, deadline: float, progress: Progress) -> LocalState:
        """`state` with at least `count` replicas, all of them ready and limited; those that have died are replaced."""
        for process in state.replicas:
            if not process.running.alive():
                self._stop(process, grace=0, progress=progress)
        alive = {p.name: p for p in state.replicas if p.running.alive()}
        new: list[ProcessState] = []
        for index in range(count):
            if (name := f"replica-{index}") not in alive:
                progress(f"starting {name}")
                new.append(self._start_replica(state, name))
                alive[name] = new[-1]
                state = msgspec.structs.replace(state, replicas=_ordered(alive))
                self.layout.write(state)
        for process in _ordered(alive):
            if process in new:
                local_process.wait(self.layout, process, self._lacking, deadline=deadline, progress=progress)
                alive[process.name] = self._limit(process, state)
        state = msgspec.structs.replace(state, replicas=_ordered(alive))
        self.layout.write(state)
        return state

    def _lacking(self, name: str) -> tuple[str, ...]:
        """Read anew each time: a rollout may move on while a replica starts."""
        return proof.lacking(self, name, _parsed(self.layout.model_config.read_text()))

    def _start_replica(self, state: LocalState, name: str) -> ProcessState:
        grpc_port, http_port = ports.free(2)
        argv = local_process.replica_argv(state.engine, state.server_flags, grpc_port=grpc_port, http_port=http_port)
        return local_process.start(
            self.layout,
            name,
            argv,
            http_port=http_port,
            grpc_port=grpc_port,
            bound_to_parent=state.bound_to_parent,
        )

    def _limit(self, process: ProcessState, state: LocalState) -> ProcessState:
        """The share counts from here on: starting TensorFlow on a quarter of a CPU would take most of a minute."""
        if state.cpus is None:
            return process
        index = int(process.name.rpartition("-")[2])
        name = f"deployer-{state.release}-{process.name}"
        try:
            cgroup = self._limiter.limit(name, index, process.pid, state.cpus)
        except OSError as error:
            raise TargetError(
                f"{process.name} cannot be limited to {state.cpus:g} CPU", hint="leave out --cpus-per-replica"
            ) from error
        return msgspec.structs.replace(process, cgroup=cgroup)

    def _with_gateway(self, state: LocalState, port: int, *, deadline: float, progress: Progress) -> LocalState:
        """`state` with a gateway that is ready; started when there is none."""
        if state.gateways:
            return state
        port = port or ports.free(1)[0]
        progress("starting gateway-0")
        argv = local_process.gateway_argv(self.layout, port=port)
        gateway = local_process.start(
            self.layout, "gateway-0", argv, http_port=port, bound_to_parent=state.bound_to_parent
        )
        state = msgspec.structs.replace(state, gateways=(gateway,))
        self.layout.write(state)
        lacking = partial(proof.not_ready, self)
        local_process.wait(self.layout, gateway, lacking, deadline=deadline, progress=progress)
        return state

    def _write_gateway_config(self, text: str, state: LocalState) -> None:
        addresses = [f"127.0.0.1:{p.grpc_port}" for p in state.replicas]
        replace(self.layout.gateway_config, local_routes.with_backends(text, addresses).encode())

    def _gateways_follow(self, state: LocalState, *, deadline: float) -> None:
        text = self.layout.gateway_config.read_text()
        for gateway in state.gateways:
            lacking = partial(proof.not_following, self, text=text)
            local_process.wait(self.layout, gateway, lacking, deadline=deadline, progress=lambda _: None)

    @contextmanager
    def _undone_to(self, kept: LocalState, progress: Progress) -> Iterator[None]:
        """On any failure, Ctrl-C included, stop what was started since; forget the release when nothing is left."""
        try:
            yield
        except BaseException:
            for process in (self.layout.read() or kept).processes:
                if process not in kept.processes:
                    self._stop(process, grace=GRACE_SECONDS, progress=progress)
            if kept.replicas:
                self._write_gateway_config(self.layout.gateway_config.read_text(), kept)
                self.layout.write(kept)
            else:
                self.layout.state.unlink(missing_ok=True)
            raise

    def _stop(self, process: ProcessState, *, grace: float, progress: Progress) -> bool:
        was_alive = process.running.stop(grace=grace)
        if process.cgroup:
            local_cpu.remove(process.cgroup)
        if was_alive:
            progress(f"stopped {process.name}")
        return was_alive


def _ordered(processes: Mapping[str, ProcessState]) -> tuple[ProcessState, ...]:
    return tuple(sorted(processes.values(), key=lambda p: int(p.name.rpartition("-")[2])))


def _parsed(text: str) -> ModelServerConfig:
    try:
        return ModelServerConfig.parse(text)
    except ConfigError as error:
        raise SpecError("the model_config cannot be read", hint="`deployer render` writes one that can") from error
