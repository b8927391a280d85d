"""SavedModels, and embedded servers as processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gated_model import GatedModel
from grpc_wire import Connect, Raw, caller, echo, quick, serving
from model_server_process import ENVIRONMENT, RunToExit, Start, model_server
from paths import SUPPORT
from rest_echo import Served


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base paths: scale (versions 1 to 3), slow, gated, words, keras."""
    folder = tmp_path_factory.mktemp("models")
    script = SUPPORT / "make_models.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], env=ENVIRONMENT, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a server with the given flags; all of them end with the module."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        yield lambda *flags: stack.enter_context(model_server(folder, *flags))


@pytest.fixture(scope="session")
def run_to_exit() -> RunToExit:
    """Runs a server that is expected to end by itself: its exit code and everything it printed."""

    def run(*flags: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tfserving.server", *flags],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout

    return run


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[GatedModel]:
    """A gate for one test; it is open in the end."""
    gate = GatedModel(tmp_path)
    yield gate
    gate.open()


@pytest.fixture
def connect() -> Iterator[Connect]:
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
