"""Starting, stopping and replacing the processes of a local release; the gateway always knows the serving replicas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from deployer.errors import SpecError, TargetError
from deployer.files import replace_file
from deployer.targets import proof
from deployer.targets.base import Progress, Target
from deployer.targets.local import cpu, routes
from deployer.targets.local.container import container_argv, container_name, server_pid
from deployer.targets.local.process import gateway_argv, replica_flags, replica_program, start_process, wait_until_ready
from deployer.targets.local.state import Layout, LocalState, ProcessState
from deployer.tools import docker, ports
from tfserving.config.models import ModelServerConfig
from tfserving.config.text import ConfigError

PREFERRED_PORT = 8080
"""Of the gateway, where no other is asked for: the commands of the README work as written."""

STOP_GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL: the embedded server drains; the official one ignores SIGTERM."""


@dataclass(frozen=True, kw_only=True)
class GatewayPorts:
    """Where a gateway listens: 0 takes a free port; `grpc` None is no gRPC."""

    http: int = 0
    grpc: int | None = None

    def fit(self, gateway: ProcessState) -> bool:
        """Whether a running gateway listens so; one without an admin port is of an older deployer."""
        if not gateway.admin_port or self.http not in (0, gateway.http_port):
            return False
        if self.grpc is None:
            return not gateway.grpc_port
        return self.grpc == gateway.grpc_port if self.grpc else gateway.grpc_port > 0


