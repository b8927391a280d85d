"""A Python with the clients of foreign-clients.txt, in an environment of its own that is made once per checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from paths import ROOT, SUPPORT

REQUIREMENTS = SUPPORT / "foreign-clients.txt"


class NotInstallable(Exception):
    """The clients cannot be installed here; the message says why."""


def python_of_clients() -> Path:
    """The interpreter. Errors: NotInstallable."""
    name = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = ROOT / ".tools" / f"foreign-clients-{name}"
    folder.parent.mkdir(exist_ok=True)
    python, done = folder / "bin" / "python", folder / "complete"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        if not done.exists():
            venv.create(folder, with_pip=True, clear=True)
            _install(python)
            done.touch()
    return python


def run_client(python: Path, program: str, *arguments: str) -> str:
    """What a program prints. Errors: AssertionError with its standard error."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run(
        [str(python), "-W", "ignore", "-c", program, *arguments],
        capture_output=True, text=True, timeout=120, env=environment, cwd="/",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout


def _install(python: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise NotInstallable("pip did not end within 600 s") from error
    if told.returncode:
        raise NotInstallable(told.stderr.strip().splitlines()[-1])
