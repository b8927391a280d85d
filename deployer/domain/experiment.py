"""What an experiment is made of, and what may be concluded from its trials. Rates are requests a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from deployer.domain.latency import Latency

SATURATED = 0.92
"""Above this share of all cores busy the machine, not the replicas, is what is measured."""

CONVINCING = 300
"""So many answers, none slower than allowed, leave less than 5 % doubt that 99 % are fast enough: 0.99**300 < 0.05."""

_CLOSE_ENOUGH = 0.03


class Kind(StrEnum):
    """How a trial sends: `ceiling` in a closed loop, as fast as answers come; `open` on a schedule."""

    CEILING = "ceiling"
    OPEN = "open"


class Verdict(StrEnum):
    """Whether a trial kept to the objective."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


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
class Trial:
    """One run of load against one number of replicas; figures are of the measured window.

    `offered` is the rate of the schedule (0 in a closed loop of `concurrency` clients), `throughput` right answers a
    second. `machine_busy` is the share of all cores that were busy, None where that is not known. `invalid` holds the
    reasons why the figures must not be used. `histogram` names the HdrHistogram log beside `experiment.json`.
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
    invalid: tuple[str, ...] = ()

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


def invalid_reasons(trial: Trial, bounds: LagBounds) -> tuple[str, ...]:
    """Why the figures of a trial must not be used; empty when they may."""
    reasons = []
    if trial.sent == 0:
        reasons.append("no request was due in the measured window")
    if trial.kind is Kind.OPEN and trial.lag.count:
        lag = trial.lag.at(99).ms
        if lag > bounds.p99_ms:
            reasons.append(f"the generator lagged: p99 {lag:.1f} ms, allowed {bounds.p99_ms:g} ms")
        share = trial.late / trial.sent
        if share > bounds.late_share:
            reasons.append(
                f"the generator was late: {share:.0%} of requests by more than {bounds.late_after_ms:g} ms, "
                f"allowed {bounds.late_share:.0%}"
            )
    return tuple(reasons)


def judge(trial: Trial, objective: Objective) -> Verdict:
    """Whether a trial kept to the objective. A p99 of too few answers counts only when no answer at all was slow."""
    if not trial.valid:
        return Verdict.INCONCLUSIVE
    if trial.error_rate > objective.error_rate:
        return Verdict.FAIL
    if trial.latency.count == 0:
        return Verdict.FAIL
    p99 = trial.latency.at(99)
    if p99.ms > objective.p99_ms:
        return Verdict.FAIL
    if p99.resolved or (trial.latency.max_ms <= objective.p99_ms and trial.latency.count >= CONVINCING):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def next_rate(trials: Sequence[Trial], objective: Objective) -> float | None:
    """The open-loop rate that would narrow down the capacity most; None when it is known to 3 %.

    `trials` are the open-loop trials of one number of replicas in one round.
    """
    passed, failed = _bracket(trials, objective)
    if passed and failed:
        return (passed + failed) / 2 if (failed - passed) / passed > _CLOSE_ENOUGH else None
    if passed:
        return passed * 1.1
    return failed / 2 if failed else None


def capacity(trials: Sequence[Trial], replicas: int, objective: Objective) -> Capacity | None:
    """What `replicas` carry according to their trials; None when no valid open-loop trial says anything."""
    mine = [t for t in trials if t.replicas == replicas]
    judged = [t for t in mine if t.kind is Kind.OPEN and judge(t, objective) is not Verdict.INCONCLUSIVE]
    if not judged:
        return None
    rounds = sorted({t.round for t in judged})
    brackets = [_bracket([t for t in judged if t.round == r], objective) for r in rounds]
    rates = tuple(passed or 0.0 for passed, _ in brackets)
    rate = median(rates)
    breaks = [failed for _, failed in brackets if failed and failed > rate]
    held = [t for t in judged if judge(t, objective) is Verdict.PASS]
    stands = min(held, key=lambda t: abs(t.offered - rate), default=None)
    ceilings = [t.throughput for t in mine if t.kind is Kind.CEILING]
    return Capacity(
        replicas=replicas,
        rate=rate,
        by_round=rates,
        broke_at=min(breaks, default=None),
        ceiling=max(ceilings, default=0.0),
        trial=stands.number if stands else None,
        p99_ms=stands.latency.at(99).ms if stands else None,
        cores_per_replica=stands.cores("replica") / replicas if stands else None,
        machine_saturated=any(t.machine_saturated for t in mine if t.kind is Kind.CEILING or t is stands),
    )


def _bracket(trials: Sequence[Trial], objective: Objective) -> tuple[float | None, float | None]:
    """The highest rate that held and the lowest above it that did not."""
    verdicts = [(t.offered, judge(t, objective)) for t in trials if t.kind is Kind.OPEN]
    passed = max((rate for rate, verdict in verdicts if verdict is Verdict.PASS), default=None)
    failed = min((r for r, v in verdicts if v is Verdict.FAIL and (passed is None or r > passed)), default=None)
    return passed, failed
