"""The embedded model server as its users run it: a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eventually import eventually
from paths import ROOT

from deployer.tools import ports
from tfserving.client import Client

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True, kw_only=True)
class ModelServerProcess:
    """A server whose ports are open, with all that it was started with loaded."""

    process: subprocess.Popen[bytes]
    port: int
    rest_port: int
    log: Path
    client: Client

    @property
    def grpc(self) -> str:
        """Address of the gRPC port."""
        return f"127.0.0.1:{self.port}"

    @property
    def rest(self) -> str:
        """URL of the REST port."""
        return f"http://127.0.0.1:{self.rest_port}"

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def reaches(self, model: str, wanted: dict[int, str]) -> None:
        """Wait until the versions of a model are in these states."""
        eventually(lambda: self.states(model) == wanted, lambda: f"{model}: {wanted}, not {self.states(model)}")

    def states(self, model: str) -> dict[int, str]:
        """The state of each version that the server knows of a model."""
        return {entry.version: entry.state for entry in self.client.status(model)}


class Start(Protocol):
    """Starts a server with the given flags."""

    def __call__(self, *flags: str) -> ModelServerProcess: ...


class RunToExit(Protocol):
    """Runs a server that is expected to end by itself: its exit code and everything it printed."""

    def __call__(self, *flags: str) -> tuple[int, str]: ...


@contextmanager
def model_server(folder: Path, *flags: str) -> Iterator[ModelServerProcess]:
    """A server with these flags, which logs to a file in `folder`. What is left of it at the end is killed."""
    port, rest_port = ports.free(2)
    log = folder / f"server-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tfserving.server", f"--port={port}", f"--rest_api_port={rest_port}", *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=ENVIRONMENT,
        )

    def listening() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")
        return is_open(port) and is_open(rest_port)

    try:
        eventually(listening, lambda: log.read_text(errors="replace"), seconds=120)
        with Client(f"127.0.0.1:{port}") as client:
            yield ModelServerProcess(process=process, port=port, rest_port=rest_port, log=log, client=client)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def is_open(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
