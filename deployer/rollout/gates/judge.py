"""Judges gates by observations.

A gate fails only with evidence: the statistical test must show that the bound is violated. It passes if there are
enough samples and the measured value is within the bound. Otherwise, or with too little traffic, it is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from deployer.domain.drift import compare, per_feature
from deployer.domain.gate import LATENCIES, Gate, Metric
from deployer.domain.store import size_text
from deployer.domain.verdict import Judgement, Verdict
from deployer.release.window import LabelWindow, Observations, above
from deployer.rollout.gates.statistics import Interval, binomial_at_least, quantile, rate_excess

__all__ = ["ALPHA", "EARLY_ALPHA", "judge", "overall"]

ALPHA = 0.05
"""Probability that a version within the bound fails its gate at the end of a window."""
EARLY_ALPHA = 0.0005
"""The same for each check before the end: there are many checks, and only clear failures should end a window early."""

_QUANTILES = {Metric.P50: 0.5, Metric.P90: 0.9, Metric.P95: 0.95, Metric.P99: 0.99}


def overall(judgements: Sequence[Judgement]) -> Verdict:
    """FAIL if any gate failed, else INCONCLUSIVE if any is, else PASS; NOT_JUDGED without a gate."""
    if not judgements:
        return Verdict.NOT_JUDGED
    verdicts = {judgement.verdict for judgement in judgements}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


def judge(
    gates: Sequence[Gate], seen: Observations, *, min_samples: int, alpha: float = ALPHA
) -> tuple[Judgement, ...]:
    """One judgement per gate, in order; `alpha` is the risk of failing a version that is within the bound."""
    return tuple(_judge(gate, seen, min_samples, alpha) for gate in gates)


def _judge(gate: Gate, seen: Observations, min_samples: int, alpha: float) -> Judgement:
    if gate.metric in LATENCIES:
        verdict, numbers = _latency(gate, seen, min_samples, alpha)
    elif gate.metric is Metric.ERROR_RATE:
        verdict, numbers = _error_rate(gate, seen, min_samples, alpha)
    elif gate.metric is Metric.DISAGREEMENT:
        counts = LabelWindow(responses=seen.compared, failed=seen.disagreed)
        verdict, numbers = _share(gate, counts, min_samples, alpha, "differ")
    elif gate.metric is Metric.DRIFT:
        verdict, numbers = _drift(gate, seen, min_samples, alpha)
    elif gate.metric is Metric.SAMPLES:
        enough = gate.holds(seen.canary.responses)
        verdict = Verdict.PASS if enough else Verdict.INCONCLUSIVE
        numbers = f"{seen.canary.responses} responses of canary"
    else:
        verdict, numbers = _measured(gate, seen)
    return Judgement(gate=gate.text, verdict=verdict, numbers=numbers)


_MEASURED: dict[Metric, tuple[Callable[[Observations], float | None], Callable[[float], str]]] = {
    Metric.SIZE: (lambda seen: seen.size, lambda value: size_text(int(value))),
    Metric.MEMORY: (lambda seen: seen.memory, lambda value: size_text(int(value))),
    Metric.LOAD_TIME: (lambda seen: seen.load_time, lambda value: f"{value:.1f} s"),
    Metric.ACCURACY: (lambda seen: seen.accuracy, lambda value: f"{100 * value:.2f} % correct"),
    Metric.PARITY: (lambda seen: seen.parity, lambda value: f"differs by at most {value:.3g}"),
    Metric.SKEW: (lambda seen: seen.skew, lambda value: f"preprocessing differs by at most {value:.3g}"),
}


def _measured(gate: Gate, seen: Observations) -> tuple[Verdict, str]:
    """Judge a single figure; inconclusive if it is unknown."""
    read, shown = _MEASURED[gate.metric]
    value = read(seen)
    if value is None:
        return Verdict.INCONCLUSIVE, "unknown"
    return (Verdict.PASS if gate.holds(value) else Verdict.FAIL), shown(value)


def _latency(gate: Gate, seen: Observations, min_samples: int, alpha: float) -> tuple[Verdict, str]:
    q = _QUANTILES[gate.metric]
    needed = max(min_samples, math.ceil(1 / (1 - q) - 1e-9))
    canary = quantile(q, seen.canary.latency_bounds, seen.canary.latency, alpha)
    stable = quantile(q, seen.stable.latency_bounds, seen.stable.latency, alpha) if gate.of_stable else None
    counts = [("canary", sum(seen.canary.latency))]
    counts += [("stable", sum(seen.stable.latency))] if gate.of_stable else []
    if canary is None or (gate.of_stable and stable is None) or min(n for _, n in counts) < needed:
        return Verdict.INCONCLUSIVE, f"{_counted(counts)}; {needed} needed"
    numbers = f"canary {_milliseconds(canary)}" + (f", stable {_milliseconds(stable)}" if stable else "")
    numbers += f"; {_counted(counts)}"
    if gate.holds(canary.estimate, stable.estimate if stable else 1.0):
        return Verdict.PASS, numbers
    p_value = _slower(gate, seen, q)
    return (Verdict.FAIL if p_value < alpha else Verdict.INCONCLUSIVE), f"{numbers}; p = {p_value:.2g}"


def _slower(gate: Gate, seen: Observations, q: float) -> float:
    """P-value of "canary is within the bound". A share 1 - q of its responses may exceed an absolute bound.

    For a bound relative to stable, the limit is stable's quantile: canary must not exceed the multiple of the limit
    more often than stable exceeds the limit. Only buckets entirely above count, which favours canary.
    """
    canary = seen.canary
    if not gate.of_stable:
        return binomial_at_least(above(canary, gate.bound), sum(canary.latency), 1 - q)
    stable = seen.stable
    found = quantile(q, stable.latency_bounds, stable.latency, ALPHA)
    limit = next((b for b in stable.latency_bounds if found is not None and b >= found.estimate), math.inf)
    return rate_excess(
        above(canary, gate.bound * limit), sum(canary.latency), above(stable, limit), sum(stable.latency)
    )


def _error_rate(gate: Gate, seen: Observations, min_samples: int, alpha: float) -> tuple[Verdict, str]:
    if not gate.of_stable:
        return _share(gate, seen.canary, min_samples, alpha, "failed")
    canary, stable = seen.canary, seen.stable
    numbers = f"canary {_of(canary, 'failed')}, stable {_of(stable, 'failed')}"
    # Without a single failure of canary there is nothing to compare.
    if canary.failed == 0 and canary.responses >= min_samples:
        return Verdict.PASS, numbers
    if min(canary.responses, stable.responses) < max(1, min_samples):
        return Verdict.INCONCLUSIVE, f"{numbers}; {min_samples} responses of each needed"
    if gate.holds(canary.failed / canary.responses, stable.failed / stable.responses):
        return Verdict.PASS, numbers
    p_value = rate_excess(canary.failed, canary.responses, stable.failed, stable.responses, gate.bound)
    return (Verdict.FAIL if p_value < alpha else Verdict.INCONCLUSIVE), f"{numbers}; p = {p_value:.2g}"


def _share(gate: Gate, seen: LabelWindow, min_samples: int, alpha: float, what: str) -> tuple[Verdict, str]:
    """Judge a share of failures by the exact binomial test against the bound."""
    numbers = _of(seen, what)
    bad, total, bound = seen.failed, seen.responses, gate.bound
    p_value = binomial_at_least(bad, total, bound)
    few = total < max(1, min_samples)
    # A clear failure needs no minimum of samples; else a version that always fails would stay while traffic is low.
    if total and not gate.holds(bad / total) and p_value < (min(alpha, EARLY_ALPHA) if few else alpha):
        return Verdict.FAIL, f"{numbers}; p = {p_value:.2g}"
    if few:
        return Verdict.INCONCLUSIVE, f"{numbers}; {min_samples} needed"
    if gate.holds(bad / total):
        return Verdict.PASS, numbers
    return Verdict.INCONCLUSIVE, f"{numbers}; p = {p_value:.2g}"


def _drift(gate: Gate, seen: Observations, min_samples: int, alpha: float) -> tuple[Verdict, str]:
    """Judge the feature that drifts most: it fails when the lower bound of its index is not within the gate."""
    if not seen.drift:
        return Verdict.INCONCLUSIVE, "no records of canary were counted, or its version has no statistics of training"
    each = per_feature(alpha, len(seen.drift))
    found = [(compare(one.live, one.other, alpha=each), one) for one in seen.drift]
    worst, where = max(found, key=lambda one: one[0].psi)
    records = min(min(sum(one.live), sum(one.other)) for one in seen.drift)
    numbers = f"{where.feature} against {where.against}: PSI {worst.psi:.3f}; {sum(where.live)} records of canary"
    for one, at in found:
        if one.psi > one.chance and not gate.holds(one.low):
            return Verdict.FAIL, f"{at.feature} against {at.against}: PSI {one.psi:.3f}, at least {one.low:.3f}"
    if records < max(1, min_samples):
        return Verdict.INCONCLUSIVE, f"{numbers}; {min_samples} needed"
    if gate.holds(worst.psi):
        return Verdict.PASS, numbers
    return Verdict.INCONCLUSIVE, f"{numbers}; by chance up to {worst.chance:.3f}"


def _of(seen: LabelWindow, what: str) -> str:
    share = f" = {100 * seen.failed / seen.responses:.2f} %" if seen.responses else ""
    return f"{seen.failed} of {seen.responses} {what}{share}"


def _counted(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{count} responses of {label}" for label, count in counts)


def _milliseconds(interval: Interval) -> str:
    high = "∞" if math.isinf(interval.high) else f"{interval.high:g}"
    return f"{interval.estimate:.3g} ms [{interval.low:g}, {high}]"
