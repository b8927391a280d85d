"""locust in place of `deployer.experiment.loadgen`: the same rate against a server that stands still for one second.

locust has to be on PATH (`pip install locust`, in an environment of its own). Its users send at a constant rate each,
so it comes as close to an open loop as it can.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from bench import gateway as base
from deployer.experiment.loadgen import recording
from deployer.experiment.loadgen.plan import OpenLoop, Outcome, Plan
from deployer.records.endpoint import RecordApi
from deployer.tools.ports import free

RATE, USERS, SECONDS, WARMUP = 200, 40, 8.0, 2.0
STALL_AT = WARMUP + SECONDS / 2

SERVER = """
import sys, time, uvicorn
async def app(scope, receive, send):
    await receive()
    if scope["path"] == "/stall":
        time.sleep(1)
    body = b'{"predictions": [{"value": 1.0}]}'
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, lifespan="off", ws="none",
            log_level="error")
"""
LOCUSTFILE = f"""
from locust import HttpUser, constant_throughput, task
class Client(HttpUser):
    wait_time = constant_throughput({RATE / USERS})
    @task
    def predict(self):
        self.client.post("/v1/models/m:predict", json={{"version": "v1", "records": [{{"x": 1.0}}]}})
"""


def main() -> None:
    """Print for both how many requests they sent, what one cost them, and the p90 and p99 that they report."""
    (port,) = free(1)
    server = base.start_process([sys.executable, "-c", SERVER, str(port)])
    base.wait_for_port(port)
    print(f"{RATE} requests a second for {SECONDS:g} s, of which the server stands still for 1 s")
    print(f"{'':<10}{'requests':>10}{'us of CPU each':>16}{'p90':>10}{'p99':>10}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            _own(Path(folder), port)
            _locust(Path(folder), port)
    finally:
        server.terminate()
        server.wait(20)


def _own(folder: Path, port: int) -> None:
    records, plan, out = folder / "records.jsonl", folder / "plan.json", folder / "out.json"
    records.write_text('{"record": {"x": 1.0}}\n')
    target = RecordApi(urls=(f"http://127.0.0.1:{port}",), path="/v1/models/m:predict")
    load = OpenLoop(rate=RATE)
    plan.write_bytes(
        msgspec.json.encode(Plan(target=target, load=load, records=str(records), warmup=WARMUP, seconds=SECONDS))
    )
    line = [sys.executable, "-m", "deployer.experiment.loadgen", "--plan", str(plan), "--out", str(out)]
    generator = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert generator.stdout is not None
    generator.stdout.readline()  # the measured window opens
    _stall(port, STALL_AT - WARMUP)
    generator.wait(60)
    outcome = msgspec.json.decode(out.read_bytes(), type=Outcome)
    assert not outcome.errors, outcome.first_error
    latency = recording.summary(outcome.latency)
    _line("own", outcome.sent, outcome.cpu_seconds / outcome.sent, latency.at(90).ms, latency.at(99).ms)


def _locust(folder: Path, port: int) -> None:
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    line = ["locust", "--headless", "--json", "--reset-stats", "-u", str(USERS), "-r", str(USERS), "-H"]
    line += [f"http://127.0.0.1:{port}", "-t", f"{SECONDS + WARMUP:g}s", "-f", str(folder / "locustfile.py")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        generator = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    except FileNotFoundError:
        print("locust is not installed: pip install locust, in an environment of its own")
        return
    time.sleep(WARMUP + 2)  # it takes about 2 s to start
    before = base.cpu_seconds(generator.pid)
    _stall(port, SECONDS / 2 - 2)
    time.sleep(2)
    cpu = (base.cpu_seconds(generator.pid) - before) / (SECONDS / 2)
    output, _ = generator.communicate(timeout=60)
    (stats,) = json.loads(output)
    assert not stats["num_failures"], "the server refused requests"
    waited = sorted((float(ms), count) for ms, count in stats["response_times"].items())
    _line("locust", stats["num_requests"], cpu / RATE, _percentile(waited, 0.9), _percentile(waited, 0.99))


def _stall(port: int, after: float) -> None:
    """Have the server stand still, some seconds from now."""

    def ask() -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(1000)

    time.sleep(after)
    threading.Thread(target=ask).start()


def _percentile(waited: list[tuple[float, int]], share: float) -> float:
    left = share * sum(count for _, count in waited)
    for milliseconds, count in waited:
        left -= count
        if left <= 0:
            return milliseconds
    return waited[-1][0]


def _line(name: str, requests: int, seconds: float, p90: float, p99: float) -> None:
    print(f"{name:<10}{requests:>10}{seconds * 1e6:>16.0f}{p90:>7.0f} ms{p99:>7.0f} ms")
