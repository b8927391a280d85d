"""Servers that differ in one thing, each a process of its own, under the same load in turns."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import yaml

from bench import gateway as base
from bench import model_server
from bench.libraries import ROUNDS, show
from deployer.tools.ports import free

CLIENTS, REQUESTS = 8, 1200
CONTROL = "own, a second process"


def gateways(folder: Path, variant: str) -> None:
    """What a request with one record costs the gateway, and one with `variant` of `bench.libraries.variants`."""
    server_port = free(1)[0]
    server = base.start_model_server(folder / "model", server_port)
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump(base.gateway_config(server_port)))
    message = base.request_bytes(1)
    with _started(["gateway"], variant, lambda port: ["--config", str(config), "--port", str(port)]) as started:
        loads = {
            name: partial(base.send_requests, port, message, CLIENTS, REQUESTS) for name, (port, _) in started.items()
        }
        _in_turns("A request to the gateway", {name: process for name, (_, process) in started.items()}, loads)
    _end(server)


def model_servers(folder: Path, variant: str) -> None:
    """What a Predict of one row costs the embedded model server, and one with `variant`."""
    made = [sys.executable, "-c", model_server.MODEL, str(folder / "mlp" / "1")]
    subprocess.run(made, check=True, timeout=120, stderr=subprocess.DEVNULL)
    where = ["--model_name=mlp", f"--model_base_path={folder / 'mlp'}"]
    with (
        _started(["tfserving.server"], variant, lambda port: [f"--port={port}", *where]) as started,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        loads = {name: partial(_call, pool, model_server.grpc_caller(port, 1)) for name, (port, _) in started.items()}
        _in_turns("A Predict of the model server", {name: process for name, (_, process) in started.items()}, loads)


def bare_applications(variant: str) -> None:
    """What a request costs an application that does nothing, with this project's protocol and with uvicorn's."""
    message = base.request_bytes(1)
    own = ["bench.libraries.variants", "bare-own"]
    with _started(own, variant, lambda port: [str(port)]) as started:
        loads = {
            name: partial(base.send_requests, port, message, CLIENTS, REQUESTS) for name, (port, _) in started.items()
        }
        _in_turns("A request to a bare application", {name: process for name, (_, process) in started.items()}, loads)


@contextmanager
def _started(
    own: list[str], variant: str, arguments: Callable[[int], list[str]]
) -> Iterator[Mapping[str, tuple[int, subprocess.Popen[bytes]]]]:
    programs = {"own": own, variant: ["bench.libraries.variants", variant], CONTROL: own}
    started = {}
    for name, module in programs.items():
        port = free(1)[0]
        started[name] = port, base.start_process([sys.executable, "-m", *module, *arguments(port)])
    try:
        for port, _ in started.values():
            base.wait_for_port(port)
        yield started
    finally:
        _end(*(process for _, process in started.values()))


def _call(pool: ThreadPoolExecutor, call: Callable[[], None]) -> None:
    for done in [pool.submit(call) for _ in range(REQUESTS)]:
        done.result()


def _in_turns(
    title: str, processes: Mapping[str, subprocess.Popen[bytes]], loads: Mapping[str, Callable[[], object]]
) -> None:
    figures: dict[str, list[float]] = {name: [] for name in loads}
    order = deque(loads)
    for turn in range(ROUNDS + 1):
        for name in order:
            before = base.cpu_seconds(processes[name].pid)
            loads[name]()
            if turn:  # the first warms up
                figures[name].append((base.cpu_seconds(processes[name].pid) - before) / REQUESTS * 1e6)
        order.rotate()  # whoever comes first meets another machine than whoever comes last
    show(f"{title}, {CLIENTS} in flight", figures)


def _end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.terminate()
        process.wait(40)
