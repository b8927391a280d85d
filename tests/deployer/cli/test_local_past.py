"""What a local release served outlives `down`, and the folder with its state."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


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
