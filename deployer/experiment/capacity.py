"""Conclusions from trials: whether they are valid, whether they met the objective, and the capacity."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from deployer.domain.verdict import Verdict
from deployer.experiment.results import Capacity, Kind, LagBounds, Objective, Trial

MIN_RESPONSES = 300
"""With this many responses and none too slow, 99 % are fast enough with 95 % confidence: 0.99**300 < 0.05."""

MAX_AUTO_PROCESSES = 2
"""More processes only start on request: on one machine they take cores from the measured servers."""

_BUSY_CORES = 0.8
_RATE_PRECISION = 0.03
_RATIO_PRECISION = 0.1
_BEYOND_IDEAL = 1.05
"""A ratio that is larger than that of the replicas by more than this is no scaling."""


def invalid_reasons(trial: Trial, bounds: LagBounds) -> tuple[str, ...]:
    """Why a trial is invalid; empty if it is valid."""
    reasons = []
    if trial.sent == 0:
        reasons.append("no request was due in the measured window")
    if trial.kind is Kind.OPEN and trial.lag.count:
        lag = trial.lag.at(99).ms
        if lag > bounds.p99_ms:
            reasons.append(f"the load generator lagged: p99 {lag:.1f} ms, allowed {bounds.p99_ms:g} ms")
        share = trial.late / trial.sent
        if share > bounds.late_share:
            reasons.append(
                f"the load generator was late: {share:.0%} of requests by more than {bounds.late_after_ms:g} ms, "
                f"allowed {bounds.late_share:.0%}"
            )
    return tuple(reasons)


def needs_more_processes(trial: Trial) -> bool:
    """Whether a trial is invalid because its load generator was overloaded, not because other processes used its CPU.

    A single process can only use one core.
    """
    return (
        not trial.valid
        and trial.generator_cores / trial.processes >= _BUSY_CORES
        and trial.processes < MAX_AUTO_PROCESSES
    )


def judge(trial: Trial, objective: Objective) -> Verdict:
    """Whether a trial met the objective. A p99 of few responses only counts if no response was too slow."""
    if not trial.valid:
        return Verdict.INCONCLUSIVE
    if trial.error_rate > objective.error_rate:
        return Verdict.FAIL
    if trial.latency.count == 0:
        return Verdict.FAIL
    p99 = trial.latency.at(99)
    if p99.ms > objective.p99_ms:
        return Verdict.FAIL
    if p99.resolved or (trial.latency.max_ms <= objective.p99_ms and trial.latency.count >= MIN_RESPONSES):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def next_rate(trials: Sequence[Trial], objective: Objective) -> float | None:
    """The next open-loop rate of the search for the capacity; None when it is known to 3 %.

    `trials` are the open-loop trials of one number of replicas in one round.
    """
    passed, failed = _bracket(trials, objective)
    if passed and failed:
        return (passed + failed) / 2 if (failed - passed) / passed > _RATE_PRECISION else None
    if passed:
        return passed * 1.1
    return failed / 2 if failed else None


def capacity(trials: Sequence[Trial], replicas: int, objective: Objective) -> Capacity | None:
    """The capacity of `replicas` from their trials; None without a conclusive open-loop trial."""
    own_trials = [t for t in trials if t.replicas == replicas]
    judged = [t for t in own_trials if t.kind is Kind.OPEN and judge(t, objective) is not Verdict.INCONCLUSIVE]
    if not judged:
        return None
    rounds = sorted({t.round for t in judged})
    brackets = [_bracket([t for t in judged if t.round == r], objective) for r in rounds]
    rates = tuple(passed or 0.0 for passed, _ in brackets)
    rate = median(rates)
    failures = [failed for _, failed in brackets if failed and failed > rate]
    met = [t for t in judged if judge(t, objective) is Verdict.PASS]
    closest = min(met, key=lambda t: abs(t.offered - rate), default=None)
    ceilings = [t.throughput for t in own_trials if t.kind is Kind.CEILING]
    return Capacity(
        replicas=replicas,
        rate=rate,
        by_round=rates,
        broke_at=min(failures, default=None),
        ceiling=max(ceilings, default=0.0),
        trial=closest.number if closest else None,
        p99_ms=closest.latency.at(99).ms if closest else None,
        cores_per_replica=closest.cores("replica") / replicas if closest and closest.cpu else None,
        machine_saturated=any(t.machine_saturated for t in own_trials if t.kind is Kind.CEILING or t is closest),
    )


def times(of: Capacity, base: Capacity) -> tuple[float, float]:
    """The ratio of two capacities: lower and upper bound, because the search only brackets each capacity."""
    return of.rate / (base.broke_at or base.rate), (of.broke_at or of.rate) / base.rate


def better_than_ideal(of: Capacity, base: Capacity) -> bool:
    """Whether a capacity is higher than its replicas can explain: then it or its base was measured wrongly."""
    return of.rate / base.rate > of.replicas / base.replicas * _BEYOND_IDEAL


def times_text(of: Capacity, base: Capacity) -> str:
    """The ratio as text: one figure if the bounds are close, else both; none that the replicas cannot explain."""
    if better_than_ideal(of, base):
        return "better than ideal: noise"
    low, high = times(of, base)
    return f"{of.rate / base.rate:.2f}×" if high - low < _RATIO_PRECISION else f"{low:.1f} to {high:.1f}×"


def _bracket(trials: Sequence[Trial], objective: Objective) -> tuple[float | None, float | None]:
    """The highest rate that met the objective, and the lowest higher rate that did not."""
    verdicts = [(t.offered, judge(t, objective)) for t in trials if t.kind is Kind.OPEN]
    passed = max((rate for rate, verdict in verdicts if verdict is Verdict.PASS), default=None)
    failed = min((r for r, v in verdicts if v is Verdict.FAIL and (passed is None or r > passed)), default=None)
    return passed, failed
