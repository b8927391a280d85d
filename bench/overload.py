"""Open-loop load beyond what the replicas can serve: `python -m bench overload [SECONDS]`.

Replicas are embedded model servers, held to a CPU share each, so that client and gateway (which are not) have cores
left on a small machine. First the capacity is measured with a closed loop that keeps requests waiting, and the unloaded
latency with one request at a time. Then requests arrive as a Poisson process at multiples of the capacity, whatever
comes of the ones before. Latency counts from the moment at which a request was due.

- goodput: predictions per second, as a share of the capacity
- admitted: latency of requests that got a prediction, beside the objective in force
- refused: latency of 429 and 503, and how widely their Retry-After spreads
- after: latency of one request at a time, 2 s after the load has ended, as a multiple of the unloaded one
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.gateway import gateway_config, start_process, wait_for_port
from deployer.records import http1
from deployer.targets.local import cpu
from deployer.tools.ports import free

SECONDS = 15
TIMES = (0.7, 1.3, 3.0, 6.0)
SHARE = 0.2
"""CPUs of a replica."""
SLOW_SHARE = 0.04
"""CPUs of the slow replica of three."""
PATH = "/v1/models/m:predict"

MODEL = """
import sys
import tensorflow as tf

class Busy(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 30], tf.float32, "x")])
    def serve(self, x):
        square = tf.ones([128, 128]) + tf.reduce_sum(x) * 0
        for _ in range(48):
            square = tf.linalg.matmul(square, square) / 128.0
        return {"y": tf.reduce_sum(x, axis=1, keepdims=True) + square[0, 0] - 1.0}

