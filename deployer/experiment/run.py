"""Run an experiment: measure the capacity of each number of replicas, and write the results."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from deployer.errors import ExperimentInvalid, SpecError, UsageError
from deployer.experiment import capacity, sizing, summary, usl
from deployer.experiment.generator import Generator, generator_for
from deployer.experiment.loadgen import machine, recording
from deployer.experiment.loadgen.plan import ClosedLoop, OpenLoop, Plan, Reference
from deployer.experiment.pace import Pace, busy_warning
from deployer.experiment.report import folder
from deployer.experiment.request import CEILING_TRIALS, ExperimentRequest, Outline, environment, outline, settings
from deployer.experiment.results import (
    Capacity,
    Environment,
    Experiment,
    Kind,
    LagBounds,
    Settings,
    Sweep,
    Trial,
)
from deployer.experiment.trials import Observer, measured, sentence
from deployer.records import expected, files
from deployer.records.endpoint import Grpc, RecordApi, Value
from deployer.release import endpoints
from deployer.targets.base import Progress, Target
from deployer.targets.history import exclusively

__all__ = ["ExperimentRequest", "Generator", "run"]

_LOOK_SECONDS = 1.0
"""For so long the machine is watched before the experiment begins."""

_GAIN = 1.05
_CLIENTS = (4, 8, 16, 32, 64)
"""Numbers of clients per replica in the search for the ceiling; it stops when a step gains less than 5 %."""

_RESPONSES_FOR_P99 = 1100
"""Requests in a window that give at least ten responses beyond p99, with a margin for chance."""

_MIN_REQUESTS = 350
"""Minimum of requests in a window, at any rate: enough to judge p99 if no response is slow."""


def run(
    target: Target, request: ExperimentRequest, progress: Progress, generator: Generator | None = None
) -> Experiment:
    """Run an experiment, write its folder and return it. The number of replicas is restored afterwards.

    On Ctrl-C the finished trials are written, marked as interrupted, and KeyboardInterrupt is raised.
    Errors: UsageError and SpecError for invalid requests, ExperimentInvalid when the load generator lagged in every
    open-loop trial (the folder is written nevertheless), and those of the target.
    """
    _prepare(request)
    if generator is None:
        with generator_for(
            target,
            image=request.load_image,
            pods=request.pods,
            timeout=request.scale_timeout,
            progress=progress,
        ) as found:
            return run(target, request, progress, found)
    with exclusively(target.history()):
        say_if_busy(target, generator, progress, outline(request, through="", records=0).seconds)
        return run_held(target, request, progress, generator)


def say_if_busy(target: Target, generator: Generator, progress: Progress, seconds: float) -> None:
    """Warn before a measurement of so many seconds if the machine of the load generator is busy."""
    share = machine.busy_share(_LOOK_SECONDS) if target.kind == "local" else None
    if warning := busy_warning(generator.machine(), share, seconds=seconds):
        progress(warning)


def run_held(target: Target, request: ExperimentRequest, progress: Progress, generator: Generator) -> Experiment:
    """As `run`, for a caller that works on the release already."""
    _prepare(request)
    experiment = _Run(target=target, request=request, progress=progress, generator=generator)
    interrupted = True
    with _removed_if_empty(request.out), target.held(timeout=request.scale_timeout, progress=progress):
        try:
            experiment.measure()
            interrupted = False
        finally:
            result = experiment.result(interrupted=interrupted)
            if result is not None:
                folder.write(request.out, result, experiment.logs)
                progress(f"wrote {request.out / folder.REPORT_HTML}")
    assert result is not None
    opened = [t for t in result.trials if t.kind is Kind.OPEN]
    if opened and not any(t.valid for t in opened):
        raise ExperimentInvalid(
            "the load generator lagged in every trial, so nothing was measured",
            cause=opened[-1].invalid[0],
            hint="give the load generator more CPU, lower the rates, or use more --processes",
        )
    return result


def _prepare(request: ExperimentRequest) -> None:
    _check(request)
    try:
        request.out.mkdir(parents=True, exist_ok=True)  # fails now, not after an hour of measurements
    except OSError as error:
        raise UsageError(f"{request.out} cannot be written", hint="choose another folder with --out") from error


def plan(target: Target, request: ExperimentRequest) -> Outline:
    """What `run` would do, without sending requests. Errors: as for `run`."""
    _check(request)
    target.replicas()
    through = "one plain gRPC channel" if request.direct else "the gateways"
    return outline(request, through=through, records=len(files.load(request.records)))


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove the folder if the block fails and nothing was written into it."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise


def _check(request: ExperimentRequest) -> None:
    if (request.out / folder.EXPERIMENT_JSON).exists():
        raise UsageError(f"{request.out} already has an experiment", hint="choose another --out")
    if not request.replicas or min(request.replicas) < 1:
        raise SpecError("replica counts must be at least 1", hint="for example --replicas 1,2,4")
    if any(rate <= 0 for rate in request.rates):
        raise SpecError("rates must be above 0 requests a second", hint="for example --rates 100,200")
    if request.objective.p99_ms <= 0:
        raise SpecError("the p99 objective must be above 0 ms", hint="for example --p99 100ms")
    if not request.fractions or not min(request.fractions) > 0:
        raise SpecError("fractions of the ceiling must be positive", hint="for example --fractions 0.5,0.7,0.9")
    if request.direct and request.direct_records is not None:
        raise UsageError(
            "--direct and --direct-records cannot be used together",
            hint="--direct-records measures both, with and without gateways",
        )
    for path in filter(None, (request.records, request.direct_records)):
        files.load(path)  # fails before anything is started


@dataclass(kw_only=True)
class _Sweep:
    """One sweep: its endpoint, and its trials."""

    records: Path
    direct: bool
    through: str = ""
    endpoint: RecordApi | Grpc | None = None
    baseline: tuple[Value, ...] = ()
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.samples = files.load(self.records)


@dataclass(kw_only=True)
class _Run:
    """A running experiment."""

    target: Target
    request: ExperimentRequest
    progress: Progress
    generator: Generator
    logs: dict[int, str] = field(default_factory=dict)
    accuracy: float | None = None
    settings: Settings | None = None
    environment: Environment | None = None
    started: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    sweeps_begun: int = 0
    trials_before: int = 0
    """Of the current sweep."""

    def __post_init__(self) -> None:
        request = self.request
        self.bounds = request.bounds or LagBounds.for_objective(request.objective)
        self.first = _Sweep(records=request.records, direct=request.direct)
        self.second = _Sweep(records=request.direct_records, direct=True) if request.direct_records else None
        self.processes = request.processes
        self.order = random.Random(request.seed)

    def measure(self) -> None:
        request = self.request
        for number in range(1, request.rounds + 1):
            counts = request.replicas if number % 2 else tuple(reversed(request.replicas))
            for count in counts:
                self._scale(count)
                for sweep in filter(None, (self.first, self.second)):
                    self.sweeps_begun, self.trials_before = self.sweeps_begun + 1, len(self.logs)
                    self._connect(sweep)
                    if not sweep.baseline:
                        self._reference(sweep)
                    ceiling = self._ceiling(sweep, number, count)
                    if ceiling > 0:
                        self._rates(sweep, number, count, ceiling)

    def result(self, *, interrupted: bool) -> Experiment | None:
        """The result so far; None before the first trial."""
        if not self.first.trials or self.settings is None or self.environment is None:
            return None
        trials, objective = tuple(self.first.trials), self.request.objective
        capacities = self._capacities(self.first)
        points = [usl.Point(replicas=c.replicas, throughput=rate) for c in capacities for rate in c.by_round if rate]
        fit = usl.fit(points, seed=self.request.seed)
        limit = self.environment.cpu_limit
        notes = (
            *summary.beyond_ideal(capacities, trials, self.environment.cores),
            *summary.limitations(trials, capacities, objective, limit),
            *summary.scaling_notes(fit, len(points)),
        )
        return Experiment(
            settings=self.settings,
            objective=objective,
            bounds=self.bounds,
            environment=self.environment,
            started=self.started,
            finished=time.time(),
            interrupted=interrupted,
            accuracy=self.accuracy,
            headline=summary.headline(capacities, objective),
            notes=notes,
            capacities=capacities,
            fit=fit,
            sizing=self._sizing(capacities, fit),
            trials=trials,
            direct=self._second_sweep(capacities),
        )

    def _capacities(self, sweep: _Sweep) -> tuple[Capacity, ...]:
        objective = self.request.objective
        found = [capacity.capacity(sweep.trials, n, objective) for n in sorted(set(self.request.replicas))]
        return tuple(c for c in found if c is not None)

    def _second_sweep(self, capacities: tuple[Capacity, ...]) -> Sweep | None:
        """The second sweep; None before its first trial."""
        if self.second is None or not self.second.trials:
            return None
        found = self._capacities(self.second)
        return Sweep(
            through=self.second.through,
            sentence=summary.balancing(capacities, found),
            capacities=found,
            trials=tuple(self.second.trials),
        )

    def _sizing(self, capacities: tuple[Capacity, ...], fit: usl.Fit | None) -> sizing.Sizing | None:
        assert self.environment is not None
        cpus = self.environment.cpus_per_replica
        return sizing.size(capacities, fit, rate=self.request.target_rate or None, cpus_per_replica=cpus)

    def _scale(self, count: int) -> None:
        self.progress(f"scaling to {summary.replicas_text(count)}")
        self.target.scale(count, timeout=self.request.scale_timeout, progress=self.progress)
        self.environment = environment(self.target, self.generator.machine())

    def _connect(self, sweep: _Sweep) -> None:
        request = self.request
        sweep.through, sweep.endpoint = endpoints.load_endpoint(
            self.target, request.model, label=request.label, direct=sweep.direct, timeout=request.timeout
        )
        if sweep is self.first:
            self.settings = settings(request, through=sweep.through, records=len(sweep.samples))

    def _reference(self, sweep: _Sweep) -> None:
        self.progress(f"reference pass: {len(sweep.samples)} records without load through {sweep.through}")
        sweep.baseline = self.generator.run(self._plan(sweep, Reference(), seconds=1.0)).predictions
        accuracy = expected.accuracy(sweep.samples, sweep.baseline)
        if accuracy is not None:
            self.progress(f"accuracy {accuracy:.4f} on these records")
        if sweep is self.first:
            self.accuracy = accuracy

    def _ceiling(self, sweep: _Sweep, number: int, count: int) -> float:
        """The maximum closed-loop throughput, with increasing numbers of clients."""
        best = 0.0
        for clients in _CLIENTS:
            load = ClosedLoop(concurrency=clients * count)
            trial = self._trial(sweep, number, count, load, seconds=self.request.ceiling_seconds)
            if trial.throughput < best * _GAIN or trial.error_rate > self.request.objective.error_rate:
                return max(best, trial.throughput)
            best = trial.throughput
        return best

    def _rates(self, sweep: _Sweep, number: int, count: int, ceiling: float) -> None:
        rates = list(self.request.rates) or [ceiling * fraction for fraction in self.request.fractions]
        self.order.shuffle(rates)
        done = [self._open(sweep, number, count, rate) for rate in rates]
        for _ in range(self.request.refine):
            rate = capacity.next_rate(done, self.request.objective)
            if rate is None:
                return
            done.append(self._open(sweep, number, count, rate))

    def _open(self, sweep: _Sweep, number: int, count: int, rate: float) -> Trial:
        request = self.request
        seconds = max(request.seconds, _MIN_REQUESTS / rate, min(_RESPONSES_FOR_P99 / rate, request.max_seconds))
        load = OpenLoop(rate=round(rate, 2))
        trial = self._trial(sweep, number, count, load, seconds=round(seconds, 1))
        if trial.valid:
            return trial
        if capacity.needs_more_processes(trial):
            self.processes = trial.processes + 1
            self.progress(f"the load generator was overloaded: using {self.processes} processes from now on")
        return self._trial(
            sweep, number, count, load, seconds=round(seconds, 1)
        )  # often a disturbance by other processes

    def _trial(self, sweep: _Sweep, number: int, count: int, load: OpenLoop | ClosedLoop, *, seconds: float) -> Trial:
        plan = self._plan(sweep, load, seconds=seconds)
        with Observer(self.target, self.request.model) as observer:
            outcome = self.generator.run(plan, observer)
            trial = measured(
                plan,
                outcome,
                observer,
                number=len(self.logs) + 1,
                round_number=number,
                replicas=count,
                bounds=self.bounds,
            )
        sweep.trials.append(trial)
        self.logs[trial.number] = recording.log(
            outcome.latency,
            comment=f"trial {trial.number}: {summary.replicas_text(count)}, {trial.kind.value}, microseconds",
            started=trial.started,
            seconds=trial.seconds,
        )
        self.progress(f"trial {self._pace()}: {sentence(trial, self.request.objective)}")
        return trial

    def _pace(self) -> Pace:
        request = self.request
        sweeps = request.rounds * len(request.replicas) * (1 if self.second is None else 2)
        return Pace(
            done=len(self.logs),
            done_here=len(self.logs) - self.trials_before,
            sweeps_left=sweeps - self.sweeps_begun,
            per_sweep=CEILING_TRIALS + len(request.rates or request.fractions) + request.refine,
            elapsed=time.monotonic() - self.began,
            planned=request.warmup + request.seconds,
        )

    def _plan(self, sweep: _Sweep, load: OpenLoop | ClosedLoop | Reference, *, seconds: float) -> Plan:
        request = self.request
        assert sweep.endpoint is not None
        return Plan(
            target=sweep.endpoint,
            load=load,
            records=str(sweep.records),
            batch=request.batch,
            seed=request.seed * 100_003 + len(self.logs),
            warmup=request.warmup,
            seconds=seconds,
            timeout=request.timeout,
            processes=self.processes,
            late_after_ms=self.bounds.late_after_ms,
            baseline=sweep.baseline,
        )
