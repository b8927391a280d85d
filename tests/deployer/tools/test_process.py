"""Programs that are run, started, found again and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from eventually import eventually

from deployer.errors import TargetError, ToolError, WaitTimeout
from deployer.tools import ports, process
from deployer.tools.running import Running

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


Start = Callable[[str], Running]
"""Starts Python with this code, which logs to `log`."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def spawn(code: str) -> Running:
        running = Running.of(process.spawn([sys.executable, "-c", code], log=tmp_path / "log"))
        started.append(running)
        return running

    yield spawn
    for running in started:
        running.stop(grace=0)


def test_run_returns_the_output() -> None:
    done = process.run([sys.executable, "-c", "print(input()[::-1])"], timeout=20, stdin="abc")
    assert (done.returncode, done.stdout) == (0, "cba\n")


def test_a_failing_program_is_an_error_with_its_last_words() -> None:
    code = "import sys; print('first'); sys.exit('no such release')"
    with pytest.raises(ToolError, match="exit code 1") as caught:
        process.run([sys.executable, "-c", code], timeout=20, hint="helm list")
    assert caught.value.cause == "no such release"
    assert caught.value.hint == "helm list"
    assert process.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 1


def test_an_absent_program_is_named() -> None:
    with pytest.raises(ToolError, match="no-such-program is not on PATH"):
        process.run(["no-such-program"], timeout=1)


def test_time_runs_out_for_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(WaitTimeout, match="did not end within 2 s"):
        process.run(["sh", "-c", f"sleep 600 & echo $! > '{pid_file}'; wait"], timeout=2)
    # The kernel kills the group at once, but a member that is no child of ours may take a moment to be gone.
    eventually(lambda: not Running.of(int(pid_file.read_text())).alive(), "the grandchild is gone")


def test_a_spawned_program_logs_and_is_stopped(start: Start, tmp_path: Path) -> None:
    running = start(f"print('hello', flush=True); {SLEEP}")
    eventually(lambda: "hello" in (tmp_path / "log").read_text(), "its log")
    assert running.alive()
    assert running.stop(grace=10)
    assert not running.alive()
    assert process.exit_code(running.pid) == -signal.SIGTERM


def test_what_ignores_sigterm_is_killed_after_the_grace(start: Start, tmp_path: Path) -> None:
    running = start(STUBBORN)
    eventually(lambda: "up" in (tmp_path / "log").read_text(), "its log")
    assert running.stop(grace=0.2)
    assert process.exit_code(running.pid) == -signal.SIGKILL


def test_an_unrelated_process_with_the_same_pid_is_not_stopped(start: Start) -> None:
    ours = start(SLEEP)
    stranger = replace(ours, started="1")
    assert not stranger.alive()
    assert not stranger.stop(grace=0)
    assert ours.alive()


def test_cpu_time_is_counted(start: Start) -> None:
    busy = start("while True: pass")
    eventually(lambda: busy.cpu_seconds() > 0.1, "0.1 s of CPU")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_bound_program_dies_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from deployer.tools import process\n"
        f"pid = process.spawn([sys.executable, '-c', {STUBBORN!r}], log=pathlib.Path({str(tmp_path / 'log')!r}),"
        " bound_to_parent=True)\n"
        "print(pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = Running.of(int(parent.stdout.readline()))
    assert child.alive()
    eventually(lambda: "up" in (tmp_path / "log").read_text(), "its log")  # before, nothing ties it to its parent
    parent.kill()
    parent.communicate()
    eventually(lambda: not child.alive(), "the child is gone")


def test_a_port_in_use_is_named_with_its_process() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TargetError, match=f"port {port} is in use") as caught:
            ports.require_free(port)
        if sys.platform == "linux":
            assert f"pid {os.getpid()}" in caught.value.message
    found = ports.free(4)
    assert len(set(found)) == 4
    for port in found:
        ports.require_free(port)
