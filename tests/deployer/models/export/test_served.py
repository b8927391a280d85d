"""An exported version is loaded, warmed up and served by the embedded model server, and survives damage on disk."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from paths import ROOT, SUPPORT

from deployer.cli.__main__ import main
from tfserving.client import Client, ModelServerError
from tfserving.config import MonitoringConfig


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(SUPPORT)
    argv = ["export", "exported_models:doubler", "--store", str(tmp_path / "store"), "--model", "m", "-q"]
    assert main([*argv, "--warmup-batch-sizes", "1,4"]) == 0
    return tmp_path / "store"


@pytest.fixture
def server(store: Path, tmp_path: Path) -> Iterator[tuple[Client, str]]:
    grpc, rest = free_ports()
    (tmp_path / "monitoring").write_text(MonitoringConfig(enable=True, path="/metrics").to_text())
    argv = [
        f"--port={grpc}", f"--rest_api_port={rest}", "--model_name=m", f"--model_base_path={store / 'm'}",
        f"--monitoring_config_file={tmp_path / 'monitoring'}", "--enable_grpc_healthcheck_service=true",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "tfserving.server", *argv], cwd=ROOT, stdout=log, stderr=log)
    try:
        with Client(f"127.0.0.1:{grpc}") as client:
            wait_until_healthy(client, process, tmp_path / "log")
            yield client, f"http://127.0.0.1:{rest}"
    finally:
        process.terminate()
        process.wait(30)


def wait_until_healthy(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.healthy(timeout=1):
                return
        except ModelServerError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the server did not come up:\n{log.read_text()[-3000:]}")


def test_a_version_is_warmed_up_and_served_even_when_its_files_rot(server: tuple[Client, str], store: Path) -> None:
    client, rest = server
    rows = np.array([[1, 2], [3, 4]], np.float32)
    answer = client.predict("m", {"numbers": rows})
    assert answer.version == 1
    np.testing.assert_array_equal(answer.outputs["doubled"], rows * 2)
    warmed = [
        line for line in requests.get(f"{rest}/metrics", timeout=10).text.splitlines() if "warmup_latency" in line
    ]
    assert any('status="OK"' in line and line.split()[0].split("{")[0].endswith("_count") for line in warmed)
    (store / "m/1/variables/variables.index").write_bytes(b"rotten")
    assert main(["models", "verify", "m", "--store", str(store), "-q"]) == 4
    np.testing.assert_array_equal(client.predict("m", {"numbers": rows}).outputs["doubled"], rows * 2)
