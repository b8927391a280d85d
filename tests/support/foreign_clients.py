"""Clients that nobody here wrote, each in an environment of its own that is made once per checkout, below .tools."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from paths import ROOT, SUPPORT

SECONDS = 600
"""For an installation."""


class NotInstallable(Exception):
    """The clients cannot be installed here; the message says why."""


def python_with(requirements: str) -> Path:
    """A Python with the packages of a file beside this one. Errors: NotInstallable."""
    file = SUPPORT / requirements

    def install(folder: Path) -> None:
        venv.create(folder, with_pip=True, clear=True)
        quiet = ("--quiet", "--disable-pip-version-check")
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", *quiet, "-r", str(file))

    return _made_once(file.stem, file.read_bytes() + sys.version.encode(), install) / "bin" / "python"


def node_with(*packages: str) -> Path:
    """A folder in which node finds these packages of npm. Errors: NotInstallable."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise NotInstallable("node and npm are not on PATH")

    def install(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *packages)

    return _made_once("node-clients", " ".join(packages).encode(), install)


def run_client(python: Path, program: str, *arguments: str) -> str:
    """What a program prints. Errors: AssertionError with its standard error."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run(
        [str(python), "-W", "ignore", "-c", program, *arguments],
        capture_output=True, text=True, timeout=120, env=environment, cwd="/",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout


def _made_once(name: str, content: bytes, install: Callable[[Path], None]) -> Path:
    folder = ROOT / ".tools" / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    folder.parent.mkdir(exist_ok=True)
    done = folder / "complete"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        if not done.exists():
            install(folder)
            done.touch()
    return folder


def _run(*command: str) -> None:
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise NotInstallable(f"{command[0]} did not end within {SECONDS} s") from error
    if told.returncode:
        raise NotInstallable((told.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1])
