"""One model server of this machine, without gateway or state: started for a block of code, and gone after it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from deployer.errors import TargetError, WaitTimeout
from deployer.targets.local import container
from deployer.targets.local.process import BINARY, replica_program
from deployer.targets.local.state import Engine
from deployer.tools import docker, ports, process
from deployer.tools.running import Running
from tfserving.client import Client, ModelServerError
from tfserving.config import ModelConfig, ModelServerConfig, Specific

SERVER_POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0

LOAD_ONCE = ("--max_num_load_retries=0", "--load_retry_interval_micros=0", "--num_load_threads=2")
"""A version that cannot be loaded says so at once."""

TFLITE = ("--prefer_tflite_model=true", "--num_tflite_pools=1")
"""Serve the model.tflite of a version that has one, as a release does."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What runs: an engine, and for docker the image and its entry point (empty: the image's own)."""

    engine: Engine = Engine.EMBEDDED
    image: str = ""
    entry_point: str = BINARY


class OneServer:
    """A running model server. `failed` holds the server's own message for each model that it could not load.

    `load_seconds` is how long it took from the order to load the versions until the last was available.
    """

    def __init__(
        self, client: Client, failed: Mapping[str, str], running: Running, rest_port: int, load_seconds: float
    ) -> None:
        self.client = client
        self.failed = failed
        self.running = running
        self.rest_port = rest_port
        self.load_seconds = load_seconds


@contextmanager
def one_server(
    program: Program, versions: Mapping[str, Path], *, flags: Sequence[str] = (), timeout: float
) -> Iterator[OneServer]:
    """Serve version directories, by the model names they get here, each as version 1.

    Returns once each was loaded or has failed to. `timeout` bounds that, in seconds.

    Errors: TargetError when the server ends instead (its log is the cause), WaitTimeout, ToolError without the program.
    """
    if program.engine is Engine.DOCKER:
        docker.require()
    with tempfile.TemporaryDirectory(prefix="deployer-server-") as scratch:
        folder = Path(scratch)
        config = folder / "models.config"
        wanted = _config(folder, versions)
        # A server that begins with a version that it cannot load ends at once; one that gets it later says why.
        config.write_text(ModelServerConfig(models=()).to_text(), "utf-8")
        grpc_port, rest_port = ports.free(2)
        given = (f"--port={grpc_port}", f"--rest_api_port={rest_port}", f"--model_config_file={config}", *LOAD_ONCE)
        name = container.container_name("proof", folder.name)
        argv = (*replica_program(program.engine), *given, *flags)
        if program.engine is Engine.DOCKER:
            mounts = (str(folder), *(str(path.resolve()) for path in versions.values()))
            image = container.Container(image=program.image, entry_point=program.entry_point, mounts=mounts)
            argv = container.container_argv(image, name, (*given, *flags), config=config, ports=(grpc_port, rest_port))
        log = folder / "server.log"
        running = Running.of(process.spawn(argv, log=log, bound_to_parent=True))
        try:
            with Client(f"127.0.0.1:{grpc_port}", options=(("grpc.max_receive_message_length", -1),)) as client:
                failed, seconds = _loaded(client, wanted, running, log, timeout=timeout)
                yield OneServer(client, failed, running, rest_port, seconds)
        finally:
            running.stop(grace=GRACE_SECONDS)
            if program.engine is Engine.DOCKER:
                docker.remove_container(name)


def _config(folder: Path, versions: Mapping[str, Path]) -> ModelServerConfig:
    """A base path for each model, in which the version directory is a link called 1."""
    models = []
    for name, path in versions.items():
        base = folder / "models" / name
        base.mkdir(parents=True)
        (base / "1").symlink_to(path.resolve(), target_is_directory=True)
        models.append(ModelConfig(name=name, base_path=str(base), policy=Specific(versions=(1,))))
    return ModelServerConfig(models=tuple(models))


def _loaded(
    client: Client, wanted: ModelServerConfig, running: Running, log: Path, *, timeout: float
) -> tuple[dict[str, str], float]:
    """Have the models loaded; the server's message for each that it could not load, and the seconds that it took."""
    began = time.monotonic()
    deadline = began + timeout
    while not _asked(client, wanted, timeout=max(deadline - time.monotonic(), SERVER_POLL_SECONDS)):
        _check(running, log, deadline)
        time.sleep(SERVER_POLL_SECONDS)
        began = time.monotonic()
    failed: dict[str, str] = {}
    for model in wanted.models:
        while (message := _state(client, model.name)) is None:
            _check(running, log, deadline)
            time.sleep(SERVER_POLL_SECONDS)
        if message:
            failed[model.name] = message
    return failed, time.monotonic() - began


def _asked(client: Client, wanted: ModelServerConfig, *, timeout: float) -> bool:
    """Ask the server to load the models; False while nobody listens yet."""
    try:
        client.reload(wanted, timeout=timeout)
    except ModelServerError as error:
        # Any other error is about a version, and its status says more.
        return error.code is not grpc.StatusCode.UNAVAILABLE
    return True


def _check(running: Running, log: Path, deadline: float) -> None:
    """Errors: TargetError when the server has ended, WaitTimeout."""
    if not running.alive():
        raise TargetError(
            "the model server ended while it loaded the version",
            cause=process.tail(log.read_text(errors="replace")) or "it wrote nothing",
            hint="a model that needs more memory than this machine has ends its server",
        )
    if time.monotonic() > deadline:
        raise WaitTimeout(
            "the version was not loaded in time",
            cause=process.tail(log.read_text(errors="replace")),
            hint="a large model on a busy machine takes long",
        )


def _state(client: Client, name: str) -> str | None:
    """Empty once the version is available, the server's message once it has failed, None before."""
    try:
        (status,) = client.status(name, 1)
    except (ModelServerError, ValueError):
        return None  # the server has not seen the version yet
    if status.available:
        return ""
    return (status.message or "it gives no reason") if status.state == "END" else None
