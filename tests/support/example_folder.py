"""A folder of examples/, copied and used as its README says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT

from deployer.tools import ports

EXAMPLES = ROOT / "examples"
PORT = "8080"
"""Of the gateway in the files of the examples; a copy gets a free one."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A copy of one folder. `blocks` are the scripts of its README, in their order."""

    directory: Path
    blocks: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, script: str, *, code: int = 0) -> str:
        """What a script prints to stdout; it must end with `code`, and ends at its first failure."""
        ran = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert ran.returncode == code, f"{script}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def read(self, name: str) -> str:
        """The text of one of its files."""
        return (self.directory / name).read_text("utf-8")

    def replace(self, name: str, new: Mapping[str, str]) -> None:
        """Put other text in place of what must be there."""
        text = self.read(name)
        for old, other in new.items():
            assert old in text, f"{name} has no {old}"
            text = text.replace(old, other)
        (self.directory / name).write_text(text, "utf-8")


def copied(name: str, place: Path) -> Example:
    """A copy of one folder below `place`, with `deployer`, `python` and a free port of its own."""
    programs = place / "bin"
    programs.mkdir()
    for program, line in {"python": "", "deployer": "-m deployer.cli"}.items():
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" {line} "$@"\n', "utf-8")
        (programs / program).chmod(0o755)
    directory = place / "examples" / name
    made = [pattern.rstrip("/") for pattern in (EXAMPLES / ".gitignore").read_text("utf-8").splitlines()]
    shutil.copytree(EXAMPLES / name, directory, ignore=shutil.ignore_patterns("__pycache__", *made))
    (place / "charts").symlink_to(ROOT / "charts")  # examples/NAME reaches it by ../../charts
    (port,) = map(str, ports.free(1))
    for path in directory.rglob("*"):
        if path.is_file() and PORT in (text := path.read_text("utf-8")):
            path.write_text(re.sub(rf"\b{PORT}\b", port, text), "utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", (directory / "README.md").read_text("utf-8"), re.M | re.S)
    own = ("DEPLOYER_", "PUBLISH_TO", "PYTHONPATH", "PATH")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return Example(directory=directory, blocks=tuple(blocks), environment=environment)
