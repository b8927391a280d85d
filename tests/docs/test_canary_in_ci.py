"""The recipe of docs/guides/canary-in-ci.md, run as it stands there by a shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from deployer.demo.samples import SAMPLES

PAGE = ROOT / "docs" / "guides" / "canary-in-ci.md"

QUICK = {
    "--soak 30s": "--soak 3s",
    "--load-rate 20": "--load-rate 40",
    "p99<1.5*stable": "p99<50*stable",  # a busy machine says nothing about the version
}

RELEASE = """
release: ci
store: store
models: [digits]
serving: {replicas: 1}
"""


def recipe() -> str:
    """The first script of the page, with shorter waiting."""
    script = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    for long, short in QUICK.items():
        assert long in script
        script = script.replace(long, short)
    return script


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """`shell(script)` in a directory where version 1 of digits is served."""
    directory = tmp_path_factory.mktemp("ci")
    program = directory / "bin" / "deployer"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m deployer.cli "$@"\n')
    program.chmod(0o755)
    (program.parent / "python").symlink_to(sys.executable)
    SAMPLES["digits"].write_features(directory / "features.yaml")
    SAMPLES["digits"].holdout().write(directory / "holdout.jsonl")
    (directory / "deployer.yaml").write_text(RELEASE)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{directory}",
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=240
        )

    def train(sample: str) -> None:
        (directory / "train.py").write_text(f"from deployer.demo.samples import {sample} as model\n")

    train("digits_v1")
    first = run(
        "set -e; deployer export train:model --store store --model digits --features features.yaml;"
        " deployer local up --port 0 --version digits=1"
    )
    try:
        assert first.returncode == 0, first.stderr
        yield directory, run, train
    finally:
        run("deployer local down")


@pytest.mark.parametrize(
    ("sample", "code", "outcome", "stable"), [("digits_v2", 0, "promoted", 2), ("digits_bad", 7, "aborted", 2)]
)
def test_the_recipe_fails_the_build_for_a_bad_version_only(shell, sample, code, outcome, stable):
    directory, run, train = shell
    train(sample)
    ran = run(recipe())
    assert ran.returncode == code, ran.stderr
    told = json.loads((directory / "rollout.json").read_text())["result"]
    assert told["outcome"] == outcome, told
    labels = re.findall(r'key: "(\w+)"\s+value: (\d+)', served(directory))
    assert labels == [("stable", str(stable))]


def served(directory: Path) -> str:
    """The model_config in force."""
    return (directory / ".deployer" / "ci" / "config" / "models.config").read_text()
