"""A version that no model server can load does not take the other models of its release down."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def directory(small_store: Path, tmp_path: Path) -> Iterator[Path]:
    """Two models; version 1 of `broken` has a graph that cannot be read."""
    shutil.copytree(small_store / "scale/1", tmp_path / "store/scale/1")
    shutil.copytree(small_store / "scale/1", tmp_path / "store/broken/1")
    (tmp_path / "store/broken/1/saved_model.pb").write_bytes(b"\xff" * 20)
    describe(tmp_path, "scale", "broken")
    yield tmp_path
    deployer(tmp_path, "local", "down")


def describe(directory: Path, *models: str) -> None:
    text = f"release: two\nstore: store\nmodels: [{', '.join(models)}]\nserving: {{replicas: 1}}\n"
    (directory / "deployer.yaml").write_text(text)


def deployer(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "deployer.cli", *arguments, "-f", str(directory / "deployer.yaml")]
    return subprocess.run(line, capture_output=True, text=True, timeout=150, check=False)


def require_only_scale(directory: Path) -> None:
    status = deployer(directory, "status", "-o", "json")
    assert status.returncode == 0, status.stdout
    served = json.loads(status.stdout)["result"]["status"]["replicas"][0]["served"]
    assert [(one["model"], one["versions"]) for one in served] == [("scale", {"1": "AVAILABLE"})]


def test_the_others_are_served_and_it_is_named(directory: Path) -> None:
    up = deployer(directory, "local", "up")
    assert up.returncode == 4
    assert "error: broken cannot be served as described; the other models are" in up.stderr
    assert "version 1 of broken: " in up.stderr
    assert "saved_model.pb" in up.stderr or "SavedModel" in up.stderr, up.stderr
    require_only_scale(directory)


def test_one_that_is_added_to_a_running_release_is_left_out_too(directory: Path) -> None:
    describe(directory, "scale")
    assert deployer(directory, "local", "up").returncode == 0
    describe(directory, "scale", "broken")
    assert deployer(directory, "local", "up", "--replicas", "2").returncode == 4
    require_only_scale(directory)


def test_a_release_with_nothing_else_fails_as_before(directory: Path) -> None:
    describe(directory, "broken")
    up = deployer(directory, "local", "up")
    assert up.returncode == 6
    assert "replica-0 exited during startup" in up.stderr
    assert "no release is running" in deployer(directory, "status").stderr
