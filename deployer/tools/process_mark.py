"""A mark that tells one process from every other, so that another process can see that it has ended.

A number alone does not do: containers share machine names and count from 1, and numbers come round again.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def own() -> str:
    """The mark of this process; empty where the system has no /proc to tell."""
    try:
        where = _where()
        return f"{where} {os.getpid()} {_started(os.getpid())}"
    except (OSError, IndexError):
        return ""


def has_ended(mark: str) -> bool:
    """Whether the process with this mark is known to have ended. One that cannot be seen from here is not."""
    try:
        where, number, started = mark.rsplit(" ", 2)
        if where != _where():
            return False
        return _started(int(number)) != started
    except FileNotFoundError:
        return True  # only the process's own entry: that of the machine was read
    except (OSError, ValueError, IndexError):
        return False


def _where() -> str:
    """This boot of this machine, and the namespace in which process numbers count."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except FileNotFoundError as error:
        raise OSError("no /proc") from error


def _started(number: int) -> str:
    """Clock ticks from boot to the start of a process; a process that only waits to be collected has ended."""
    fields = (PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise FileNotFoundError(number)
    return fields[19]
