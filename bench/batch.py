"""Rows per second of `deployer batch`, beside one-record requests: `python -m bench batch`.

The embedded model server and the gateway are processes of their own; client, gateway and server share the cores of this
machine. The one-record requests are made beforehand and sent by a closed loop at a constant number in flight, without
files or back pressure: what a client can do at best. Both kinds take turns in every round, so that they share the
noise. The first round warms up and is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import yaml

from bench.gateway import FEATURES, gateway_config, start_model_server, start_process, wait_for_port
from deployer.records import http1
from deployer.records.endpoint import RecordApi
from deployer.release.batch import job, run
from deployer.tools.ports import free
from gateway.settings import parse_settings

ROUNDS = 5
PATH = "/v1/models/m:predict"
IN_FLIGHT = 8
REQUESTS, ROWS = 3_000, 60_000
"""One-record requests, and rows of the batch, in a round."""


def main(arguments: list[str]) -> None:
    """Print the rows per second of each round, and the ratio of the medians."""
    with tempfile.TemporaryDirectory() as folder:
        server_port, port = free(2)
        server = start_model_server(Path(folder, "model"), server_port)
        config = Path(folder, "gateway.yaml")
        config.write_text(yaml.safe_dump(gateway_config(server_port)))
        gateway = start_process([sys.executable, "-m", "gateway", "--config", str(config), "--port", str(port)])
        try:
            wait_for_port(port)
            url = f"http://127.0.0.1:{port}"
            route = _route(url, config.read_text())
            speeds: dict[str, list[float]] = {"one-record requests": [], "batch": []}
            for turn in range(ROUNDS + 1):
                found = asyncio.run(_one_by_one(url)), _batch(Path(folder), turn, route)
                for speed, of_kind in zip(found, speeds.values(), strict=True):
                    if turn:
                        of_kind.append(speed)
            print(f"rows/s, records of {FEATURES} features, {ROUNDS} interleaved rounds, {os.cpu_count()} cores")
            for name, of_kind in speeds.items():
                shown = " ".join(f"{speed:.0f}" for speed in of_kind)
                print(f"{name:<20} median {median(of_kind):6.0f}   ({shown})")
            one, many = (median(of_kind) for of_kind in speeds.values())
            print(f"ratio {many / one:.1f}; load average " + " ".join(f"{load:.1f}" for load in os.getloadavg()))
        finally:
            for process in (gateway, server):
                process.terminate()
                process.wait(20)


def _record() -> str:
    return json.dumps({f"feature_{index:02d}": index * 1.1 for index in range(FEATURES)})


async def _one_by_one(url: str) -> float:
    pool = http1.Pool(url, timeout=30.0)
    request = http1.post(pool.authority, PATH, f'{{"records":[{_record()}]}}'.encode())

    async def work() -> None:
        for _ in range(REQUESTS // IN_FLIGHT):
            response = await pool.request(request)
            assert response.status == 200

    await pool.warm(IN_FLIGHT)
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    seconds = time.perf_counter() - began
    pool.close()
    return REQUESTS / seconds


def _batch(folder: Path, turn: int, route: run.Route) -> float:
    source, output = folder / "records.jsonl", folder / f"out-{turn}"
    if not source.exists():
        source.write_text(f"{_record()}\n" * ROWS)
    output.mkdir()
    request = job.BatchRequest(model="m", inputs=(str(source),), output=output, concurrency=IN_FLIGHT)
    found = asyncio.run(run.run(job.begin(request), request, route, lambda _: None, run.Time()))
    assert found.bad == 0
    return found.rows_per_second


def _route(url: str, config: str) -> run.Route:
    settings = parse_settings(config)
    model = settings.models["m"]
    endpoint = RecordApi(urls=(url,), path=PATH)
    return run.Route(endpoint=endpoint, through=url, settings=settings, model=model, specs=tuple(model.specs.values()))
