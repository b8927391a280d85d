"""Processes of earlier invocations: found again without ever mistaking a stranger for one of ours."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from deployer.tools import process

_POLL_SECONDS = 0.05
_END_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process by its pid and its start time: a pid alone is given to somebody else sooner or later."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Running:
        """The process that has this pid now; `started` is empty when there is none."""
        return cls(pid=pid, started=_started(pid))

    def alive(self) -> bool:
        """Whether this very process still runs. A child of ours that has ended is reaped on the way."""
        return process.exit_code(self.pid) is None and bool(self.started) and _started(self.pid) == self.started

    def cpu_seconds(self) -> float:
        """User and system CPU time of all its threads so far; 0 when it is gone."""
        if not self.alive():
            return 0.0
        if sys.platform == "linux":
            fields = _stat(self.pid)
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0
        return _clock(_ps(self.pid, "time"))

    def stop(self, *, grace: float) -> bool:
        """SIGTERM to its process group, SIGKILL after `grace` seconds; return once it is gone.

        False when it was gone already, and nothing was signalled then.
        """
        if not self.alive():
            return False
        process.signal_group(self.pid, signal.SIGTERM)
        if not self._gone_within(grace):
            process.signal_group(self.pid, signal.SIGKILL)
            self._gone_within(_END_SECONDS)
        process.exit_code(self.pid, within=_END_SECONDS)
        return True

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def _started(pid: int) -> str:
    """When a process started, in whatever form the system tells it; empty when there is none or only its remains."""
    if sys.platform == "linux":
        fields = _stat(pid)
        return fields[19] if fields and fields[0] not in "ZX" else ""
    return "" if _ps(pid, "stat").startswith("Z") else _ps(pid, "lstart")


def _stat(pid: int) -> list[str]:
    """/proc/<pid>/stat from its third field (the state) on; proc(5)."""
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
