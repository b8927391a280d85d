"""The server under test as a process."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from threading import Event

from replay.cases import Answer
from replay.steps import Start
from replay.workspace import Workspace

ARGS = "{args}"
"""Where a command line takes the flags of the model server; without it they come last."""

_FAILED = re.compile(r"Failed to start server\. Error: (.*)")
_PAUSE = 0.05


class Interrupted(Exception):
    """The replay ends; a player stops at its next step."""


def command_line(template: str, flags: list[str]) -> list[str]:
    """The words of a server's command line. `template` is written as for a shell, without its expansions."""
    words = shlex.split(template)
    if ARGS not in words:
        words.append(ARGS)
    return [piece for word in words for piece in (flags if word == ARGS else [word])]


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of the loopback interface."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Server:
    """Started once. `slack` are seconds added to the time a start may take; `ending` stops every wait."""

    def __init__(self, template: str, workspace: Workspace, *, slack: float, ending: Event) -> None:
        self._template, self._workspace, self._slack, self._ending = template, workspace, slack, ending
        self._log = workspace.work / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """Of a server that ended, the negative signal of one that was killed; None while it runs or never ran."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, step: Start) -> Answer:
        """Start and wait until the ports are open ("ready"), it ends ("exit") or the time is over ("not ready")."""
        self.stop()
        flags = list(step.flags)
        if not step.no_ports and not any(flag.startswith("--port") for flag in flags):
            flags = [f"--port={self._workspace.port}", f"--rest_api_port={self._workspace.rest_port}", *flags]
        begun = time.monotonic()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command_line(self._template, flags), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        result = self._wait_for_ports(step, begun + step.limit + self._slack)
        answer: Answer = {"result": result}
        if step.time:
            answer["elapsed"] = round(time.monotonic() - begun)
        if result == "exit":
            failed = _FAILED.search(self.log())
            answer["exit_code"] = self._process.returncode
            answer["message"] = failed[1].strip() if failed else ""
            if step.stdout:
                answer["stdout_matches"] = self._matches(step.stdout)
        elif result == "not ready":
            answer["open"] = {"grpc": is_open(self._workspace.port), "rest": is_open(self._workspace.rest_port)}
        if step.log:
            answer["log_matches"] = self._matches(step.log)
        return answer

    def wait_exit(self, limit: float) -> int | None:
        """The exit code, or None when it still runs after `limit` seconds."""
        until = time.monotonic() + limit
        while self.alive and time.monotonic() < until and not self._ending.wait(_PAUSE):
            pass
        return self.exit_code

    def stop(self) -> None:
        """End it and whatever it started; five seconds are given to do so in order."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(0 if self._ending.is_set() else 5)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text("utf-8", "replace")

    def _wait_for_ports(self, step: Start, until: float) -> str:
        assert self._process is not None
        wanted = [self._workspace.port, *([self._workspace.rest_port] if step.rest else [])]
        while time.monotonic() < until:
            if self._process.poll() is not None:
                return "exit"
            if all(is_open(port) for port in wanted):
                return "ready"
            if self._ending.wait(_PAUSE):
                raise Interrupted
        return "not ready"

    def _matches(self, patterns: list[str]) -> Answer:
        written = self.log()
        return {pattern: re.search(pattern, written) is not None for pattern in patterns}
