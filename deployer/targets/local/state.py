"""The state of local releases between invocations: one directory per release, with one state file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

from deployer.decode import json_as
from deployer.domain.gateway import Tls
from deployer.errors import TargetError
from deployer.files import replace_file
from deployer.targets.local.container import Container
from deployer.tools.running import Running


class Engine(StrEnum):
    """The server of local replicas: this project's, a `tensorflow_model_server` on PATH, or a container."""

    EMBEDDED = "embedded"
    BINARY = "binary"
    DOCKER = "docker"


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of state.json."""


class ProcessState(_Record, frozen=True, kw_only=True):
    """One process: `started` as in `Running`; `grpc_port` 0 for a gateway without gRPC, `admin_port` 0 for
    a replica; `cgroup` empty when none was made.

    `container` is the name of its container, empty without one, and `worker` the pid of the server in it, 0 if this
    machine cannot see it. A later `up` compares `argv` to decide whether the process can stay.
    """

    name: str
    pid: int
    started: str
    argv: tuple[str, ...]
    http_port: int
    grpc_port: int = 0
    admin_port: int = 0
    cgroup: str = ""
    container: str = ""
    worker: int = 0

    @property
    def server(self) -> int:
        """The pid of the model server, for CPU time and memory."""
        return self.worker or self.pid

    @property
    def running(self) -> Running:
        """The process, for a later invocation."""
        return Running(pid=self.pid, started=self.started)


class LocalState(_Record, frozen=True, kw_only=True):
    """A release on this machine. `cpus` is the CPU limit of a replica, `limit` says how it is enforced.

    `container` is the container of each replica with the engine docker. `record` is the file in the store in which
    the release is recorded, empty for none. Processes listen on `host`; replicas on ports from `port_base` on, 0 for
    free ones. `tls` is that of the gateways, None for plain HTTP.
    """

    release: str
    engine: Engine
    server_flags: tuple[str, ...]
    container: Container | None = None
    bound_to_parent: bool = False
    cpus: float | None = None
    limit: str = "none"
    record: str = ""
    host: str = "127.0.0.1"
    port_base: int = 0
    tls: Tls | None = None
    replicas: tuple[ProcessState, ...] = ()
    gateways: tuple[ProcessState, ...] = ()

    @property
    def processes(self) -> tuple[ProcessState, ...]:
        """All processes in the order in which they are stopped: gateways first."""
        return self.gateways + self.replicas


OWN_CONFIG_SUFFIX = ".models.config"
"""Suffix of the files with the model_config of a single replica."""


class Layout:
    """The files of one release on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.state = self.directory / "state.json"
        self.lock = self.directory / "lock"
        self.config = self.directory / "config"
        self.logs = self.directory / "logs"
        self.record = self.directory / "served.json"
        self.model_config = self.config / "models.config"
        self.newcomer_config = self.config / f"newcomer{OWN_CONFIG_SUFFIX}"
        self.gateway_config = self.config / "gateway.yaml"
        self.ssl_config = self.config / "ssl.config"
        self.batching_parameters = self.config / "batching_parameters.txt"

    def log(self, process: str) -> Path:
        """The log of a process; kept when it is stopped."""
        return self.logs / f"{process}.log"

    def own_config(self, replica: str) -> Path:
        """The model_config that a replica reads: a link to that of the release, or its own file."""
        return self.config / f"{replica}{OWN_CONFIG_SUFFIX}"

    def link_config(self, replica: str) -> None:
        """Make a replica read the model_config of the release."""
        path = self.own_config(replica)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(self.model_config.name)
        draft.replace(path)

    def forget_own_configs(self, *replicas: str) -> None:
        """Remove the model_configs of these replicas; without names, those of all current and future replicas."""
        paths = [self.own_config(name) for name in replicas] or list(self.config.glob(f"*{OWN_CONFIG_SUFFIX}"))
        for path in paths:
            path.unlink(missing_ok=True)

    def read(self) -> LocalState | None:
        """The saved state, None if there is no release. Errors: TargetError when it cannot be decoded."""
        try:
            return json_as(self.state.read_bytes(), LocalState)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise TargetError(
                f"{self.state} is not the state of a local release",
                hint="it was edited, or written by another version; stop its processes manually and remove the file",
            ) from error

    def text(self, file: Path) -> str:
        """A configuration file that processes read. Errors: TargetError when it is gone or cannot be read."""
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise TargetError(
                f"{file} cannot be read",
                hint="the running processes keep what they have read; `deployer local down` and `up` write it again",
            ) from error

    def write(self, state: LocalState) -> None:
        """Save the state."""
        replace_file(self.state, msgspec.json.format(msgspec.json.encode(state)))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the release: one deployer at a time changes it. Errors: TargetError when another one holds the lock."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TargetError(
                    f"another deployer is changing the release in {self.directory}", hint="wait until it has finished"
                ) from None
            yield
