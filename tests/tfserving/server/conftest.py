"""SavedModels, and embedded servers as processes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from eventually import eventually
from grpc_wire import Raw, caller, echo, quick, serving
from model_server_process import ENVIRONMENT, ModelServerProcess, model_server
from paths import SUPPORT
from rest_echo import Served

from tfserving.wire.tensors import Array


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
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ModelServerProcess]]:
    """Starts a server with the given flags; all of them end with the module."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        yield lambda *flags: stack.enter_context(model_server(folder, *flags))


@pytest.fixture(scope="session")
def run_to_exit() -> Callable[..., tuple[int, str]]:
    """Runs a server that is expected to end by itself: its exit code and everything it printed."""

    def run(*flags: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tfserving.server", *flags],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout

    return run


class Gate:
    """A folder by which calls of the model `gated` are held up and let go.

    A call that is held up keeps one of TensorFlow's threads busy, and there may be one only: hold up one at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def inputs(self, x: float) -> dict[str, Array]:
        """Of one call."""
        return {"x": np.array([x], np.float32), "gate": np.array(str(self._folder), object)}

    def holds_a_call(self) -> None:
        """Wait until a call is at work."""
        eventually(lambda: list(self._folder.glob("entered")), "a call is at work")

    def open(self) -> None:
        """Let all calls go, and all that come."""
        (self._folder / "go-0").touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate for one test; it is open in the end."""
    gate = Gate(tmp_path)
    yield gate
    gate.open()


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
