"""One process of a local release: its command line, its start, its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deployer.errors import TargetError, WaitTimeout
from deployer.targets.base import Progress
from deployer.targets.local.state import Engine, Layout, ProcessState
from deployer.tools import ports, process
from deployer.tools.running import Running
from tfserving import flags

STARTUP_POLL_SECONDS = 0.2
END_SECONDS = 5.0
BINARY = "tensorflow_model_server"
LOOPBACK = "127.0.0.1"


def server_flags(layout: Layout, values: Mapping[str, flags.Value]) -> tuple[str, ...]:
    """The flags shared by all replicas (no ports), sorted: `values`, with local paths for the configuration files."""
    paths = {name: str(file) for name, file in _files(layout).items() if name in values}
    own: dict[str, flags.Value] = {
        "model_config_file": str(layout.model_config),
        "model_config_file_poll_wait_seconds": 1,
    }
    return tuple(sorted(flags.render({**values, **paths, **own})))


def replica_program(engine: Engine) -> tuple[str, ...]:
    """The program of a replica without a container."""
    return (BINARY,) if engine is Engine.BINARY else (sys.executable, "-m", "tfserving.server")


def replica_flags(given: Sequence[str], *, config: Path, grpc_port: int, http_port: int) -> tuple[str, ...]:
    """The flags of one replica; it reads its model_config from `config`."""
    shared = [flag for flag in given if not flag.startswith("--model_config_file=")]
    own: dict[str, flags.Value] = {"port": grpc_port, "rest_api_port": http_port, "model_config_file": str(config)}
    return (*flags.render(own), *shared)


def gateway_argv(layout: Layout, *, host: str, port: int, admin_port: int, grpc_port: int) -> tuple[str, ...]:
    """The command line of the gateway; `grpc_port` 0 for no gRPC."""
    listen = (f"--config={layout.gateway_config}", f"--host={host}", f"--port={port}", f"--admin-port={admin_port}")
    grpc = (f"--grpc-port={grpc_port}",) if grpc_port else ()
    return (sys.executable, "-m", "gateway", *listen, *grpc, "--drain-seconds=0")


def start_process(
    layout: Layout,
    name: str,
    argv: Sequence[str],
    *,
    http_port: int,
    grpc_port: int = 0,
    admin_port: int = 0,
    host: str = LOOPBACK,
    bound_to_parent: bool,
) -> ProcessState:
    """Start one process; does not wait until it is ready. Errors: TargetError (port in use), ToolError (no program)."""
    for port in (http_port, grpc_port, admin_port):
        if port:
            ports.require_free(port)
    env = {"TFSERVING_HOST": host}  # the embedded model server reads it; TensorFlow Serving has no flag for it
    pid = process.spawn(argv, log=layout.log(name), env=env, bound_to_parent=bound_to_parent)
    started = Running.of(pid).started
    return ProcessState(
        name=name,
        pid=pid,
        started=started,
        argv=tuple(argv),
        http_port=http_port,
        grpc_port=grpc_port,
        admin_port=admin_port,
    )


def wait_until_ready(
    layout: Layout,
    state: ProcessState,
    find_missing: Callable[[str], tuple[str, ...]],
    *,
    deadline: float,
    progress: Progress,
) -> None:
    """Return when `find_missing(name)` is empty.

    Errors: TargetError when the process ends, WaitTimeout at `deadline` (time.monotonic); both with the last lines of
    its log as the cause.
    """
    while state.running.alive():
        missing = find_missing(state.name)
        if not missing:
            port = state.http_port if state.admin_port else state.grpc_port
            progress(f"{state.name} is ready (pid {state.pid}, port {port})")
            return
        if time.monotonic() > deadline:
            raise WaitTimeout(
                f"{state.name} is not ready: {'; '.join(missing)}",
                cause=log_tail(layout, state.name),
                hint=f"raise --timeout; the whole log is {layout.log(state.name)}",
            )
        time.sleep(STARTUP_POLL_SECONDS)
    code = process.exit_code(state.pid, within=END_SECONDS)
    raise TargetError(
        f"{state.name} exited during startup" + ("" if code is None else f" with {process.ending(code)}"),
        cause=log_tail(layout, state.name),
        hint=f"the whole log is {layout.log(state.name)}",
    )


def log_tail(layout: Layout, name: str) -> str:
    """The last lines of a process's log."""
    log = layout.log(name)
    return process.tail(log.read_text(errors="replace")) if log.exists() else "it wrote nothing"


def _files(layout: Layout) -> Mapping[str, Path]:
    return {
        "model_config_file": layout.model_config,
        "batching_parameters_file": layout.batching_parameters,
        "monitoring_config_file": layout.config / "monitoring.config",
        "ssl_config_file": layout.ssl_config,
    }
