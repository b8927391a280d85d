"""What the local target remembers between invocations: one directory a release, one state file in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

from deployer.errors import TargetError
from deployer.files import replace_file
from deployer.targets.local.container import Container
from deployer.tools.running import Running


class Engine(StrEnum):
    """What a local replica runs: the server of this project, a `tensorflow_model_server` on PATH, or a container."""

    EMBEDDED = "embedded"
    BINARY = "binary"
    DOCKER = "docker"


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of state.json."""


class ProcessState(_Record, frozen=True, kw_only=True):
    """One process: `started` as in `Running`; `grpc_port` 0 for a gateway; `cgroup` empty when none was made.

    `container` is the container that it is the client of, empty without one, and `worker` the pid of the server in
    there, 0 when it is not seen from here. `argv` tells a later `up` whether this is still the process that is wanted.
    """

    name: str
    pid: int
    started: str
    argv: tuple[str, ...]
    http_port: int
    grpc_port: int = 0
    cgroup: str = ""
    container: str = ""
    worker: int = 0

    @property
    def server(self) -> int:
        """The pid whose CPU time and memory are those of the replica."""
        return self.worker or self.pid

    @property
    def running(self) -> Running:
        """The process, as found again by a later invocation."""
        return Running(pid=self.pid, started=self.started)


class LocalState(_Record, frozen=True, kw_only=True):
    """A release on this machine. `limit` says how CPU shares are enforced, `cpus` how large they are.

    `container` is what replicas of the engine docker run in.
    """

    release: str
    engine: Engine
    server_flags: tuple[str, ...]
    container: Container | None = None
    bound_to_parent: bool = False
    cpus: float | None = None
    limit: str = "none"
    replicas: tuple[ProcessState, ...] = ()
    gateways: tuple[ProcessState, ...] = ()

    @property
    def processes(self) -> tuple[ProcessState, ...]:
        """All of them, gateways first: the order in which they are stopped."""
        return self.gateways + self.replicas


OWN = ".models.config"
"""Ends the names of the model_configs that single replicas read."""


class Layout:
    """The files of one release on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.state = self.directory / "state.json"
        self.lock = self.directory / "lock"
        self.config = self.directory / "config"
        self.logs = self.directory / "logs"
        self.model_config = self.config / "models.config"
        self.newcomer_config = self.config / f"newcomer{OWN}"
        self.gateway_config = self.config / "gateway.yaml"
        self.batching_parameters = self.config / "batching_parameters.txt"

    def log(self, process: str) -> Path:
        """Where a process writes what it has to say; kept when it is stopped."""
        return self.logs / f"{process}.log"

    def own_config(self, replica: str) -> Path:
        """The model_config that a replica reads: a link to that of the release, or a file of its own."""
        return self.config / f"{replica}{OWN}"

    def link_config(self, replica: str) -> None:
        """Have a replica read the model_config of the release."""
        path = self.own_config(replica)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(self.model_config.name)
        draft.replace(path)

    def forget_own_configs(self, *replicas: str) -> None:
        """Remove what these replicas read; without a name, of all, and of those to come."""
        paths = [self.own_config(name) for name in replicas] or list(self.config.glob(f"*{OWN}"))
        for path in paths:
            path.unlink(missing_ok=True)

    def read(self) -> LocalState | None:
        """The release as it was left, None when there is none. Errors: TargetError for a file that is not ours."""
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=LocalState)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise TargetError(
                f"{self.state} is not the state of a local release",
                hint="it was edited or written by another version; stop its processes by hand and remove the file",
            ) from error

    def write(self, state: LocalState) -> None:
        """Replace the state."""
        replace_file(self.state, msgspec.json.format(msgspec.json.encode(state)))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one deployer changes a release at a time. Errors: TargetError when another one is at work."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TargetError(
                    f"another deployer is changing the release in {self.directory}", hint="wait until it has ended"
                ) from None
            yield
