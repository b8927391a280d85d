"""What may be concluded from trials: whether they are valid, whether they kept to the objective, and the capacity."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from deployer.domain.verdict import Verdict
from deployer.experiment.results import Capacity, Kind, LagBounds, Objective, Trial

CONVINCING = 300
"""So many answers, none slower than allowed, leave less than 5 % doubt that 99 % are fast enough: 0.99**300 < 0.05."""

MOST_PROCESSES = 2
"""More are only started when a person asks: on one machine they would take the cores of what is measured."""

_BUSY = 0.8
_CLOSE_ENOUGH = 0.03
_SAME_FIGURE = 0.1


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


def needs_more_processes(trial: Trial) -> bool:
    """Whether a trial is invalid because its generator had too much to do, not because others took its time.

    A single process can use one core, whatever the machine has.
    """
    return not trial.valid and trial.generator_cores / trial.processes >= _BUSY and trial.processes < MOST_PROCESSES


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
        cores_per_replica=stands.cores("replica") / replicas if stands and stands.cpu else None,
        machine_saturated=any(t.machine_saturated for t in mine if t.kind is Kind.CEILING or t is stands),
    )


def times(of: Capacity, base: Capacity) -> tuple[float, float]:
    """How many times as much one capacity is as another: least and most, as the search left both between two rates."""
    return of.rate / (base.broke_at or base.rate), (of.broke_at or of.rate) / base.rate


def times_text(of: Capacity, base: Capacity) -> str:
    """The same in words: one figure when the search was fine enough for it, else the two."""
    low, high = times(of, base)
    return f"{of.rate / base.rate:.2f}×" if high - low < _SAME_FIGURE else f"{low:.1f} to {high:.1f}×"


def _bracket(trials: Sequence[Trial], objective: Objective) -> tuple[float | None, float | None]:
    """The highest rate that held and the lowest above it that did not."""
    verdicts = [(t.offered, judge(t, objective)) for t in trials if t.kind is Kind.OPEN]
    passed = max((rate for rate, verdict in verdicts if verdict is Verdict.PASS), default=None)
    failed = min((r for r, v in verdicts if v is Verdict.FAIL and (passed is None or r > passed)), default=None)
    return passed, failed
