"""Gates held against observations.

A gate fails only on evidence: the interval or test must exclude that the bound is kept. It passes when there are enough
samples and the measured value keeps the bound. What is neither is inconclusive, and so is too little traffic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from deployer.domain.gate import LATENCIES, Gate, Metric
from deployer.domain.store import size_text
from deployer.domain.verdict import Judgement, Verdict
from deployer.release.window import LabelWindow, Observations, above
from deployer.rollout.gates.statistics import Interval, binomial_at_least, quantile, rate_excess

__all__ = ["ALPHA", "EARLY_ALPHA", "judge", "overall"]

ALPHA = 0.05
"""Probability that a version that keeps a bound fails its gate, at the end of a window."""
EARLY_ALPHA = 0.0005
"""The same for each look before the end: there are many looks, and only blatant failures should end a window early."""

_QUANTILES = {Metric.P50: 0.5, Metric.P90: 0.9, Metric.P95: 0.95, Metric.P99: 0.99}


def overall(judgements: Sequence[Judgement]) -> Verdict:
    """One failure fails all; else one that is inconclusive leaves all so."""
    verdicts = {judgement.verdict for judgement in judgements}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


def judge(
    gates: Sequence[Gate], seen: Observations, *, min_samples: int, alpha: float = ALPHA
) -> tuple[Judgement, ...]:
    """A judgement for each gate, in their order; `alpha` is the risk of failing a version that keeps the bound."""
    return tuple(_judge(gate, seen, min_samples, alpha) for gate in gates)


def _judge(gate: Gate, seen: Observations, min_samples: int, alpha: float) -> Judgement:
    if gate.metric in LATENCIES:
        verdict, numbers = _latency(gate, seen, min_samples, alpha)
    elif gate.metric is Metric.ERROR_RATE:
        verdict, numbers = _error_rate(gate, seen, min_samples, alpha)
    elif gate.metric is Metric.DISAGREEMENT:
        counts = LabelWindow(answers=seen.compared, failed=seen.disagreed)
        verdict, numbers = _share(gate, counts, min_samples, alpha, "differ")
    elif gate.metric is Metric.SAMPLES:
        enough = gate.holds(seen.canary.answers)
        verdict = Verdict.PASS if enough else Verdict.INCONCLUSIVE
        numbers = f"{seen.canary.answers} answers of canary"
    else:
        verdict, numbers = _measured(gate, seen)
    return Judgement(gate=gate.text, verdict=verdict, numbers=numbers)


_MEASURED: dict[Metric, tuple[Callable[[Observations], float | None], Callable[[float], str]]] = {
    Metric.SIZE: (lambda seen: seen.size, lambda value: size_text(int(value))),
    Metric.MEMORY: (lambda seen: seen.memory, lambda value: size_text(int(value))),
    Metric.LOAD_TIME: (lambda seen: seen.load_time, lambda value: f"{value:.1f} s"),
    Metric.ACCURACY: (lambda seen: seen.accuracy, lambda value: f"{100 * value:.2f} % right"),
    Metric.PARITY: (lambda seen: seen.parity, lambda value: f"differs by at most {value:.3g}"),
}


def _measured(gate: Gate, seen: Observations) -> tuple[Verdict, str]:
    """A figure that is simply so, or is not known."""
    read, shown = _MEASURED[gate.metric]
    value = read(seen)
    if value is None:
        return Verdict.INCONCLUSIVE, "not known here"
    return (Verdict.PASS if gate.holds(value) else Verdict.FAIL), shown(value)


def _latency(gate: Gate, seen: Observations, min_samples: int, alpha: float) -> tuple[Verdict, str]:
    q = _QUANTILES[gate.metric]
    needed = max(min_samples, math.ceil(1 / (1 - q) - 1e-9))
    canary = quantile(q, seen.canary.latency_bounds, seen.canary.latency, alpha)
    stable = quantile(q, seen.stable.latency_bounds, seen.stable.latency, alpha) if gate.of_stable else None
    counts = [("canary", sum(seen.canary.latency))]
    counts += [("stable", sum(seen.stable.latency))] if gate.of_stable else []
    if canary is None or (gate.of_stable and stable is None) or min(n for _, n in counts) < needed:
        return Verdict.INCONCLUSIVE, f"{_counted(counts)}; {needed} are needed"
    numbers = f"canary {_milliseconds(canary)}" + (f", stable {_milliseconds(stable)}" if stable else "")
    numbers += f"; {_counted(counts)}"
    if gate.holds(canary.estimate, stable.estimate if stable else 1.0):
        return Verdict.PASS, numbers
    surprise = _slower(gate, seen, q)
    return (Verdict.FAIL if surprise < alpha else Verdict.INCONCLUSIVE), f"{numbers}; p = {surprise:.2g}"


def _slower(gate: Gate, seen: Observations, q: float) -> float:
    """P-value of "canary keeps the bound". At most a share 1 - q of its answers may be slower than an absolute bound.

    For one relative to stable, a limit is drawn where stable's quantile is: canary must not be beyond its multiple more
    often than stable is beyond the limit itself. Only buckets that lie wholly beyond count, which favours canary.
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
    # Twice zero is no reason to refuse: without a single failure there is nothing to compare.
    if canary.failed == 0 and canary.answers >= min_samples:
        return Verdict.PASS, numbers
    if min(canary.answers, stable.answers) < max(1, min_samples):
        return Verdict.INCONCLUSIVE, f"{numbers}; {min_samples} answers of each are needed"
    if gate.holds(canary.failed / canary.answers, stable.failed / stable.answers):
        return Verdict.PASS, numbers
    surprise = rate_excess(canary.failed, canary.answers, stable.failed, stable.answers, gate.bound)
    return (Verdict.FAIL if surprise < alpha else Verdict.INCONCLUSIVE), f"{numbers}; p = {surprise:.2g}"


def _share(gate: Gate, seen: LabelWindow, min_samples: int, alpha: float, what: str) -> tuple[Verdict, str]:
    """A share of yes or no, by the exact binomial test against the bound."""
    numbers = _of(seen, what)
    bad, total, bound = seen.failed, seen.answers, gate.bound
    surprise = binomial_at_least(bad, total, bound)
    few = total < max(1, min_samples)
    # Blatant failure needs no minimum, or a version that answers nothing right would stay while traffic is low.
    if total and not gate.holds(bad / total) and surprise < (min(alpha, EARLY_ALPHA) if few else alpha):
        return Verdict.FAIL, f"{numbers}; p = {surprise:.2g}"
    if few:
        return Verdict.INCONCLUSIVE, f"{numbers}; {min_samples} are needed"
    if gate.holds(bad / total):
        return Verdict.PASS, numbers
    return Verdict.INCONCLUSIVE, f"{numbers}; p = {surprise:.2g}"


def _of(seen: LabelWindow, what: str) -> str:
    share = f" = {100 * seen.failed / seen.answers:.2f} %" if seen.answers else ""
    return f"{seen.failed} of {seen.answers} {what}{share}"


def _counted(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{count} answers of {label}" for label, count in counts)


def _milliseconds(interval: Interval) -> str:
    high = "∞" if math.isinf(interval.high) else f"{interval.high:g}"
    return f"{interval.estimate:.3g} ms [{interval.low:g}, {high}]"