class Supervisor:
    """Moves a local release from one state to another; each step is saved before the next one starts.

    `target` is used to check whether a process is ready. The caller holds the lock.
    """

    def __init__(self, layout: Layout, limiter: cpu.CpuLimiter, target: Target) -> None:
        self._layout = layout
        self._limiter = limiter
        self._target = target

    def keep(
        self,
        before: LocalState | None,
        wanted: LocalState,
        *,
        outdated: bool,
        gateway_ports: GatewayPorts,
        progress: Progress,
    ) -> LocalState:
        """`wanted` with those processes of `before` that can stay; the others are stopped.

        `outdated` replicas are stopped: a file that they only read at startup has changed.
        """
        if before is None:
            return wanted
        same = not outdated and msgspec.structs.replace(before, replicas=(), gateways=(), tls=wanted.tls) == wanted
        keep_gateway = same and before.tls == wanted.tls and all(map(gateway_ports.fit, before.gateways))
        replicas = tuple(p for p in before.replicas if same and p.running.alive())
        gateways = tuple(p for p in before.gateways if keep_gateway and p.running.alive())
        for process in before.processes:
            if process not in replicas + gateways:
                self.stop(process, grace=STOP_GRACE_SECONDS, progress=progress)
        return msgspec.structs.replace(wanted, replicas=replicas, gateways=gateways)

    def fit(
        self,
        state: LocalState,
        count: int,
        gateway_text: str | None,
        wanted: GatewayPorts,
        deadline: float,
        progress: Progress,
    ) -> None:
        """Scale to `count` replicas and a gateway that knows them. New replicas are added to the gateway when they are
        ready; surplus replicas are removed from it before they stop. Without `gateway_text` its settings stay as they
        are at that time: a rollout may change them while replicas start."""
        if count < 1:
            raise TargetError("a local release needs at least one replica", hint="`deployer local down` stops it")
        grown = self._grow(state, count, deadline=deadline, progress=progress)
        fitting = msgspec.structs.replace(grown, replicas=grown.replicas[:count])
        settings = self._layout.gateway_config.read_text() if gateway_text is None else gateway_text
        self.write_gateway_config(settings, fitting)
        fitting = self._with_gateway(fitting, wanted, deadline=deadline, progress=progress)
        self._gateways_follow(fitting, deadline=deadline)
        for surplus in grown.replicas[count:]:
            self.stop(surplus, grace=STOP_GRACE_SECONDS, progress=progress)
            self._layout.forget_own_configs(surplus.name)
        self._layout.write(fitting)

    def restart(
        self, state: LocalState, flags: tuple[str, ...], gateway_text: str, *, deadline: float, progress: Progress
    ) -> LocalState:
        """Restart every replica with these flags, one after the other. Meanwhile the gateway uses only the others.

        `gateway_text` must work for replicas with the old flags and with the new flags.
        """
        count = len(state.replicas)
        state = msgspec.structs.replace(state, server_flags=flags)
        for process in state.replicas:
            others = msgspec.structs.replace(state, replicas=tuple(p for p in state.replicas if p.name != process.name))
            if others.replicas:
                self.write_gateway_config(gateway_text, others)
                self._gateways_follow(others, deadline=deadline)
            self.stop(process, grace=STOP_GRACE_SECONDS, progress=progress)
            state = self._grow(others, count, deadline=deadline, progress=progress)
            self.write_gateway_config(gateway_text, state)
            self._gateways_follow(state, deadline=deadline)
        return state

    def _grow(self, state: LocalState, count: int, *, deadline: float, progress: Progress) -> LocalState:
        """`state` with at least `count` replicas, all ready and with their CPU limit; dead ones are replaced."""
        for process in state.replicas:
            if not process.running.alive():
                self.stop(process, grace=0, progress=progress)
        alive = {p.name: p for p in state.replicas if p.running.alive()}
        new: list[ProcessState] = []
        for index in range(count):
            if (name := f"replica-{index}") not in alive:
                progress(f"starting {name}")
                new.append(self._start_replica(state, name))
                alive[name] = new[-1]
                state = msgspec.structs.replace(state, replicas=_ordered(alive))
                self._layout.write(state)
        for process in _ordered(alive):
            if process in new:
                wait_until_ready(self._layout, process, self._missing, deadline=deadline, progress=progress)
                alive[process.name] = self._limit(process, state)
        state = msgspec.structs.replace(state, replicas=_ordered(alive))
        self._layout.write(state)
        return state

    def _missing(self, name: str) -> tuple[str, ...]:
        """What is missing on the replica compared to its current configuration; a rollout may change that meanwhile."""
        return proof.missing_from(self._target, name, model_config(self._layout.own_config(name).read_text()))

    def _start_replica(self, state: LocalState, name: str) -> ProcessState:
        at = state.port_base + 2 * int(name.rpartition("-")[2])
        grpc_port, http_port = (at, at + 1) if state.port_base else ports.free(2)
        config = self._layout.own_config(name)
        if not config.exists():
            self._give_config(name)
        given = replica_flags(state.server_flags, config=config, grpc_port=grpc_port, http_port=http_port)
        container = ""
        argv = (*replica_program(state.engine), *given)
        if state.container is not None:
            container = container_name(state.release, name)
            docker.remove_container(container)
            argv = container_argv(
                state.container, container, given, config=self._layout.config, ports=(grpc_port, http_port)
            )
        started = start_process(
            self._layout,
            name,
            argv,
            http_port=http_port,
            grpc_port=grpc_port,
            host=state.host,
            bound_to_parent=state.bound_to_parent,
        )
        return msgspec.structs.replace(started, container=container)

    def _give_config(self, name: str) -> None:
        if self._layout.newcomer_config.exists():
            replace_file(self._layout.own_config(name), self._layout.newcomer_config.read_bytes())
        else:
            self._layout.link_config(name)

    def _limit(self, process: ProcessState, state: LocalState) -> ProcessState:
        """The limit starts only now: TensorFlow's startup on a quarter of a CPU would take most of a minute."""
        if process.container:
            if state.cpus is not None:
                docker.limit_cpus(process.container, state.cpus)
            return msgspec.structs.replace(process, worker=server_pid(process.container))
        if state.cpus is None:
            return process
        index = int(process.name.rpartition("-")[2])
        name = f"deployer-{state.release}-{process.name}"
        try:
            cgroup = self._limiter.limit(name, index, process.pid, state.cpus)
        except OSError as error:
            raise TargetError(
                f"the CPU of {process.name} cannot be limited to {state.cpus:g} CPU",
                hint="leave out --cpus-per-replica",
            ) from error
        return msgspec.structs.replace(process, cgroup=cgroup)

    def _with_gateway(
        self, state: LocalState, wanted: GatewayPorts, *, deadline: float, progress: Progress
    ) -> LocalState:
        """`state` with a gateway that is ready, started if there is none. An HTTP port of 0 is the preferred one."""
        if state.gateways:
            return state
        start = partial(self._started_gateway, state, deadline=deadline, progress=progress)
        if wanted.http:
            return start(wanted)
        port = 0
        while True:
            port = ports.next_free(port + 1 if port else PREFERRED_PORT)
            if port != PREFERRED_PORT:
                progress(f"port {PREFERRED_PORT} is in use; the gateway gets {port}")
            try:
                return start(replace(wanted, http=port))
            except TargetError:
                if not ports.owner(port):
                    raise  # else another process was quicker

    def _started_gateway(
        self, state: LocalState, wanted: GatewayPorts, *, deadline: float, progress: Progress
    ) -> LocalState:
        admin_port, free_grpc = ports.free(2)
        grpc_port = 0 if wanted.grpc is None else wanted.grpc or free_grpc
        progress("starting gateway-0")
        gateway = start_process(
            self._layout,
            "gateway-0",
            gateway_argv(self._layout, host=state.host, port=wanted.http, admin_port=admin_port, grpc_port=grpc_port),
            http_port=wanted.http,
            grpc_port=grpc_port,
            admin_port=admin_port,
            bound_to_parent=state.bound_to_parent,
        )
        state = msgspec.structs.replace(state, gateways=(gateway,))
        self._layout.write(state)
        find_missing = partial(proof.not_ready, self._target)
        wait_until_ready(self._layout, gateway, find_missing, deadline=deadline, progress=progress)
        return state

    def write_gateway_config(self, text: str, state: LocalState) -> None:
        """Replace the gateway configuration; its backends are exactly the replicas of `state`."""
        replace_file(self._layout.gateway_config, routes.with_backends(text, _addresses(state)).encode())

    def _gateways_follow(self, state: LocalState, *, deadline: float) -> None:
        text = self._layout.gateway_config.read_text()
        for gateway in state.gateways:
            find_missing = partial(self._not_following, text=text, addresses=_addresses(state))
            wait_until_ready(self._layout, gateway, find_missing, deadline=deadline, progress=lambda _: None)

    def _not_following(self, gateway: str, *, text: str, addresses: list[str]) -> tuple[str, ...]:
        return proof.not_following(self._target, gateway, text) or proof.not_connected(self._target, gateway, addresses)

    @contextmanager
    def rollback_to(self, kept: LocalState, progress: Progress) -> Iterator[None]:
        """On any failure, including Ctrl-C, stop what was started since; remove the state if nothing is left."""
        try:
            yield
        except BaseException:
            for process in (self._layout.read() or kept).processes:
                if process not in kept.processes:
                    self.stop(process, grace=STOP_GRACE_SECONDS, progress=progress)
            if kept.replicas:
                self.write_gateway_config(self._layout.gateway_config.read_text(), kept)
                self._layout.write(kept)
            else:
                self._layout.state.unlink(missing_ok=True)
            raise

    def stop(self, process: ProcessState, *, grace: float, progress: Progress) -> bool:
        """Stop one process and remove its CPU limit; returns whether it was still running."""
        was_alive = process.running.stop(grace=grace)
        if process.container:
            docker.remove_container(process.container)
        if process.cgroup:
            cpu.remove(process.cgroup)
        if was_alive:
            progress(f"stopped {process.name}")
        return was_alive


def _addresses(state: LocalState) -> list[str]:
    return [f"127.0.0.1:{p.grpc_port}" for p in state.replicas]


def _ordered(processes: Mapping[str, ProcessState]) -> tuple[ProcessState, ...]:
    return tuple(sorted(processes.values(), key=lambda p: int(p.name.rpartition("-")[2])))


def model_config(text: str) -> ModelServerConfig:
    """Parse a model_config. Errors: SpecError when it cannot be parsed."""
    try:
        return ModelServerConfig.parse(text)
    except ConfigError as error:
        raise SpecError("the model_config cannot be read", hint="`deployer render` writes a valid one") from error
