"""Builds a `Trial` from the outcome of the load generator and the observations of the release."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from deployer.domain.verdict import Verdict
from deployer.errors import DeployerError
from deployer.experiment import capacity, stages
from deployer.experiment.loadgen import recording
from deployer.experiment.loadgen.plan import ClosedLoop, OpenLoop, Outcome, Plan
from deployer.experiment.loadgen.workers import Mark
from deployer.experiment.results import CpuUse, Kind, LagBounds, Objective, Stages, Trial
from deployer.records.endpoint import Grpc
from deployer.targets.base import CpuReading, Target

_VERDICTS = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.INCONCLUSIVE: "inconclusive"}


_CPU_POLL_SECONDS = 2.0
"""Between two CPU readings. A kubelet has new values every 10 to 20 seconds, with timestamps."""

_MARK_TOLERANCE_SECONDS = 1.0
"""Readings may be outside of the window by this time, because marks arrive slightly late."""

_MIN_SPAN = 0.3
"""The minimum share of the window between the first and the last reading."""


class Observer:
    """Reads the CPU time of the release when the measured window opens, while it is open, and when it closes; and the
    metrics of gateways and replicas for `model` when it opens and closes.

    The context must be left when the trial has ended, for whatever reason.
    """

    def __init__(self, target: Target, model: str) -> None:
        self._target = target
        self._model = model
        self._readings: list[stages.StageReading] = []
        self._cpu_readings: list[Mapping[str, CpuReading]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def __call__(self, mark: Mark) -> None:
        if mark is Mark.OPENS:
            self._cpu_readings.append(self._target.cpu_readings())
            self._readings.append(stages.read_stages(self._target, self._model))
            self._thread.start()
            return
        self._done.set()
        self._thread.join()
        self._cpu_readings.append(self._target.cpu_readings())
        self._readings.append(stages.read_stages(self._target, self._model))

    def stages(self) -> Stages:
        """Metrics between the marks; empty if the window did not open and close."""
        return stages.between(*self._readings) if len(self._readings) == 2 else Stages()

    def cpu(self, outcome: Outcome) -> tuple[CpuUse, ...]:
        """Average cores of each process during the window; empty if unknown for any replica."""
        gateways = {gateway.name for gateway in self._target.gateways()}
        replicas = {replica.name for replica in self._target.replicas()}
        found = {name: self._cores(name, outcome) for name in sorted(gateways | replicas)}
        if any(found[name] is None for name in replicas):
            return ()
        return tuple(
            CpuUse(name=name, role="gateway" if name in gateways else "replica", cores=cores)
            for name, cores in found.items()
            if cores is not None
        )

    def _cores(self, name: str, outcome: Outcome) -> float | None:
        opens, closes = (
            outcome.started - _MARK_TOLERANCE_SECONDS,
            outcome.started + outcome.seconds + _MARK_TOLERANCE_SECONDS,
        )
        readings = [seen[name] for seen in self._cpu_readings if name in seen and opens <= seen[name].at <= closes]
        if not readings or (passed := readings[-1].at - readings[0].at) < _MIN_SPAN * outcome.seconds:
            return None
        return max(0.0, readings[-1].seconds - readings[0].seconds) / passed

    def _watch(self) -> None:
        while not self._done.wait(_CPU_POLL_SECONDS):
            with suppress(DeployerError):  # a missing reading does not fail the trial
                self._cpu_readings.append(self._target.cpu_readings())


def measured(
    plan: Plan,
    outcome: Outcome,
    observer: Observer,
    *,
    number: int,
    round_number: int,
    replicas: int,
    bounds: LagBounds,
) -> Trial:
    """Build a trial, with the reasons if it is invalid."""
    load = plan.load
    trial = Trial(
        number=number,
        round=round_number,
        replicas=replicas,
        kind=Kind.OPEN if isinstance(load, OpenLoop) else Kind.CEILING,
        offered=load.rate if isinstance(load, OpenLoop) else 0.0,
        concurrency=load.concurrency if isinstance(load, ClosedLoop) else 0,
        batch=plan.batch,
        started=outcome.started,
        seconds=outcome.seconds,
        sent=outcome.sent,
        answered=outcome.answered,
        throughput=outcome.completed / outcome.seconds,
        late=outcome.late,
        errors=outcome.errors,
        first_error=outcome.first_error,
        latency=recording.summary(outcome.latency),
        lag=recording.summary(outcome.lag),
        cpu=observer.cpu(outcome),
        generator_cores=outcome.cpu_seconds / outcome.seconds,
        machine_busy=outcome.machine_busy,
        load_average=outcome.load_average,
        histogram=f"trial-{number:02d}.hlog",
        processes=plan.processes,
        direct=isinstance(plan.target, Grpc),
        stages=observer.stages(),
    )
    return replace(trial, invalid=capacity.invalid_reasons(trial, bounds))


def sentence(trial: Trial, objective: Objective) -> str:
    """The progress line of a finished trial."""
    replicas = "1 replica" if trial.replicas == 1 else f"{trial.replicas} replicas"
    subject = f"{replicas} through one channel" if trial.direct else replicas
    errors = sum(trial.errors.values())
    failed = f", {errors} errors" if errors else ""
    p99 = trial.latency.at(99).ms
    if trial.kind is Kind.CEILING:
        return f"{subject}: {trial.throughput:.0f}/s from {trial.concurrency} clients, p99 {p99:.1f} ms{failed}"
    verdict = "; ".join(trial.invalid) if trial.invalid else _VERDICTS[capacity.judge(trial, objective)]
    return f"{subject}: {trial.offered:.0f}/s offered for {trial.seconds:g} s, p99 {p99:.1f} ms{failed}: {verdict}"
