"""SavedModels, and embedded servers as processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc_wire import Raw, caller, echo, quick, serving
from paths import ROOT, SUPPORT
from ports import free_port
from rest_echo import Served

from tfserving.client import Client


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base paths: scale (versions 1 to 3), slow, words, keras."""
    folder = tmp_path_factory.mktemp("models")
    script = SUPPORT / "make_models.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], env=_environment(), capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    return folder


@dataclass
class Running:
    """A server whose ports are open."""

    process: subprocess.Popen[bytes]
    port: int
    rest_port: int
    log: Path
    client: Client

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait_for(self, model: str, wanted: dict[int, str], seconds: float = 30) -> dict[int, str]:
        """Poll the states of a model until they are as wanted; the last ones seen are returned."""
        until = time.monotonic() + seconds
        while True:
            seen = {entry.version: entry.state for entry in self.client.status(model)}
            if seen == wanted or time.monotonic() > until:
                return seen
            time.sleep(0.05)


def _open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def _running(folder: Path, flags: tuple[str, ...]) -> Iterator[Running]:
    port, rest_port = free_port(), free_port()
    log = folder / f"server-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tfserving.server", f"--port={port}", f"--rest_api_port={rest_port}", *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
    try:
        until = time.monotonic() + 60
        while not (_open(port) and _open(rest_port)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        with Client(f"127.0.0.1:{port}") as client:
            yield Running(process, port, rest_port, log, client)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts a server with the given flags; all of them end with the module."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        yield lambda *flags: stack.enter_context(_running(folder, flags))


@pytest.fixture(scope="session")
def run_to_exit() -> Callable[..., tuple[int, str]]:
    """Runs a server that is expected to end by itself: its exit code and everything it printed."""

    def run(*flags: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tfserving.server", *flags],
            env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout

    return run


@pytest.fixture
def connect() -> Iterator[Callable[..., Raw]]:
    """Makes `Raw` clients, and closes them."""
    made: list[Raw] = []

    def new(port: int, data: bytes = b"") -> Raw:
        made.append(Raw(port, data))
        return made[-1]

    yield new
    for client in made:
        client.socket.close()


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    """A gRPC server that answers with what it gets, shared by the tests of a module."""
    with serving({"/s/Echo": echo}, quick={"/s/Echo": quick}) as (port, _):
        yield port


@pytest.fixture
def alive(echo_port: int) -> Iterator[None]:
    """That server serves others after whatever the test did to it."""
    yield
    with caller(echo_port) as channel:
        assert channel.unary_unary("/s/Echo")(b"alive", timeout=30) == b"alive"


@pytest.fixture
def served() -> Iterator[Served]:
    """A REST server whose one model answers with its inputs."""
    started = Served()
    yield started
    started.server.stop(0)
