"""A release as processes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deployer.domain.gateway import Tls
from deployer.domain.location import DirectoryStore
from deployer.domain.release import Release
from deployer.errors import TargetError
from deployer.files import replace_file
from deployer.targets import credentials
from deployer.targets.base import (
    CpuReading,
    GatewayReplica,
    HttpReply,
    LoadEndpoints,
    MemoryReading,
    Progress,
    Replica,
    ReplicaBatching,
    Target,
)
from deployer.targets.history import FileHistory
from deployer.targets.local import cpu, memory, record, routes, snapshot
from deployer.targets.local.batching import current_batching, flags_with, gateway_with
from deployer.targets.local.container import Container
from deployer.targets.local.process import server_flags
from deployer.targets.local.state import Engine, Layout, LocalState
from deployer.targets.local.supervisor import STOP_GRACE_SECONDS, GatewayPorts, Supervisor, model_config
from deployer.targets.rest import is_admin_page
from deployer.targets.snapshot import LocalSnapshot
from deployer.targets.storage.contents import Contents, in_directory
from deployer.tools import docker
from deployer.tools.client_tls import client_tls
from deployer.tools.running import Running
from tfserving import flags


@dataclass(frozen=True, kw_only=True)
class LocalRelease:
    """The desired state of a local release.

    `files` maps file names to the text of its configuration; `server_flags` are the model server's flags, except
    ports and paths, which the target sets. `cpus` is the CPU limit of each replica, None for no limit.
    `gateway_port` 0 takes 8080 or the next free port; `grpc_port` None is no gRPC, 0 a free port. With
    `bound_to_parent` all processes, but not containers, die with this process. `container` is the container of each
    replica with the engine docker, else None. `record` is the file in the store in which the release is recorded,
    empty for none. Processes listen on `host`, replica I on the ports `port_base` + 2 I (gRPC) and the next one
    (REST); 0 takes free ones. `tls` is that of the gateways, None for plain HTTP.
    `ssl_config` is the ssl_config_file of the model servers, empty for gRPC without TLS; only this user may read it.
    """

    name: str
    engine: Engine
    replicas: int
    server_flags: Mapping[str, flags.Value]
    files: Mapping[str, str]
    cpus: float | None = None
    gateway_port: int = 0
    grpc_port: int | None = None
    bound_to_parent: bool = False
    container: Container | None = None
    record: str = ""
    host: str = "127.0.0.1"
    port_base: int = 0
    tls: Tls | None = None
    ssl_config: str = field(default="", repr=False)


class LocalTarget(Target):
    """The `Target` whose replicas and gateway are local processes. `directory` holds its files, logs and state."""

    kind = "local"

    def __init__(self, directory: Path, *, limiter: cpu.CpuLimiter | None = None) -> None:
        self.layout = Layout(directory)
        self._limiter = limiter or cpu.choose()
        self._supervisor = Supervisor(self.layout, self._limiter, self)

    # -- the release as a whole

    def up(self, wanted: LocalRelease, *, timeout: float, progress: Progress) -> None:
        """Start or change the release. Processes that already match stay; what this call started is stopped on failure.

        Errors: TargetError for a port in use or a process that exits during startup, WaitTimeout, ToolError when the
        engine is not installed; SpecError when a configuration file is invalid.
        """
        deadline = time.monotonic() + timeout
        if wanted.container is not None:
            docker.require()
        with self.layout.locked():
            before = self.layout.read()
            batching = self.layout.batching_parameters
            if before is None:
                self.layout.forget_own_configs()
            text = wanted.files.get(batching.name)
            outdated = text is not None and batching.exists() and batching.read_text() != text
            outdated |= self._keep_ssl_config(wanted.ssl_config)
            for name, text in wanted.files.items():
                if name != self.layout.gateway_config.name:
                    replace_file(self.layout.config / name, text.encode())
            state = LocalState(
                release=wanted.name,
                engine=wanted.engine,
                server_flags=server_flags(self.layout, wanted.server_flags),
                bound_to_parent=wanted.bound_to_parent,
                container=wanted.container,
                cpus=wanted.cpus,
                limit=self._limit(wanted),
                record=wanted.record,
                host=wanted.host,
                port_base=wanted.port_base,
                tls=wanted.tls,
            )
            gateway_ports = GatewayPorts(http=wanted.gateway_port, grpc=wanted.grpc_port)
            kept = self._supervisor.keep(
                before, state, outdated=outdated, gateway_ports=gateway_ports, progress=progress
            )
            self.layout.write(kept)
            gateway_text = wanted.files[self.layout.gateway_config.name]
            with self._supervisor.rollback_to(kept, progress):
                self._supervisor.fit(kept, wanted.replicas, gateway_text, gateway_ports, deadline, progress)
            self._keep_record(kept)

    def _keep_ssl_config(self, text: str) -> bool:
        """Write the file, or remove it when there is none; whether running replicas have read another one."""
        path = self.layout.ssl_config
        before = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        if text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(text)
        return before not in ("", text)

    def down(self, *, progress: Progress, grace: float = STOP_GRACE_SECONDS) -> tuple[str, ...]:
        """Stop every process of the release; return the names of those that were running. Logs and files stay."""
        with self.layout.locked():
            state = self.layout.read()
            if state is None:
                return ()
            stopped = tuple(p.name for p in state.processes if self._supervisor.stop(p, grace=grace, progress=progress))
            self.layout.state.unlink()
            return stopped

    def _limit(self, wanted: LocalRelease) -> str:
        if wanted.cpus is None:
            return "none"
        return f"docker {wanted.cpus:g} CPU" if wanted.container else self._limiter.describe(wanted.cpus)

    # -- Target

    def describe(self) -> str:
        return f"processes on this machine, state in {self.layout.directory}"

    def replicas(self) -> tuple[Replica, ...]:
        state = self._state()
        return tuple(
            Replica(
                name=p.name,
                grpc=f"127.0.0.1:{p.grpc_port}",
                rest=f"127.0.0.1:{p.http_port}",
                pid=p.server,
                cpus=state.cpus,
                alive=p.running.alive(),
            )
            for p in state.replicas
        )

    def gateways(self) -> tuple[GatewayReplica, ...]:
        state = self._state()
        scheme, tls = ("http", None) if state.tls is None else ("https", client_tls(state.tls))
        return tuple(
            GatewayReplica(
                name=p.name,
                url=f"{scheme}://127.0.0.1:{p.http_port}",
                admin=f"http://127.0.0.1:{p.admin_port}",
                grpc=f"127.0.0.1:{p.grpc_port}" if p.grpc_port else "",
                pid=p.pid,
                alive=p.running.alive(),
                tls=tls,
            )
            for p in state.gateways
        )

    def notes(self) -> tuple[str, ...]:
        return ()

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        return self._request(name, path, None, timeout=timeout)

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        return self._request(name, path, body, timeout=timeout)

    @contextmanager
    def reachable_gateways(self) -> Iterator[tuple[GatewayReplica, ...]]:
        yield tuple(gateway for gateway in self.gateways() if gateway.alive)

    def _request(self, name: str, path: str, body: bytes | None, *, timeout: float) -> HttpReply:
        state = self._state()
        for process in state.processes:
            if process.name == name:
                admin = body is None and process.admin_port and is_admin_page(path)
                port = process.admin_port if admin else process.http_port
                public = process.admin_port and not admin
                own = credentials.headers() if public else {}
                tls = client_tls(state.tls) if public and state.tls is not None else None
                return routes.request(name, port, path, body, headers=own, timeout=timeout, tls=tls)
        raise TargetError(f"there is no {name} in {self.layout.directory}", hint="`deployer status` lists them")

    def scale(self, replicas: int, *, timeout: float, progress: Progress) -> None:
        deadline = time.monotonic() + timeout
        with self.layout.locked():
            state = self._state()
            with self._supervisor.rollback_to(state, progress):
                self._supervisor.fit(state, replicas, None, GatewayPorts(), deadline, progress)

    def model_config(self) -> str:
        self._state()
        return self.layout.text(self.layout.model_config)

    def put_model_config(self, text: str) -> None:
        state = self._state()
        model_config(text)
        replace_file(self.layout.model_config, text.encode())
        self._keep_record(state)

    def gateway_config(self) -> str:
        self._state()
        return self.layout.text(self.layout.gateway_config)

    def put_gateway_config(self, text: str) -> None:
        state = self._state()
        self._supervisor.write_gateway_config(text, state)
        self._keep_record(state)

    def _keep_record(self, state: LocalState) -> None:
        """Record what is served now, for the next `up`."""
        now = record.Record(
            model_config=self.layout.model_config.read_text(), gateway_config=self.layout.gateway_config.read_text()
        )
        for path in (self.layout.record, *([Path(state.record)] if state.record else [])):
            record.write(path, now)

    @contextmanager
    def held(self, *, timeout: float, progress: Progress) -> Iterator[None]:
        before = len(self.replicas())
        try:
            yield
        finally:
            if len(self.replicas()) != before:
                progress(f"scaling back to {before}")
                self.scale(before, timeout=timeout, progress=progress)

    def load_endpoints(self) -> LoadEndpoints:
        alive = [gateway for gateway in self.gateways() if gateway.alive]
        replica = next((r for r in self.replicas() if r.alive), None)
        if not alive or replica is None:
            raise TargetError(
                "no replica or no gateway of the release is running", hint="`deployer status` shows which are"
            )
        urls = tuple(gateway.url for gateway in alive)
        return LoadEndpoints(gateways=urls, model_servers=replica.grpc, tls=alive[0].tls)

    def cpu_readings(self) -> Mapping[str, CpuReading]:
        processes = self._state().processes
        return {p.name: CpuReading(seconds=Running.of(p.server).cpu_seconds(), at=time.time()) for p in processes}

    def memory_readings(self) -> Mapping[str, MemoryReading]:
        sizes = {replica.name: memory.resident(replica.pid) for replica in self.replicas() if replica.alive}
        now = time.time()
        return {name: MemoryReading(size=size, at=now) for name, size in sizes.items() if size is not None}

    def cpu_limit(self) -> str:
        return self._state().limit

    def history(self) -> FileHistory:
        return FileHistory(self.layout.directory / "rollouts")

    def read_store(
        self, release: Release, wanted: Mapping[str, Iterable[int]], *, image: str, timeout: float, progress: Progress
    ) -> Contents:
        if not isinstance(release.store, DirectoryStore):
            raise TargetError(f"the store of {release.name} is a PVC in a cluster", hint="--target cluster reads it")
        return in_directory(release.store, wanted)

    def snapshot(self) -> LocalSnapshot:
        return snapshot.take(self, self.layout)

    # -- a model_config of one replica

    def require_own_configs(self) -> None:
        pass

    def own_configs(self) -> Mapping[str, str]:
        paths = {replica.name: self.layout.own_config(replica.name) for replica in self.replicas()}
        own = {name: path for name, path in paths.items() if path.exists() and not path.is_symlink()}
        return {name: path.read_text() for name, path in own.items()}

    def put_own_config(self, name: str, text: str | None) -> None:
        if text is None:
            self.layout.link_config(name)
        else:
            model_config(text)
            replace_file(self.layout.own_config(name), text.encode())

    def newcomer_config(self) -> str | None:
        path = self.layout.newcomer_config
        return path.read_text() if path.exists() else None

    def put_newcomer_config(self, text: str | None) -> None:
        if text is None:
            self.layout.newcomer_config.unlink(missing_ok=True)
        else:
            replace_file(self.layout.newcomer_config, text.encode())

    # -- Rebatchable

    def batching(self) -> ReplicaBatching:
        return current_batching(self.layout, self._state().server_flags, self.gateway_config())

    def with_batching(self, wanted: ReplicaBatching, *, timeout: float, progress: Progress) -> None:
        deadline = time.monotonic() + timeout
        with self.layout.locked():
            state = self._state()
            flags = flags_with(self.layout, state.server_flags, wanted)
            before = self.gateway_config()
            fits_both = min(self.batching().rows_per_call, wanted.rows_per_call)
            if wanted.parameters is not None:
                replace_file(self.layout.batching_parameters, wanted.parameters.encode())
            meanwhile = gateway_with(before, fits_both)
            state = self._supervisor.restart(state, flags, meanwhile, deadline=deadline, progress=progress)
            afterwards = gateway_with(before, wanted.rows_per_call)
            self._supervisor.fit(state, len(state.replicas), afterwards, GatewayPorts(), deadline, progress)

    def _state(self) -> LocalState:
        state = self.layout.read()
        if state is None:
            raise TargetError(f"no release is running in {self.layout.directory}", hint="`deployer local up` starts it")
        return state
