"""Rows per second of `deployer batch`, beside one-record requests: `python -m bench batch`.

The embedded model server and the gateway are processes of their own; client, gateway and server share the cores of this
machine. Both kinds go through the same client with the same number of requests in flight, reading and writing files, and
take turns in every round, so that they share the noise. The first round warms up and is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import yaml

from bench.gateway import FEATURES, gateway_config, start_model_server, start_process, wait_for_port
from deployer.records.endpoint import RecordApi
from deployer.release.batch import job, run
from deployer.tools.ports import free
from gateway.settings import parse_settings

ROUNDS = 5
SIZES = {"one-record requests": (1, 2_000), "batch": (256, 60_000)}
"""Records in a request, rows in a round."""


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
            route = _route(f"http://127.0.0.1:{port}", config.read_text())
            speeds: dict[str, list[float]] = {name: [] for name in SIZES}
            for turn in range(ROUNDS + 1):
                for name, (records, rows) in SIZES.items():
                    speed = _speed(Path(folder), f"{turn}-{records}", route, records=records, rows=rows)
                    if turn:
                        speeds[name].append(speed)
            print(f"rows/s, records of {FEATURES} features, {ROUNDS} interleaved rounds, {os.cpu_count()} cores")
            for name, found in speeds.items():
                shown = " ".join(f"{speed:.0f}" for speed in found)
                print(f"{name:<20} median {median(found):6.0f}   ({shown})")
            one, many = (median(found) for found in speeds.values())
            print(f"ratio {many / one:.1f}; load average " + " ".join(f"{load:.1f}" for load in os.getloadavg()))
        finally:
            for process in (gateway, server):
                process.terminate()
                process.wait(20)


def _route(url: str, config: str) -> run.Route:
    settings = parse_settings(config)
    model = settings.models["m"]
    endpoint = RecordApi(urls=(url,), path="/v1/models/m:predict")
    return run.Route(endpoint=endpoint, through=url, settings=settings, model=model, specs=tuple(model.specs.values()))


def _speed(folder: Path, name: str, route: run.Route, *, records: int, rows: int) -> float:
    source = folder / f"{rows}.jsonl"
    if not source.exists():
        record = json.dumps({f"feature_{index:02d}": index * 1.1 for index in range(FEATURES)})
        source.write_text(f"{record}\n" * rows)
    request = job.BatchRequest(model="m", inputs=(str(source),), output=folder / name, batch=records)
    found = asyncio.run(run.run(_described(request), request, route, lambda _: None, run.Time()))
    assert found.bad == 0
    return found.rows_per_second


def _described(request: job.BatchRequest) -> job.Described:
    request.output.mkdir()
    return job.begin(request)
