"""Shell completion as a shell asks for it: a process per press of Tab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOYER = f"{sys.executable} -m deployer.cli"
RELEASE = "release: shop\nstore: models\nmodels: [digits, prices]\n"


def completed(line: str, folder: Path, *, shell: str = "bash") -> list[str]:
    """What can follow a command line that ends where the cursor is."""
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    ran = subprocess.run(
        DEPLOYER.split(), env={**os.environ, **asked, "_DEPLOYER_COMPLETE": f"complete_{shell}"},
        cwd=folder, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stderr == ""
    return [found for found in ran.stdout.splitlines() if found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a release of two models, and a store in which one has two versions."""
    (tmp_path / "deployer.yaml").write_text(RELEASE)
    for version in (1, 12):
        (tmp_path / "models" / "digits" / str(version)).mkdir(parents=True)
        (tmp_path / "models" / "digits" / str(version) / "saved_model.pb").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deployer ro", ["rollout", "rollback"]),
        ("deployer rollout pr", ["promote"]),
        ("deployer rollout start ", ["digits", "prices"]),
        ("deployer rollout start digits --to ", ["12", "1"]),
        ("deployer rollback p", ["prices"]),
        ("deployer predict digits --label ", ["stable", "canary"]),
        ("deployer models verify --store models d", ["digits"]),
        ("deployer models verify --store models digits --version 1", ["12", "1"]),
        ("deployer status -o ", ["table", "json", "yaml"]),
        ("deployer status --targ", ["--target"]),
        ("deployer explain gateway.limits.max_q", ["gateway.limits.max_queue"]),
    ],
)
def test_what_can_follow(line: str, expected: list[str], folder: Path) -> None:
    assert completed(line, folder) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_offered_the_verb(shell: str, folder: Path) -> None:
    assert "rollout" in " ".join(completed("deployer rollo", folder, shell=shell))


@pytest.mark.parametrize("text", ["", "release: [", "release: shop\nstore: nowhere\nmodels: []\n"])
def test_a_release_that_cannot_be_read_completes_nothing_and_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "deployer.yaml").write_text(text)
    assert completed("deployer rollout start ", tmp_path) == []
    assert completed("deployer rollout start digits --to ", tmp_path) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_completes_in_a_real_bash(folder: Path) -> None:
    program = folder / "bin" / "deployer"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {DEPLOYER} "$@"\n')
    program.chmod(0o755)
    typed = (
        "source <(deployer completion bash); COMP_WORDS=(deployer rollback d); COMP_CWORD=2;"
        ' _deployer_completion deployer; echo "${COMPREPLY[@]}"; complete -p deployer'
    )
    ran = subprocess.run(
        ["bash", "-c", typed], cwd=folder, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert ran.stdout.splitlines() == ["digits", "complete -o default -F _deployer_completion deployer"]
