"""Runs of tests that repeat what failed, and say at their end what was skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

PLAIN = """
from pathlib import Path
import pytest

def test_good():
    pass

def test_fails_once():
    mark = Path(__file__).with_name("mark")
    existed = mark.exists()
    mark.touch()
    assert existed

@pytest.mark.parametrize("n", range(3))
def test_needs_a_tool(n):
    pytest.skip("no tool is here")

@pytest.mark.skip(reason="no card")
def test_needs_a_card():
    pass
"""
BAD = "def test_always_fails():\n    assert False\n"
LINKED = """
from pathlib import Path

def test_first():
    Path(__file__).with_name("left").write_text("by the first")

def test_second():
    here = Path(__file__)
    assert here.with_name("left").exists() and here.with_name("mark").exists()
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "run_report", "--rootdir", str(folder), *arguments]
    env = {"PYTHONPATH": str(ROOT / "tests" / "support"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("processes", ["0", "2"])
def test_what_fails_once_is_flaky_and_what_fails_twice_has_failed(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_plain.py").write_text(PLAIN)
    (tmp_path / "test_bad.py").write_text(BAD)
    flaky = tmp_path / "flaky"
    first = run(tmp_path, "-n", processes)
    second = run(tmp_path, "-n", processes, "--again", str(flaky))

    assert (first.returncode, second.returncode) == (1, 1), first.stdout + second.stdout
    assert flaky.read_text() == "test_plain.py::test_fails_once\n"
    assert "1 failed, 1 passed" in second.stdout


def test_with_nothing_to_repeat_a_run_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_good():\n    pass\n")
    assert run(tmp_path).returncode == 0
    assert run(tmp_path, "--again", str(tmp_path / "flaky")).returncode == 5


def test_of_cluster_tests_the_whole_module_is_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "k8s-tests" / "cluster"
    folder.mkdir(parents=True)
    (folder / "test_linked.py").write_text(LINKED)
    (folder / "test_other.py").write_text("def test_good():\n    pass\n")
    flaky = tmp_path / "flaky"
    assert run(tmp_path).returncode == 1
    (folder / "left").unlink()
    (folder / "mark").touch()

    second = run(tmp_path, "--again", str(flaky))

    assert second.returncode == 0, second.stdout
    assert "2 passed, 1 deselected" in second.stdout
    assert flaky.read_text() == "k8s-tests/cluster/test_linked.py::test_second\n"


@pytest.mark.parametrize("script", ["test", "cluster-test"])
def test_the_scripts_take_a_file_outside_the_repository(tmp_path: Path, script: str) -> None:
    argv = [
        str(ROOT / "scripts" / script),
        "--again",
        str(tmp_path / "flaky"),
        "--collect-only",
        "-q",
        "--deselect",
        "k8s-tests",
    ]
    env = {**os.environ, "PYTHON": sys.executable, "K8S_TESTS_CLUSTER": "none"}
    found = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode in (0, 5), found.stdout + found.stderr  # 5: nothing failed last time
    assert "unrecognized arguments" not in found.stderr


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_last_line_counts_what_was_skipped_by_reason(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_plain.py").write_text(PLAIN)
    (tmp_path / "mark").touch()

    found = run(tmp_path, "-n", processes)

    assert found.returncode == 0, found.stdout
    assert found.stdout.splitlines()[-1] == "4 tests were skipped. 3: no tool is here; 1: no card"


def test_a_run_that_skips_nothing_ends_as_ever(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_good():\n    pass\n")
    assert "1 passed" in run(tmp_path).stdout.splitlines()[-1]
