"""The verdicts of an experiment as test cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployer.domain.junit import Case, Suite
from deployer.domain.verdict import Verdict
from deployer.experiment.capacity import judge
from deployer.experiment.results import Experiment, Kind, Trial
from deployer.experiment.summary import rate_text, replicas_text


def suite(found: Experiment, *, rates: Sequence[float] = (), target_rate: float = 0.0) -> Suite:
    """A case for each number of replicas: whether it sustained any rate within the objective; for each of the `rates`
    that were asked for; and whether replicas can sustain `target_rate`, if it is above 0. Rates are requests a second.
    """
    cases = [
        *_capacities(found),
        *(_rate(found, count, rate) for count in found.settings.replicas for rate in rates),
        *([_sizing(found, target_rate)] if target_rate else []),
    ]
    return Suite(
        name=f"experiment on {found.settings.model}",
        cases=cases,
        started=found.started,
        seconds=found.finished - found.started,
    )


def _capacities(found: Experiment) -> Iterator[Case]:
    within = f"p99 ≤ {found.objective.p99_ms:g} ms"
    known = {one.replicas: one for one in found.capacities}
    for count in found.settings.replicas:
        one, trials = known.get(count), [t for t in found.trials if t.replicas == count]
        if one is None:
            verdict, text = Verdict.NOT_JUDGED, _why_unknown(trials)
        elif one.rate > 0:
            verdict, text = Verdict.PASS, f"{rate_text(one.rate)} requests/s, p99 {one.p99_ms or 0:.1f} ms"
        else:
            verdict, text = Verdict.FAIL, "no rate met the objective"
        yield Case(
            group=replicas_text(count),
            name=f"capacity at {within}",
            verdict=verdict,
            text=text,
            seconds=sum(t.seconds for t in trials),
        )


def _rate(found: Experiment, count: int, rate: float) -> Case:
    """One rate, over all rounds: one failure fails it."""
    trials = [t for t in found.trials if t.kind is Kind.OPEN and t.replicas == count and abs(t.offered - rate) <= 0.01]
    verdicts = [judge(trial, found.objective) for trial in trials]
    conclusive = [one for one in verdicts if one is not Verdict.INCONCLUSIVE]
    verdict = Verdict.FAIL if Verdict.FAIL in verdicts else Verdict.PASS if conclusive else Verdict.NOT_JUDGED
    shown = [trial for trial, one in zip(trials, verdicts, strict=True) if one is verdict]
    return Case(
        group=replicas_text(count),
        name=f"{rate:g} requests/s",
        verdict=verdict,
        text="; ".join(map(_figures, shown)) if shown else _why_unknown(trials),
        seconds=sum(t.seconds for t in trials),
    )


def _sizing(found: Experiment, rate: float) -> Case:
    sizing = found.sizing
    if sizing is None:
        verdict, text = Verdict.NOT_JUDGED, "no capacity is known"
    elif sizing.replicas is None:
        verdict, text = Verdict.FAIL, f"no number of replicas sustains it ({sizing.basis})"
    else:
        verdict, text = Verdict.PASS, f"{replicas_text(sizing.replicas)} ({sizing.basis})"
    return Case(group="sizing", name=f"for {rate:g} requests/s", verdict=verdict, text=text)


def _figures(trial: Trial) -> str:
    errors = f", {trial.error_rate:.2%} errors" if trial.errors else ""
    return f"trial {trial.number}: p99 {trial.latency.at(99).ms:.1f} ms of {trial.latency.count} responses{errors}"


def _why_unknown(trials: Sequence[Trial]) -> str:
    reasons = dict.fromkeys(reason for trial in trials for reason in trial.invalid)
    if reasons:
        return "; ".join(reasons)
    return "too few responses for a verdict" if trials else "not measured"
