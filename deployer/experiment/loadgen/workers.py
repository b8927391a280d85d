"""The processes that generate load. They live for a whole experiment, so that a trial does not pay for their start."""

from __future__ import annotations

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

from deployer.errors import DeployerError, TargetError, WaitTimeout
from deployer.experiment.loadgen import machine
from deployer.experiment.loadgen.plan import Outcome, Plan, Reference, merge, shares
from deployer.experiment.results import Machine

_HEAD_START = 0.05
_PREPARE_TIMEOUT = 60.0
_REFERENCE_TIMEOUT = 600.0
_SLACK = 30.0


class Mark(StrEnum):
    """A moment of a trial at which the caller may want to look at the system under test."""

    OPENS = "opens"
    CLOSES = "closes"


class _Reply(msgspec.Struct):
    outcome: Outcome | None = None
    error: str = ""
    cause: str = ""
    hint: str = ""
    kind: str = ""


class Workers:
    """Generator processes, started when first needed and stopped by `close` or at the end of a `with` block."""

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
        Errors: those of `deployer.experiment.loadgen.run.run`; WaitTimeout when a process stays silent.
        """
        parts = shares(plan)
        while len(self._workers) < len(parts):
            self._workers.append(self._start())
        workers = self._workers[: len(parts)]
        for (_, pipe), part in zip(workers, parts, strict=True):
            pipe.send_bytes(msgspec.json.encode(part))
        for worker in workers:
            self._receive(worker, _PREPARE_TIMEOUT)
        start = time.monotonic() + _HEAD_START
        for _, pipe in workers:
            pipe.send_bytes(msgspec.json.encode(start))
        limit, busy = _REFERENCE_TIMEOUT, list[machine.CpuTimes]()
        if not isinstance(plan.load, Reference):
            limit = plan.timeout + _SLACK
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
        """What the load is generated on: this machine."""
        return machine.describe()

    def close(self) -> None:
        """Stop all processes, in the middle of a trial too."""
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
        for process, _ in self._workers:
            process.join(5)
        self._workers.clear()

    def _start(self) -> tuple[SpawnProcess, Connection]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), name="load generator", daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _receive(self, worker: tuple[SpawnProcess, Connection], timeout: float) -> _Reply:
        _, pipe = worker
        if not pipe.poll(timeout):
            self.close()
            raise WaitTimeout(f"a load generator process was silent for {timeout:g} s")
        try:
            reply = msgspec.json.decode(pipe.recv_bytes(), type=_Reply)
        except EOFError as error:
            self.close()
            raise TargetError("a load generator process died", hint="was it killed for lack of memory?") from error
        if reply.error:
            self.close()  # the other processes of this trial are waiting for a start that will not come
            raise error_type(reply.kind)(reply.error, hint=reply.hint, cause=reply.cause)
        return reply


def error_type(name: str) -> type[DeployerError]:
    """The kind of error of this name, as another process reported it."""
    return next((t for t in DeployerError.__subclasses__() if t.__name__ == name), DeployerError)


def _serve(pipe: Connection) -> None:
    """The life of a generator process: plans come in, outcomes go out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    _take_precedence()
    from deployer.experiment.loadgen import run

    def ready() -> float:
        pipe.send_bytes(msgspec.json.encode(_Reply()))
        return msgspec.json.decode(pipe.recv_bytes(), type=float)

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            plan = msgspec.json.decode(pipe.recv_bytes(), type=Plan)
            try:
                reply = _Reply(outcome=run.run(plan, ready))
            except DeployerError as error:
                reply = _Reply(error=error.message, hint=error.hint, cause=error.cause, kind=type(error).__name__)
            pipe.send_bytes(msgspec.json.encode(reply))


def _take_precedence() -> None:
    """Keep to the schedule when the system under test takes every core: real-time priority, or what is permitted."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            return
    with suppress(PermissionError):
        os.nice(-10)
