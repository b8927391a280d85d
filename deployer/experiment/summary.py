"""The result of an experiment in sentences: headline, limitations, and scaling."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from deployer.domain.verdict import Verdict
from deployer.experiment.capacity import better_than_ideal, judge, times_text
from deployer.experiment.results import Capacity, Objective, Trial
from deployer.experiment.usl import Fit


def headline(capacities: Sequence[Capacity], objective: Objective) -> str:
    """The result in one sentence."""
    within = f"p99 ≤ {objective.p99_ms:g} ms"
    sustained = [c for c in capacities if c.rate > 0]
    if not sustained:
        return f"No rate was sustained at {within}." if capacities else "No valid trial, so no result."
    first, last = sustained[0], sustained[-1]
    sentence = f"{replicas_text(last.replicas)} {_verb(last.replicas)} {rate_text(last.rate)} requests/s at {within}"
    if last is first:
        return sentence + "."
    base = "one replica" if first.replicas == 1 else replicas_text(first.replicas)
    if better_than_ideal(last, first):
        ideal = last.replicas / first.replicas
        return f"{sentence}: more than {ideal:.3g}× {base}, which is noise or a busy first trial, not scaling."
    return f"{sentence}: {times_text(last, first)} {base}."


def beyond_ideal(capacities: Sequence[Capacity], trials: Sequence[Trial], cores: int) -> tuple[str, ...]:
    """Why capacities are higher than their replicas can explain, a sentence each. `cores` are those of the machine."""
    sustained = [c for c in capacities if c.rate > 0]
    if not sustained:
        return ()
    first, notes = sustained[0], []
    for c in sustained[1:]:
        if not better_than_ideal(c, first):
            continue
        before, after = (_others(trials, one.replicas, cores) for one in (first, c))
        if before is not None and after is not None and before - after > _NOTABLE_SHARE * cores:
            why = (
                f"other processes used {before:.1f} of {cores} cores during the trials with "
                f"{replicas_text(first.replicas)}, and {after:.1f} later"
            )
        else:
            why = "this is noise, or the first trials were slowed down by something that no CPU counter shows"
        notes.append(
            f"{replicas_text(c.replicas)} {_verb(c.replicas)} {c.rate / first.rate:.1f}× as much as "
            f"{replicas_text(first.replicas)}, but cannot do more than {c.replicas / first.replicas:.3g}×: {why}. "
            "Measure again on an idle machine, with --rounds 3."
        )
    return tuple(notes)


_NOTABLE_SHARE = 0.15
"""Of all cores: so much more use by others slows a trial down."""


def _others(trials: Sequence[Trial], replicas: int, cores: int) -> float | None:
    """Cores that processes outside the experiment used on average during the trials of a count; None if unknown."""
    known = [
        t.machine_busy * cores - sum(use.cores for use in t.cpu) - t.generator_cores
        for t in trials
        if t.replicas == replicas and t.machine_busy is not None and t.cpu
    ]
    return max(0.0, fmean(known)) if known else None


def scaling_notes(fit: Fit | None, points: int) -> tuple[str, ...]:
    """What the fit says about scaling, or why there is no fit."""
    if fit is None:
        few = "One point is" if points == 1 else f"{points} points are"
        return (f"{few} too few to fit a scaling law; only the ratios above are known.",)
    sigma, kappa = fit.contention, fit.coherence
    notes = []
    if fit.parameters == 2:
        notes.append(
            f"Fitted without coherence (κ), as {fit.points} points are too few for three parameters: contention σ = "
            f"{sigma.value:.3f} ({sigma.low:.3f} to {sigma.high:.3f})."
        )
    else:
        notes.append(
            f"Contention σ = {sigma.value:.3f} ({sigma.low:.3f} to {sigma.high:.3f}), coherence κ = {kappa.value:.4f} "
            f"({kappa.low:.4f} to {kappa.high:.4f}), from {fit.points} points."
        )
        if not fit.coherence_is_distinct:
            notes.append(
                "κ is not distinguishable from 0: there is no evidence that more replicas would reduce throughput."
            )
        elif fit.peak is not None:
            notes.append(f"Throughput would peak at about {fit.peak} replicas.")
    if sigma.low > 0:
        notes.append("σ is above 0: replicas wait for a shared resource.")
    return tuple(notes)


def balancing(gateway: Sequence[Capacity], direct: Sequence[Capacity]) -> str:
    """Comparison of the sweep through the gateways with the second sweep through one plain channel."""
    ceilings = [_by_count(gateway), _by_count(direct)]
    counts = sorted(ceilings[0].keys() & ceilings[1].keys())
    if len(counts) < 2:
        return "The two sweeps have too few replica counts in common for a comparison."
    few, many = counts[0], counts[-1]
    gateways, channel = (by_count[many] / by_count[few] for by_count in ceilings)
    text = (
        f"From {few} to {replicas_text(many)} throughput is {gateways:.2f}× as high through the gateways, "
        f"{channel:.2f}× through one gRPC channel to the Service."
    )
    if channel < 1 + (many / few - 1) / 3 < gateways:
        return f"{text} A channel is one connection, which goes to one pod; a gateway balances over all pods."
    return text


def _by_count(capacities: Sequence[Capacity]) -> dict[int, float]:
    return {c.replicas: c.ceiling for c in capacities if c.ceiling > 0}


def limitations(
    trials: Sequence[Trial], capacities: Sequence[Capacity], objective: Objective, cpu_limit: str
) -> list[str]:
    """Limitations of the figures."""
    notes = []
    invalid = sum(not t.valid for t in trials)
    if invalid:
        notes.append(f"{invalid} of {len(trials)} trials are invalid and were not used; the table says why.")
    saturated = [c.replicas for c in capacities if c.machine_saturated]
    if saturated:
        counts = replicas_text(saturated[0]) if len(saturated) == 1 else f"{', '.join(map(str, saturated))} replicas"
        notes.append(
            f"The machine had no spare CPU with {counts}: this is the capacity of the machine, and more replicas on it "
            "sustain no more."
        )
    if cpu_limit in ("", "none") and len(capacities) > 1:
        notes.append(
            "Replicas had no CPU limit and shared the cores of one machine, so scaling is limited by these cores."
        )
    for c in capacities:
        lower = [
            t.offered
            for t in trials
            if t.replicas == c.replicas and 0 < t.offered < c.rate and judge(t, objective) is Verdict.FAIL
        ]
        if lower:
            notes.append(
                f"With {replicas_text(c.replicas)} a lower rate ({rate_text(min(lower))} requests/s) failed although "
                f"{rate_text(c.rate)} passed: there was no steady state; run longer or with more rounds."
            )
        if c.broke_at is None and c.rate > 0:
            notes.append(
                f"With {replicas_text(c.replicas)} no rate missed the objective: the capacity is at least this."
            )
    for trial in trials:
        if "wrong answer" in trial.errors:
            notes.append(
                f"Responses under load differed from those without load (trial {trial.number}): {trial.first_error}"
            )
            break
    return notes


def replicas_text(count: int) -> str:
    """A number of replicas in words: "1 replica"."""
    return "1 replica" if count == 1 else f"{count} replicas"


def _verb(count: int) -> str:
    return "sustains" if count == 1 else "sustain"


def rate_text(rate: float) -> str:
    """A rate with about three digits."""
    return f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}"
