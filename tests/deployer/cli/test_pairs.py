"""Two deployers at once on one local release, with every pair of verbs that change it."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

VERBS = {
    "up": ("local", "up", "--replicas", "1"),
    "scale": ("local", "up", "--replicas", "2"),
    "start": ("rollout", "start", "scale", "--to", "2", "--steps", "50", "--soak", "1s", "--no-gates"),
    "rollback": ("rollback", "scale", "--to", "1"),
    "abort": ("rollout", "abort", "scale"),
}
BUSY, PAUSED = 6, 7


@pytest.fixture(scope="module")
def directory(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("pairs")
    for version in ("1", "2"):
        shutil.copytree(small_store / "scale" / version, directory / "store/scale" / version)
    (directory / "deployer.yaml").write_text("release: pairs\nstore: store\nmodels: [scale]\nserving: {replicas: 1}\n")
    finished(begin(directory, "local", "up", "--version", "scale=1"))
    yield directory
    finished(begin(directory, "local", "down"))


def begin(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "deployer.cli", *arguments, "-f", str(directory / "deployer.yaml"), "-o", "json"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(program: subprocess.Popen[str]) -> dict[str, Any]:
    out, told = program.communicate(timeout=120)
    assert program.returncode in (0, BUSY, PAUSED), told
    document: dict[str, Any] = json.loads(out)
    return document


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations_with_replacement(VERBS, 2)))
def test_two_verbs_at_once_leave_a_release_that_is_right(directory: Path, one: str, other: str) -> None:
    both = [begin(directory, *VERBS[one]), begin(directory, *VERBS[other])]
    for program in both:
        finished(program)

    status = finished(begin(directory, "status"))
    assert status["kind"] == "Status", status
    history = finished(begin(directory, "rollout", "history", "scale"))["result"]
    assert "somebody else" not in json.dumps(history), history
    if (rollout := history["rollout"]) is not None and rollout["phase"] != "Healthy":
        assert finished(begin(directory, "rollout", "abort", "scale"))["result"]["outcome"] == "aborted"
    finished(begin(directory, "rollback", "scale", "--to", "1"))
    plan = finished(begin(directory, "local", "up", "--dry-run"))["result"]
    assert plan["state"]["models"]["scale"]["labels"] == {"stable": 1}
