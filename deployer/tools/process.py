"""The only module that starts programs: always with an argv list and a timeout; Ctrl-C kills what was started."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import ToolError, WaitTimeout

TAIL_LINES = 12

commands = logging.getLogger(__name__)
"""Logs every command line at level DEBUG; -v shows them."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The result of a program that has ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    hint: str = "",
) -> Completed:
    """Run a program and wait for it, at most `timeout` seconds.

    The program gets its own process group; the group is killed on timeout or Ctrl-C. `env` is added to this process's
    environment. Errors: ToolError when the program is not installed or, with `check`, its exit code is not 0 (the cause
    is the last lines of its output); WaitTimeout.
    """
    _require(argv[0])
    commands.debug("running: %s", shlex.join(argv))
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=None if env is None else {**os.environ, **env},
        cwd=cwd,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except BaseException as error:
        signal_group(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise WaitTimeout(f"{shown(argv)} did not end within {timeout:g} s", hint="raise --timeout") from error
        raise
    done = Completed(argv=tuple(argv), returncode=process.returncode, stdout=stdout, stderr=stderr)
    if check and done.returncode != 0:
        raise ToolError(f"{shown(argv)} ended with {ending(done.returncode)}", cause=tail(stderr or stdout), hint=hint)
    return done


def spawn(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, bound_to_parent: bool = False
) -> int:
    """Start a long-lived program in its own session, with its output appended to `log`; return its pid.

    With `bound_to_parent`, Linux kills it when this process dies for any reason, including SIGKILL; on other systems
    the caller must stop it. Errors: ToolError when the program is not installed.
    """
    _require(argv[0])
    commands.debug("starting: %s", shlex.join(argv))
    command = [sys.executable, "-ISc", _BOUND, str(os.getpid()), *argv] if _binds(bound_to_parent) else list(argv)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
    _children[child.pid] = child
    return child.pid


def exit_code(pid: int, *, within: float = 0.0) -> int | None:
    """The exit code of a program that this process spawned; None while it is running, or if it is not a child.

    Waits up to `within` seconds for it, because the threads of a large program may take a moment to end.
    """
    child = _children.get(pid)
    if child is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        return child.wait(within)
    return None


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a program's process group; does nothing if it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def ending(returncode: int) -> str:
    """How a program ended: "exit code 3" or "SIGKILL"."""
    return signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"


def shown(argv: Sequence[str]) -> str:
    """A command line as text, shortened in the middle."""
    line = shlex.join([Path(argv[0]).name, *argv[1:]])
    return line if len(line) <= 160 else f"{line[:100]} … {line[-50:]}"


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last non-empty lines."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


_children: dict[int, subprocess.Popen[bytes]] = {}

_PR_SET_PDEATHSIG = 1
_BOUND = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)})
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Sets the parent-death signal, then executes the program. A preexec function would be less safe: between fork and exec
of a process with threads almost nothing is allowed to run."""


def _binds(wanted: bool) -> bool:
    return wanted and sys.platform == "linux"


def _require(program: str) -> None:
    if shutil.which(program) is None:
        raise ToolError(f"{program} is not on PATH", hint=f"install {Path(program).name}, or add its directory to PATH")
