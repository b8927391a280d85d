"""CPU time of the gateway process for one-record requests: `python -m bench gateway`.

A fake model server, the gateway and the clients are processes of their own; CPU is what the kernel charged the gateway,
start-up excluded. For comparison: an ASGI application under the same server that reads the body and does nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[1]
FEATURES = 30
REQUESTS = 2000
ROUNDS = 5
IN_FLIGHT = (1, 8)

FAKE = """
import sys, threading
sys.path.insert(0, "tests/gateway")
import fake_model_server
fake_model_server._width = lambda version: 30
print(fake_model_server.FakeModelServer().port, flush=True)
threading.Event().wait()
"""
NOTHING = """
import uvicorn
async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=int(__import__("sys").argv[1]), loop="uvloop", http="httptools", access_log=False,
            lifespan="off", ws="none", log_level="error")
"""


def main(arguments: list[str]) -> None:
    """Print one line per number of requests in flight; the two applications take turns, so they share the noise."""
    record = {f"feature_{index:02d}": index * 1.1 for index in range(FEATURES)}
    body = json.dumps({"records": [record]}).encode()
    with tempfile.TemporaryDirectory() as folder:
        fake = _start([sys.executable, "-c", FAKE], stdout=subprocess.PIPE)
        assert fake.stdout is not None
        config = Path(folder, "gateway.yaml")
        config.write_text(yaml.safe_dump(_config(int(fake.stdout.readline()))))
        ports = {"bare": _free_port(), "gateway": _free_port()}
        started = {
            "bare": _start([sys.executable, "-c", NOTHING, str(ports["bare"])]),
            "gateway": _start(
                [sys.executable, "-m", "gateway", "--config", str(config), "--port", str(ports["gateway"])]
            ),
        }
        try:
            for port in ports.values():
                _wait(port)
            print(f"us of CPU for a request of one record with {FEATURES} features, least of {ROUNDS} rounds")
            for clients in IN_FLIGHT:
                rounds = [
                    {name: _cpu_micros(process.pid, ports[name], body, clients) for name, process in started.items()}
                    for _ in range(ROUNDS)
                ]
                bare, gateway = (min(figures[name] for figures in rounds) for name in ("bare", "gateway"))
                ratio = median(figures["gateway"] / figures["bare"] for figures in rounds)
                print(
                    f"{clients} in flight: gateway {gateway:4.0f}, bare uvicorn {bare:4.0f}, median ratio {ratio:.2f}"
                )
            print("load average " + " ".join(f"{load:.1f}" for load in os.getloadavg()))
        finally:
            for process in (*started.values(), fake):
                process.terminate()
                process.wait(20)


def _config(port: int) -> dict[str, Any]:
    spec = {
        "features": [
            {"name": f"feature_{index:02d}", "type": "float", "normalize": {"mean": 1.0, "std": 2.0}}
            for index in range(FEATURES)
        ],
        "input": {"name": "x", "dtype": "float32", "shape": [-1, FEATURES]},
        "output": {"name": "y", "kind": "regression"},
    }
    models = {"m": {"labels": {"stable": 1}, "routing": {"weights": {"stable": 1}}, "specs": {"1": spec}}}
    return {"version": "v1", "models": models, "backends": {"static": [f"127.0.0.1:{port}"]}}


def _start(command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, **streams)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _cpu_micros(pid: int, port: int, body: bytes, clients: int) -> float:
    _load(port, body, clients, REQUESTS // 10)
    before = psutil.Process(pid).cpu_times()
    _load(port, body, clients, REQUESTS)
    after = psutil.Process(pid).cpu_times()
    return (after.user + after.system - before.user - before.system) / REQUESTS * 1e6


def _load(port: int, body: bytes, clients: int, requests: int) -> None:
    threads = [threading.Thread(target=_client, args=(port, body, requests // clients)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _client(port: int, body: bytes, requests: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(requests):
        connection.request("POST", "/v1/models/m:predict", body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(text.decode())
    connection.close()


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


if __name__ == "__main__":
    main(sys.argv[1:])
