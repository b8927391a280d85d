"""CPU time of the gateway process per request and per record: `python -m bench gateway`.

The embedded model server and the gateway are processes of their own; CPU is what the scheduler charged the gateway's
threads, in nanoseconds, start-up excluded. What the process uses while nobody asks is measured first and taken off: at
one request in flight it would be shared by few requests. The kernel's share is counted in ticks over all rounds: with
one request in flight most of it is the waking of the process that is written to. Clients send head and body in one
piece. For comparison: an ASGI application under the same server that reads the body and does nothing.
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

import yaml

from deployer.tools.ports import free

ROOT = Path(__file__).parents[1]
FEATURES = 30
ROUNDS = 5
SHAPES = ((1, 1, 1000), (8, 1, 1000), (8, 30, 400), (8, 100, 200))
"""Requests in flight, records in a request, requests in a round."""
IDLE_SECONDS = 2.0

MODEL = """
import sys
import tensorflow as tf

class Linear(tf.Module):
    def __init__(self):
        self.weights = tf.Variable(tf.random.normal([30, 1]))

    @tf.function(input_signature=[tf.TensorSpec([None, 30], tf.float32, "x")])
    def serve(self, x):
        return {"y": x @ self.weights}

linear = Linear()
tf.saved_model.save(linear, sys.argv[1], {"serving_default": linear.serve})
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
    """Print one line per shape of load; the two applications take turns, so they share the noise."""
    with tempfile.TemporaryDirectory() as folder:
        server_port, *for_applications = free(3)
        server = start_model_server(Path(folder, "model"), server_port)
        config = Path(folder, "gateway.yaml")
        config.write_text(yaml.safe_dump(gateway_config(server_port)))
        ports = dict(zip(("bare", "gateway"), for_applications, strict=True))
        started = {
            "bare": start_process([sys.executable, "-c", NOTHING, str(ports["bare"])]),
            "gateway": start_process(
                [sys.executable, "-m", "gateway", "--config", str(config), "--port", str(ports["gateway"])]
            ),
        }
        try:
            for port in ports.values():
                wait_for_port(port)
            idle = {name: idle_share(process.pid) for name, process in started.items()}
            print(f"us of CPU, records of {FEATURES} features, least of {ROUNDS} rounds, idle use taken off")
            print("idle: " + ", ".join(f"{name} {share * 1e6:.0f} us a second" for name, share in idle.items()))
            for clients, records, requests in SHAPES:
                message = request_bytes(records)
                for port in ports.values():
                    send_requests(port, message, clients, requests // 5)
                ticks = _ticks(started["gateway"].pid)
                rounds = [
                    {
                        name: cpu_micros(process.pid, idle[name], ports[name], message, clients, requests)
                        for name, process in started.items()
                    }
                    for _ in range(ROUNDS)
                ]
                bare, gateway = (min(figures[name] for figures in rounds) for name in ("bare", "gateway"))
                ratio = median(figures["gateway"] / figures["bare"] for figures in rounds)
                user, kernel = (now - then for now, then in zip(_ticks(started["gateway"].pid), ticks, strict=True))
                print(
                    f"{clients} in flight, {records:3} records: gateway {gateway:5.0f} a request, "
                    f"{gateway / records:5.1f} a record, {kernel / (user + kernel):.0%} of it in the kernel; "
                    f"bare uvicorn {bare:3.0f}, median ratio {ratio:.2f}"
                )
            print("load average " + " ".join(f"{load:.1f}" for load in os.getloadavg()))
        finally:
            for process in (*started.values(), server):
                process.terminate()
                process.wait(20)


def gateway_config(port: int) -> dict[str, Any]:
    spec = {
        "features": [
            {"name": f"feature_{index:02d}", "type": "float", "normalize": {"mean": 1.0, "std": 2.0}}
            for index in range(FEATURES)
        ],
        "input": {"name": "x", "dtype": "float32", "shape": [-1, FEATURES]},
        "output": {"name": "y", "kind": "regression"},
    }
    models = {"m": {"specs": {"1": spec}}}
    return {"version": "v1", "models": models, "backends": {"static": [f"127.0.0.1:{port}"]}}


def start_model_server(base: Path, port: int) -> subprocess.Popen[bytes]:
    """The embedded model server, with a model of one matrix product."""
    subprocess.run([sys.executable, "-c", MODEL, str(base / "1")], check=True, timeout=120, stderr=subprocess.DEVNULL)
    names = ["--model_name=m", f"--model_base_path={base}"]
    server = start_process([sys.executable, "-m", "tfserving.server", f"--port={port}", *names])
    wait_for_port(port)
    return server


def start_process(command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, **streams)


def request_bytes(records: int) -> bytes:
    """A whole request."""
    record = {f"feature_{index:02d}": index * 1.1 for index in range(FEATURES)}
    body = json.dumps({"records": [record] * records}).encode()
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def cpu_seconds(pid: int) -> float:
    """What the scheduler has charged all threads of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int(Path(thread, "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _ticks(pid: int) -> tuple[int, int]:
    """Clock ticks that a process has spent in its own code and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def idle_share(pid: int) -> float:
    """Seconds of CPU that a process uses a second while nobody asks."""
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(pid) - before) / (time.monotonic() - started)


def cpu_micros(pid: int, idle: float, port: int, message: bytes, clients: int, requests: int) -> float:
    before, started = cpu_seconds(pid), time.monotonic()
    send_requests(port, message, clients, requests)
    used = cpu_seconds(pid) - before - idle * (time.monotonic() - started)
    return used / requests * 1e6


def send_requests(port: int, message: bytes, clients: int, requests: int) -> None:
    threads = [threading.Thread(target=_client, args=(port, message, requests // clients)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _client(port: int, message: bytes, requests: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for _ in range(requests):
            connection.sendall(message)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(text.decode())


def wait_for_port(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


if __name__ == "__main__":
    main(sys.argv[1:])
