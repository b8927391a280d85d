"""Processes of earlier invocations, identified by pid and start time."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from deployer.tools import process

_EXIT_POLL_SECONDS = 0.05
_EXIT_TIMEOUT = 5.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process by its pid and start time, because pids are reused."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Running:
        """The process with this pid now; `started` is empty if there is none."""
        return cls(pid=pid, started=_started(pid))

    def alive(self) -> bool:
        """Whether this process is still running. A child that has ended is reaped."""
        return process.exit_code(self.pid) is None and bool(self.started) and _started(self.pid) == self.started

    def cpu_seconds(self) -> float:
        """User and system CPU time of all its threads so far; 0 if it has ended."""
        if not self.alive():
            return 0.0
        if sys.platform == "linux":
            fields = _stat(self.pid)
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0
        return _clock(_ps(self.pid, "time"))

    def stop(self, *, grace: float) -> bool:
        """SIGTERM to its process group, SIGKILL after `grace` seconds; returns once it has ended.

        Returns False if it had already ended; no signal is sent then.
        """
        if not self.alive():
            return False
        process.signal_group(self.pid, signal.SIGTERM)
        if not self._ended_within(grace):
            process.signal_group(self.pid, signal.SIGKILL)
            self._ended_within(_EXIT_TIMEOUT)
        process.exit_code(self.pid, within=_EXIT_TIMEOUT)
        return True

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_EXIT_POLL_SECONDS)
        return True


def _started(pid: int) -> str:
    """The start time of a process in the format of the system; empty if it does not exist or is a zombie."""
    if sys.platform == "linux":
        fields = _stat(pid)
        return fields[19] if fields and fields[0] not in "ZX" else ""
    return "" if _ps(pid, "stat").startswith("Z") else _ps(pid, "lstart")


def _stat(pid: int) -> list[str]:
    """/proc/<pid>/stat from the third field (the state) on; proc(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def _ps(pid: int, field: str) -> str:
    return process.run(["ps", "-o", f"{field}=", "-p", str(pid)], timeout=10, check=False).stdout.strip()


def _clock(text: str) -> float:
    """Seconds of ps's [hours:]minutes:seconds."""
    seconds = 0.0
    for part in text.split(":") if text else ():
        seconds = seconds * 60 + float(part)
    return seconds
