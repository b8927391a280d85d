"""What a local release served outlives `down`, and the folder with its state."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually


@pytest.fixture
def directory(small_store: Path, tmp_path: Path) -> Iterator[Path]:
    """deployer.yaml beside a store of its own; versions 1 and 2 of `scale`."""
    for version in ("1", "2"):
        shutil.copytree(small_store / "scale" / version, tmp_path / "store/scale" / version)
    (tmp_path / "deployer.yaml").write_text("release: past\nstore: store\nmodels: [scale]\nserving: {replicas: 1}\n")
    yield tmp_path
    deployer(tmp_path, "local", "down")


def deployer(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "deployer.cli", *arguments, "-f", str(directory / "deployer.yaml")]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def state(found: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Versions, labels and weights of a plan."""
    assert found.returncode == 0, found.stderr
    model: dict[str, Any] = json.loads(found.stdout)["result"]["state"]["models"]["scale"]
    return model


def test_the_version_before_the_newest_stays_stable(directory: Path) -> None:
    up = deployer(directory, "local", "up", "--version", "scale=1")
    assert up.returncode == 0, up.stderr
    assert deployer(directory, "local", "down").returncode == 0
    assert state(deployer(directory, "local", "up", "--dry-run", "-o", "json"))["labels"] == {"stable": 1}

    shutil.rmtree(directory / ".deployer")
    kept = state(deployer(directory, "local", "up", "--dry-run", "-o", "json"))
    assert (kept["versions"], kept["labels"]) == ([1], {"stable": 1})

    chosen = state(deployer(directory, "local", "up", "--version", "scale=2", "--dry-run", "-o", "json"))
    assert chosen["labels"] == {"stable": 2}

    shutil.rmtree(directory / "store/scale/1")
    gone = deployer(directory, "local", "up")
    assert gone.returncode == 3
    assert "version 1 of scale, which past served last, is no longer in the store" in gone.stderr
    assert "--version scale=N" in gone.stderr


def test_a_release_that_never_came_up_has_no_past(directory: Path) -> None:
    (directory / "store/scale/1/saved_model.pb").write_bytes(b"broken")
    assert deployer(directory, "local", "up", "--version", "scale=1", "--timeout", "30s").returncode != 0
    assert state(deployer(directory, "local", "up", "--dry-run", "-o", "json"))["labels"] == {"stable": 2}


def test_processes_listen_on_loopback_and_ports_can_be_fixed(directory: Path) -> None:
    up = deployer(directory, "local", "up", "--port-base", "23500", "-o", "json")
    assert up.returncode == 0, up.stderr
    replica = json.loads(up.stdout)["result"]["replicas"][0]["replica"]
    assert (replica["grpc"], replica["rest"]) == ("127.0.0.1:23500", "127.0.0.1:23501")
    assert listening_elsewhere(23500, 23501) == []
    shown = deployer(directory, "status").stdout
    assert "127.0.0.1:23500" in shown
    assert "127.0.0.1:23501" in shown


def test_a_gateway_whose_port_is_in_use_takes_the_next_one_and_says_so(directory: Path) -> None:
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", 8080))
            other.listen()
        except OSError:
            pass  # another process of this machine has it: that is as good
        up = deployer(directory, "local", "up")
    assert up.returncode == 0, up.stderr
    assert "port 8080 is in use; the gateway gets" in up.stderr


def listening_elsewhere(*ports: int) -> list[str]:
    """Sockets that listen on these ports at another address than loopback; proc(5)."""
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) in ports]
    return [address for address in listening if not address.startswith("0100007F")]


def test_a_version_directory_that_was_deleted_under_a_running_release_is_found(directory: Path) -> None:
    assert deployer(directory, "local", "up", "--version", "scale=1").returncode == 0
    healthy = deployer(directory, "doctor")
    assert (healthy.returncode, "nothing is wrong" in healthy.stdout) == (0, True), healthy.stdout
    shutil.rmtree(directory / "store/scale/1")

    def found() -> bool:
        shown = deployer(directory, "doctor")
        return shown.returncode == 6 and "requests to label stable of model scale fail" in shown.stdout

    eventually(found, "doctor finds it")
    shown = deployer(directory, "doctor").stdout
    assert "version 1 of model scale has left the model server although it is configured" in shown
    assert "store/scale/1 is gone" in shown
    assert "deployer rollback scale" in shown
