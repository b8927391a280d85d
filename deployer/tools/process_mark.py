"""A unique mark of a process, so that another process can detect that it has ended.

The pid is not enough: containers share host names and start at pid 1, and pids are reused.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def own() -> str:
    """The mark of this process; empty on systems without /proc."""
    try:
        where = _where()
        return f"{where} {os.getpid()} {_started(os.getpid())}"
    except (OSError, IndexError):
        return ""


def has_ended(mark: str) -> bool:
    """Whether the process with this mark has certainly ended; False if it is not visible from here."""
    try:
        where, number, started = mark.rsplit(" ", 2)
        if where != _where():
            return False
        return _started(int(number)) != started
    except FileNotFoundError:
        return True  # /proc exists, but not the entry of the process
    except (OSError, ValueError, IndexError):
        return False


def _where() -> str:
    """The id of this machine's boot, and the pid namespace."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except FileNotFoundError as error:
        raise OSError("no /proc") from error


def _started(number: int) -> str:
    """Clock ticks from boot to the start of a process; a zombie counts as ended."""
    fields = (PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise FileNotFoundError(number)
    return fields[19]
