"""The load generator processes. They live for a whole experiment, so that trials do not include their startup."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Self

import msgspec

from deployer.decode import json_as
from deployer.errors import DeployerError, TargetError, WaitTimeout
from deployer.experiment.loadgen import machine
from deployer.experiment.loadgen.plan import Outcome, Plan, Reference, merge, shares
from deployer.experiment.results import Machine
from deployer.extras import of_import

_START_DELAY = 0.05
_PREPARE_TIMEOUT = 60.0
_REFERENCE_TIMEOUT = 600.0
_OUTCOME_MARGIN_SECONDS = 30.0


class Mark(StrEnum):
    """A point of a trial at which the caller can inspect the system under test."""

    OPENS = "opens"
    CLOSES = "closes"


class _Reply(msgspec.Struct):
    outcome: Outcome | None = None
    error: str = ""
    cause: str = ""
    hint: str = ""
    kind: str = ""


class Workers:
    """Load generator processes, started on first use and stopped by `close` or at the end of a `with` block."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[SpawnProcess, Connection]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, plan: Plan, on_mark: Callable[[Mark], None] | None = None) -> Outcome:
        """Run one trial in `plan.processes` processes and return the merged outcome.

        `on_mark` is called here when the measured window opens and when it closes.
        Errors: those of `deployer.experiment.loadgen.run.run`; WaitTimeout when a process does not respond.
        """
        parts = shares(plan)
        while len(self._workers) < len(parts):
            self._workers.append(self._start())
        workers = self._workers[: len(parts)]
        for (_, pipe), part in zip(workers, parts, strict=True):
            pipe.send_bytes(msgspec.json.encode(part))
        for worker in workers:
            self._receive(worker, _PREPARE_TIMEOUT)
        start = time.monotonic() + _START_DELAY
        for _, pipe in workers:
            pipe.send_bytes(msgspec.json.encode(start))
        limit, busy = _REFERENCE_TIMEOUT, list[machine.CpuTimes]()
        if not isinstance(plan.load, Reference):
            limit = plan.timeout + _OUTCOME_MARGIN_SECONDS
            for mark, moment in ((Mark.OPENS, start + plan.warmup), (Mark.CLOSES, start + plan.warmup + plan.seconds)):
                time.sleep(max(0.0, moment - time.monotonic()))
                busy.append(machine.cpu_times())
                if on_mark is not None:
                    on_mark(mark)
        outcomes = [self._receive(worker, limit).outcome for worker in workers]
        merged = merge([outcome for outcome in outcomes if outcome is not None])
        if not busy:
            return merged
        share, load = busy[0].busy_share(busy[1]), machine.load_average()
        return msgspec.structs.replace(merged, machine_busy=share, load_average=load)

    def machine(self) -> Machine:
        """The machine that generates the load: this one."""
        return machine.describe()

    def close(self) -> None:
        """Stop all processes, even during a trial."""
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
        for process, _ in self._workers:
            process.join(5)
        self._workers.clear()

    def _start(self) -> tuple[SpawnProcess, Connection]:
        parent_end, child_end = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(child_end,), name="load generator", daemon=True)
        process.start()
        child_end.close()
        return process, parent_end

    def _receive(self, worker: tuple[SpawnProcess, Connection], timeout: float) -> _Reply:
        _, pipe = worker
        if not pipe.poll(timeout):
            self.close()
            raise WaitTimeout(f"a load generator process did not respond for {timeout:g} s")
        try:
            reply = json_as(pipe.recv_bytes(), _Reply)
        except EOFError as error:
            self.close()
            raise TargetError(
                "a load generator process died", hint="it may have been killed (out of memory)"
            ) from error
        if reply.error:
            self.close()  # the other processes of this trial would wait forever for the start
            raise error_type(reply.kind)(reply.error, hint=reply.hint, cause=reply.cause)
        return reply


def error_type(name: str) -> type[DeployerError]:
    """The error class of this name, reported by another process."""
    return next((t for t in DeployerError.__subclasses__() if t.__name__ == name), DeployerError)


def _serve(pipe: Connection) -> None:
    """Main function of a generator process: read plans, write outcomes, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the parent, which stops this process
    _raise_priority()

    def ready() -> float:
        pipe.send_bytes(msgspec.json.encode(_Reply()))
        return json_as(pipe.recv_bytes(), float)

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            plan = json_as(pipe.recv_bytes(), Plan)
            try:
                reply = _Reply(outcome=_run(plan, ready))
            except DeployerError as error:
                reply = _Reply(error=error.message, hint=error.hint, cause=error.cause, kind=type(error).__name__)
            pipe.send_bytes(msgspec.json.encode(reply))


def _run(plan: Plan, ready: Callable[[], float]) -> Outcome:
    """Imported here: only these processes need what sends and records. Errors: those of `run`; ToolError."""
    try:
        from deployer.experiment.loadgen import run
    except ImportError as error:
        raise of_import(error) or error from error
    return run.run(plan, ready)


def missing() -> DeployerError | None:
    """The error of every trial for want of an optional library, so that nobody uploads records first; else None."""
    try:
        importlib.import_module("hdrh")
    except ImportError as error:
        return of_import(error)
    return None


def _raise_priority() -> None:
    """Stay on schedule if the system under test uses all cores: real-time priority, or a better nice level."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            return
    with suppress(PermissionError):
        os.nice(-10)
