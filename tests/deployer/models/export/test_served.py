"""An exported version is loaded, warmed up and served by the embedded model server, and survives damage on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from model_server_process import model_server
from paths import SUPPORT

from deployer.cli.__main__ import main
from tfserving.client import Client
from tfserving.config import MonitoringConfig


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(SUPPORT)
    argv = ["export", "exported_models:doubler", "--store", str(tmp_path / "store"), "--model", "m", "-q"]
    assert main([*argv, "--warmup-batch-sizes", "1,4"]) == 0
    return tmp_path / "store"


@pytest.fixture
def server(store: Path, tmp_path: Path) -> Iterator[tuple[Client, str]]:
    (tmp_path / "monitoring").write_text(MonitoringConfig(enable=True, path="/metrics").to_text())
    monitoring = f"--monitoring_config_file={tmp_path / 'monitoring'}"
    with model_server(tmp_path, "--model_name=m", f"--model_base_path={store / 'm'}", monitoring) as process:
        yield process.client, process.rest


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
