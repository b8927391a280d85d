"""`deployer cluster` with stand-ins for docker and kind: what a dry run tells, and that it changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from deployer.cli.__main__ import main

DOCKER = """#!/bin/sh
echo "docker $*" >> "$CALLED"
case "$*" in
  info*) echo 27.0 ;;
  "image inspect"*gateway*) echo sha256:1 ;;
  "exec there-control-plane"*) echo '{"metadata": {"labels": {"tfserving-deployer/made-by": "deployer"}}}' ;;
  "exec strange-control-plane"*) echo '{"metadata": {"labels": {}}}' ;;
  *) exit 1 ;;
esac
"""
KIND = """#!/bin/sh
echo "kind $*" >> "$CALLED"
case "$*" in "get clusters --quiet") echo there; echo strange ;; *) exit 1 ;; esac
"""


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each call of docker or kind."""
    for name, text in (("docker", DOCKER), ("kind", KIND)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    return tmp_path / "called"


def test_up_tells_what_it_would_make_build_and_load(called: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "up", "--name", "new", "--tag", "1", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "would make cluster new, context kind-new",
        "would build tfserving-deployer/modelserver:1",
        "would build tfserving-deployer/deployer:1",
        "would load tfserving-deployer/modelserver:1",
        "would load tfserving-deployer/gateway:1",
        "would load tfserving-deployer/deployer:1",
        "would install metrics-server, unless it is there already",
    ]
    asked = called.read_text().splitlines()
    assert {line.split()[1] for line in asked} == {"info", "image", "get"}


def test_verbose_shows_the_command_lines_that_are_run(called: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "down", "--name", "there", "--dry-run", "-v"]) == 0
    assert "running: kind get clusters --quiet\n" in capsys.readouterr().err
    assert main(["cluster", "down", "--name", "there", "--dry-run"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "would"), [("there", True), ("elsewhere", False)])
def test_down_tells_whether_there_is_something_to_delete(
    called: Path, capsys: pytest.CaptureFixture[str], name: str, would: bool
) -> None:
    assert main(["cluster", "down", "--name", name, "--dry-run", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == {"name": name, "would_delete": would}
    assert {line.split()[1] for line in called.read_text().splitlines()} <= {"get", "exec"}


@pytest.mark.parametrize("verb", [("up",), ("up", "--dry-run"), ("down",), ("down", "--dry-run")])
def test_a_cluster_that_another_user_made_is_not_touched(
    called: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    assert main(["cluster", verb[0], "--name", "strange", *verb[1:]]) == 5
    told = capsys.readouterr().err
    assert "kind cluster strange exists, and `deployer cluster up` did not make it" in told
    assert "choose another --name" in told
    assert {line.split()[1] for line in called.read_text().splitlines()} <= {"info", "image", "get", "exec"}
