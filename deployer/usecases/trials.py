"""From what the generator saw and what the machine did to a `Trial`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from deployer.domain import capacity
from deployer.domain.experiment import CpuUse, Kind, LagBounds, Objective, Trial, Verdict
from deployer.loadgen import machine, recording
from deployer.loadgen.plan import ClosedLoop, OpenLoop, Outcome, Plan
from deployer.loadgen.workers import Mark
from deployer.targets.base import Target

_VERDICTS = {Verdict.PASS: "held", Verdict.FAIL: "did not hold", Verdict.INCONCLUSIVE: "inconclusive"}


class Observer:
    """Looks at the CPU time of the release and of the machine when the measured window opens and when it closes."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._seen: list[tuple[float, Mapping[str, float], machine.CpuTimes]] = []

    def __call__(self, mark: Mark) -> None:
        self._seen.append((time.monotonic(), self._target.cpu_seconds(), machine.cpu_times()))

    @property
    def cpu(self) -> tuple[CpuUse, ...]:
        """Cores used by each process that lived through the window."""
        if len(self._seen) != 2:
            return ()
        (began, before, _), (ended, after, _) = self._seen
        gateways = {gateway.name for gateway in self._target.gateways()}
        return tuple(
            CpuUse(
                name=name,
                role="gateway" if name in gateways else "replica",
                cores=max(0.0, after[name] - before[name]) / (ended - began),
            )
            for name in sorted(before.keys() & after.keys())
        )

    @property
    def busy(self) -> float | None:
        """The share of all cores of this machine that was busy."""
        return self._seen[0][2].busy_share(self._seen[1][2]) if len(self._seen) == 2 else None


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
    """One trial, with the reasons why it is invalid if it is."""
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
        cpu=observer.cpu,
        generator_cores=outcome.cpu_seconds / outcome.seconds,
        machine_busy=observer.busy,
        load_average=machine.load_average(),
        histogram=f"trial-{number:02d}.hlog",
        processes=plan.processes,
    )
    return replace(trial, invalid=capacity.invalid_reasons(trial, bounds))


def sentence(trial: Trial, objective: Objective) -> str:
    """What a person is told when a trial has ended."""
    who = "1 replica" if trial.replicas == 1 else f"{trial.replicas} replicas"
    errors = sum(trial.errors.values())
    failed = f", {errors} errors" if errors else ""
    p99 = trial.latency.at(99).ms
    if trial.kind is Kind.CEILING:
        return f"{who}: {trial.throughput:.0f}/s from {trial.concurrency} clients, p99 {p99:.1f} ms{failed}"
    verdict = "; ".join(trial.invalid) if trial.invalid else _VERDICTS[capacity.judge(trial, objective)]
    return f"{who}: {trial.offered:.0f}/s offered for {trial.seconds:g} s, p99 {p99:.1f} ms{failed}: {verdict}"
