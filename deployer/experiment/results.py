"""What an experiment is made of. Rates are requests a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deployer.experiment.latency import Latency
from deployer.experiment.sizing import Sizing
from deployer.experiment.usl import Fit

SATURATED = 0.92
"""Above this share of all cores busy the machine, not the replicas, is what is measured."""


class Kind(StrEnum):
    """How a trial sends: `ceiling` in a closed loop, as fast as answers come; `open` on a schedule."""

    CEILING = "ceiling"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The service level that capacity is measured against: p99 in milliseconds, and errors as a share of requests."""

    p99_ms: float = 100.0
    error_rate: float = 0.001


@dataclass(frozen=True, kw_only=True)
class LagBounds:
    """How late the generator itself may be before a trial is worth nothing.

    A request is late when it left `late_after_ms` after it was due. Unit milliseconds; the share is of all requests.
    """

    p99_ms: float
    late_after_ms: float
    late_share: float = 0.05

    @classmethod
    def for_objective(cls, objective: Objective) -> LagBounds:
        """A tenth of the latency that is to be judged for the p99, half of that for a single request."""
        return cls(p99_ms=objective.p99_ms / 10, late_after_ms=objective.p99_ms / 20)


@dataclass(frozen=True, kw_only=True)
class CpuUse:
    """Cores that one process used on average in the measured window; `role` is "replica" or "gateway"."""

    name: str
    role: str
    cores: float


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Means of the measured window, as gateways and replicas counted them.

    `stages_ms` is the time that a request spent in each stage of the gateway. `rows_per_call` is how many rows the
    gateways joined into one call, `rows_per_batch` how many a model server ran at once, padding included; None where
    nothing was joined or nobody said.
    """

    stages_ms: Mapping[str, float] = field(default_factory=dict)
    rows_per_call: float | None = None
    rows_per_batch: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of load against one number of replicas; figures are of the measured window.

    `offered` is the rate of the schedule (0 in a closed loop of `concurrency` clients), `throughput` right answers a
    second. `direct` trials went past the gateways through one plain gRPC channel. `machine_busy` is the share of all
    cores of the generator's machine that were busy, None where that is not known. `invalid` holds the reasons why the
    figures must not be used. `processes` generated the load. `histogram` names the HdrHistogram log beside
    `experiment.json`.
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
        """Whether the figures may be used."""
        return not self.invalid

    @property
    def error_rate(self) -> float:
        """Requests without a right answer, as a share."""
        return sum(self.errors.values()) / self.sent if self.sent else 0.0

    @property
    def machine_saturated(self) -> bool:
        """Whether the machine had no CPU to spare."""
        return self.machine_busy is not None and self.machine_busy >= SATURATED

    def cores(self, role: str) -> float:
        """Cores of all replicas, or of all gateways, together."""
        return sum(use.cores for use in self.cpu if use.role == role)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What `replicas` carry: the highest `rate` at which the objective held, median of the rounds.

    `by_round` has one rate a round. `broke_at` is the lowest higher rate at which it no longer held, None when nothing
    broke. `ceiling` is the best of the closed loop. `trial` is the number of the trial that stands for the capacity,
    `p99_ms` its p99. `rate` 0 means that no rate was sustained.
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
    """What the experiment was asked to do; times in seconds.

    `fractions` of the ceiling are the first rates that are tried, `refine` further ones narrow the capacity down.
    `through` says where requests went, `records` how many different ones there were.
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
    """What it is, and its load average when asked; `versions` of Python and of distributions that are installed."""

    cpu_model: str
    cores: int
    memory_gib: float
    system: str
    versions: Mapping[str, str]
    load_average: float | None


@dataclass(frozen=True, kw_only=True)
class Environment(Machine):
    """Where the figures come from, without which they mean nothing: the machine that sent, and what it sent to."""

    target: str
    description: str
    cpu_limit: str
    cpus_per_replica: float | None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The same replica counts by another way: `through` one plain gRPC channel, past the gateways.

    `sentence` says what the comparison shows.
    """

    through: str
    sentence: str
    capacities: tuple[Capacity, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything about one experiment: the content of `experiment.json`.

    `started` and `finished` are Unix times. `accuracy` is that of the reference pass, None when nothing was expected.
    `direct` is a second sweep that was measured beside it, None when none was asked for.
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
        beside = self.direct.trials if self.direct is not None else ()
        return tuple(sorted((*self.trials, *beside), key=lambda trial: trial.number))
