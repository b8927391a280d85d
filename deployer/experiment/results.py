"""The data of an experiment. Rates are requests a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deployer.experiment.latency import Latency
from deployer.experiment.sizing import Sizing
from deployer.experiment.usl import Fit

SATURATED = 0.92
"""Above this busy share of all cores, the machine is the limit, not the replicas."""


class Kind(StrEnum):
    """How a trial sends: `ceiling` in a closed loop, as fast as responses arrive; `open` on a schedule."""

    CEILING = "ceiling"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The service level objective of a capacity: p99 in milliseconds, and errors as a share of requests."""

    p99_ms: float = 100.0
    error_rate: float = 0.001


@dataclass(frozen=True, kw_only=True)
class LagBounds:
    """How late the load generator may be before a trial is invalid.

    A request is late if it was sent more than `late_after_ms` after it was due. Milliseconds; share of all requests.
    """

    p99_ms: float
    late_after_ms: float
    late_share: float = 0.05

    @classmethod
    def for_objective(cls, objective: Objective) -> LagBounds:
        """A tenth of the objective's p99 for the p99 of the lag, half of that for a single request."""
        return cls(p99_ms=objective.p99_ms / 10, late_after_ms=objective.p99_ms / 20)


@dataclass(frozen=True, kw_only=True)
class CpuUse:
    """Average cores of one process in the measured window; `role` is "replica" or "gateway"."""

    name: str
    role: str
    cores: float


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Means over the measured window, from the metrics of gateways and replicas.

    `stages_ms` is the time of a request in each stage of the gateway. `rows_per_call` is the number of rows in one call
    of a gateway, `rows_per_batch` the number of rows in one batch of a model server, including padding; None without
    batching, or if unknown.
    """

    stages_ms: Mapping[str, float] = field(default_factory=dict)
    rows_per_call: float | None = None
    rows_per_batch: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of load with one number of replicas; figures are of the measured window.

    `offered` is the rate of the schedule (0 in a closed loop of `concurrency` clients), `throughput` the correct
    responses a second. `direct` trials bypassed the gateways through one plain gRPC channel. `machine_busy` is the busy
    share of all cores of the generator's machine, None if unknown. `invalid` are the reasons why the trial is invalid.
    `processes` is the number of load generator processes. `histogram` is the name of its HdrHistogram log.
    """

    number: int
    round: int
    replicas: int
    kind: Kind
    offered: float
    concurrency: int
    batch: int
    started: float
    seconds: float
    sent: int
    answered: int
    throughput: float
    late: int
    errors: Mapping[str, int]
    first_error: str
    latency: Latency
    lag: Latency
    cpu: tuple[CpuUse, ...]
    generator_cores: float
    machine_busy: float | None
    load_average: float | None
    histogram: str
    processes: int = 1
    invalid: tuple[str, ...] = ()
    direct: bool = False
    stages: Stages = field(default_factory=Stages)

    @property
    def valid(self) -> bool:
        """Whether the trial is valid."""
        return not self.invalid

    @property
    def error_rate(self) -> float:
        """Share of requests without a correct response."""
        return sum(self.errors.values()) / self.sent if self.sent else 0.0

    @property
    def machine_saturated(self) -> bool:
        """Whether the machine had no spare CPU."""
        return self.machine_busy is not None and self.machine_busy >= SATURATED

    def cores(self, role: str) -> float:
        """Cores of all replicas, or of all gateways, in total."""
        return sum(use.cores for use in self.cpu if use.role == role)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The capacity of `replicas`: the highest `rate` that met the objective, median of the rounds.

    `by_round` has one rate per round. `broke_at` is the lowest higher rate that missed the objective, None if there was
    none. `ceiling` is the closed-loop maximum. `trial` is the number of the representative trial, `p99_ms` its p99.
    `rate` 0 means that no rate met the objective.
    """

    replicas: int
    rate: float
    by_round: tuple[float, ...]
    broke_at: float | None
    ceiling: float
    trial: int | None
    p99_ms: float | None
    cores_per_replica: float | None
    machine_saturated: bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the experiment; times in seconds.

    `fractions` of the ceiling are the first rates, `refine` further rates narrow down the capacity.
    `through` is the endpoint of the requests, `records` the number of records.
    """

    model: str
    label: str
    through: str
    records: int
    replicas: tuple[int, ...]
    fractions: tuple[float, ...]
    refine: int
    rounds: int
    warmup: float
    seconds: float
    max_seconds: float
    batch: int
    processes: int
    seed: int
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, with its load average before the experiment; `versions` of Python and of installed distributions."""

    cpu_model: str
    cores: int
    memory_gib: float
    system: str
    versions: Mapping[str, str]
    load_average: float | None


@dataclass(frozen=True, kw_only=True)
class Environment(Machine):
    """The environment of an experiment: the machine of the load generator, and the target."""

    target: str
    description: str
    cpu_limit: str
    cpus_per_replica: float | None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A second sweep over the same replica counts, `through` one plain gRPC channel that bypasses the gateways.

    `sentence` is the result of the comparison.
    """

    through: str
    sentence: str
    capacities: tuple[Capacity, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything about one experiment: the content of `experiment.json`.

    `started` and `finished` are Unix times. `accuracy` is that of the reference pass, None without expected values.
    `direct` is the second sweep, None if there was none.
    """

    settings: Settings
    objective: Objective
    bounds: LagBounds
    environment: Environment
    started: float
    finished: float
    interrupted: bool
    accuracy: float | None
    headline: str
    notes: tuple[str, ...]
    capacities: tuple[Capacity, ...]
    fit: Fit | None
    sizing: Sizing | None
    trials: tuple[Trial, ...]
    direct: Sweep | None = None

    @property
    def all_trials(self) -> tuple[Trial, ...]:
        """The trials of both sweeps in the order in which they ran."""
        second = self.direct.trials if self.direct is not None else ()
        return tuple(sorted((*self.trials, *second), key=lambda trial: trial.number))