busy = Busy()
tf.saved_model.save(busy, sys.argv[1], {"serving_default": busy.serve})
"""


@dataclass
class Seen:
    """What became of the requests of one load."""

    seconds: float = 0.0
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: Counter[int] = field(default_factory=Counter)
    retry_after: Counter[float] = field(default_factory=Counter)


def main(arguments: list[str]) -> None:
    """Print a table for each set of replicas."""
    seconds = float(arguments[0]) if arguments else SECONDS
    limiter = cpu.choose()
    print(f"replicas: {limiter.describe(SHARE)}; {os.cpu_count()} cores; {seconds:g} s a load")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "model")
        subprocess.run(
            [sys.executable, "-c", MODEL, str(base / "1")], check=True, timeout=120, stderr=subprocess.DEVNULL
        )
        for title, shares in (
            ("two replicas", (SHARE, SHARE)),
            (f"three replicas, one with {SLOW_SHARE:g} CPU", (SHARE, SHARE, SLOW_SHARE)),
        ):
            with served(base, shares, limiter, Path(folder)) as (url, admin):
                print(f"\n{title}")
                asyncio.run(measure(url, admin, seconds))
    print("\nload average " + " ".join(f"{load:.1f}" for load in os.getloadavg()))


@contextmanager
def served(base: Path, shares: Sequence[float], limiter: cpu.CpuLimiter, folder: Path) -> Iterator[tuple[str, str]]:
    """Replicas with these CPU shares and a gateway before them; gives the URLs of its ports."""
    *ports, port, admin_port = free(len(shares) + 2)
    started: list[subprocess.Popen[bytes]] = []
    groups: list[str] = []
    try:
        for index, (of_replica, share) in enumerate(zip(ports, shares, strict=True)):
            names = ["--model_name=m", f"--model_base_path={base}", "--tensorflow_session_parallelism=1"]
            started.append(start_process([sys.executable, "-m", "tfserving.server", f"--port={of_replica}", *names]))
            wait_for_port(of_replica)
            groups.append(limiter.limit("bench-overload", index, started[-1].pid, share))
        config = gateway_config(ports[0])
        config["backends"] = {"static": [f"127.0.0.1:{of_replica}" for of_replica in ports]}
        (folder / "gateway.yaml").write_text(yaml.safe_dump(config))
        started.append(
            start_process(
                [
                    sys.executable,
                    "-m",
                    "gateway",
                    "--config",
                    str(folder / "gateway.yaml"),
                    "--port",
                    str(port),
                    "--admin-port",
                    str(admin_port),
                ]
            )
        )
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)
        for group in filter(None, groups):
            Path(group).rmdir()


async def measure(url: str, admin: str, seconds: float) -> None:
    pool = http1.Pool(url, timeout=30.0)
    record = {f"feature_{index:02d}": index * 1.1 for index in range(30)}
    request = http1.post(pool.authority, PATH, json.dumps({"records": [record]}).encode())
    await pool.warm(64)
    await closed(pool, request, 16, 5.0)
    capacity = await closed(pool, request, 16, seconds)
    unloaded = percentile(await one_by_one(pool, request, 3.0), 0.5)
    print(
        f"capacity {capacity:.0f}/s, unloaded p50 {unloaded * 1000:.1f} ms, objective {objective(admin) * 1000:.0f} ms"
    )
    print(f"{'load':>6} {'goodput':>8} {'p50':>8} {'p99':>8} {'p99/objective':>14} {'refused':>8} {'p99':>7} ", end="")
    print(f"{'after 2 s':>9}  Retry-After; other statuses")
    for times in TIMES:
        seen = await load(pool, request, capacity * times, seconds)
        await asyncio.sleep(2.0)
        after = percentile(await one_by_one(pool, request, 2.0), 0.5)
        total = len(seen.answered) + len(seen.refused) + sum(seen.failed.values())
        p99 = percentile(seen.answered, 0.99)
        spread = " ".join(f"{wait:g}s×{count}" for wait, count in sorted(seen.retry_after.items())[:6])
        print(
            f"{times:5.1f}× {len(seen.answered) / seen.seconds / capacity:8.2f} "
            f"{percentile(seen.answered, 0.5) * 1000:5.0f} ms {p99 * 1000:5.0f} ms {p99 / objective(admin):14.2f} "
            f"{len(seen.refused) / total:8.1%} {percentile(seen.refused, 0.99) * 1000:4.1f} ms {after / unloaded:8.1f}×"
            f"  {spread}{'; ' + str(dict(seen.failed)) if seen.failed else ''}"
        )
        await asyncio.sleep(3.0)
    pool.close()


async def closed(pool: http1.Pool, request: bytes, clients: int, seconds: float) -> float:
    """Predictions per second with so many clients, each of which waits for its response."""
    until, count = time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < until:
            response = await pool.request(request)
            count += response.status == 200
            if response.status != 200:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(client() for _ in range(clients)))
    return count / seconds


async def one_by_one(pool: http1.Pool, request: bytes, seconds: float) -> list[float]:
    """Latencies of requests that have the release for themselves, with pauses."""
    until, found = time.perf_counter() + seconds, []
    while time.perf_counter() < until:
        began = time.perf_counter()
        response = await pool.request(request)
        if response.status == 200:
            found.append(time.perf_counter() - began)
        await asyncio.sleep(0.05)
    return found


async def load(pool: http1.Pool, request: bytes, rate: float, seconds: float) -> Seen:
    """Poisson arrivals at a rate; returns when all have been answered."""
    seen, chance = Seen(seconds=seconds), random.Random(3)
    began = due = time.perf_counter()

    async def one(due: float) -> None:
        response = await pool.request(request)
        took = time.perf_counter() - due
        if response.status == 200:
            seen.answered.append(took)
        elif response.status in (429, 503):
            seen.refused.append(took)
            seen.retry_after[response.retry_after or 0.0] += 1
        else:
            seen.failed[response.status] += 1

    async with asyncio.TaskGroup() as tasks:
        while due - began < seconds:
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    return seen


def objective(admin: str) -> float:
    """Seconds that the gateway holds to be this model's objective."""
    text = urllib.request.urlopen(admin + "/metrics", timeout=10).read().decode()
    found = re.search(r'^gateway_objective_seconds\{model="m"\} (\S+)', text, re.M)
    return float(found[1]) if found else float("nan")


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
