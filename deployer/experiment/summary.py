"""What an experiment says, in sentences: the headline, and what must be known before believing it."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.domain.verdict import Verdict
from deployer.experiment.capacity import judge, times_text
from deployer.experiment.results import Capacity, Objective, Trial
from deployer.experiment.usl import Fit


def headline(capacities: Sequence[Capacity], objective: Objective) -> str:
    """The one sentence that a reader with ten seconds takes home."""
    within = f"p99 ≤ {objective.p99_ms:g} ms"
    carried = [c for c in capacities if c.rate > 0]
    if not carried:
        return f"No rate was sustained at {within}." if capacities else "No valid trial: nothing can be said."
    first, last = carried[0], carried[-1]
    sentence = f"{replicas_text(last.replicas)} {_verb(last.replicas)} {rate_text(last.rate)} requests/s at {within}"
    if last is first:
        return sentence + "."
    base = "one replica" if first.replicas == 1 else replicas_text(first.replicas)
    return f"{sentence}: {times_text(last, first)} {base}."


def scaling_notes(fit: Fit | None, points: int) -> tuple[str, ...]:
    """What the fit says about scaling, or why there is none."""
    if fit is None:
        few = "One point is" if points == 1 else f"{points} points are"
        return (f"{few} too few to fit a scaling law: the ratios above are all that is known.",)
    sigma, kappa = fit.contention, fit.coherence
    notes = []
    if fit.parameters == 2:
        notes.append(
            f"Fitted without coherence (κ), as {fit.points} points cannot bear three parameters: contention σ = "
            f"{sigma.value:.3f} ({sigma.low:.3f} to {sigma.high:.3f})."
        )
    else:
        notes.append(
            f"Contention σ = {sigma.value:.3f} ({sigma.low:.3f} to {sigma.high:.3f}), coherence κ = {kappa.value:.4f} "
            f"({kappa.low:.4f} to {kappa.high:.4f}), from {fit.points} points."
        )
        if not fit.coherence_is_distinct:
            notes.append("κ cannot be told from 0: nothing here shows that more replicas would ever carry less.")
        elif fit.peak is not None:
            notes.append(f"Throughput would peak at about {fit.peak} replicas.")
    if sigma.low > 0:
        notes.append("σ is clear of 0: replicas wait for something that they share.")
    return tuple(notes)


def balancing(gateway: Sequence[Capacity], direct: Sequence[Capacity]) -> str:
    """What a second sweep through one plain channel shows beside that through the gateways."""
    ways = [_by_count(gateway), _by_count(direct)]
    counts = sorted(ways[0].keys() & ways[1].keys())
    if len(counts) < 2:
        return "The two sweeps have too few replica counts in common for a comparison."
    few, many = counts[0], counts[-1]
    through, past = (way[many] / way[few] for way in ways)
    text = (
        f"From {few} to {replicas_text(many)} the gateways carry {through:.2f}× as much, "
        f"one gRPC channel to the Service {past:.2f}×."
    )
    if past < 1 + (many / few - 1) / 3 < through:
        return f"{text} A channel is one connection, and the Service pins it to one pod; a gateway spreads over all."
    return text


def _by_count(capacities: Sequence[Capacity]) -> dict[int, float]:
    return {c.replicas: c.ceiling for c in capacities if c.ceiling > 0}


def reservations(
    trials: Sequence[Trial], capacities: Sequence[Capacity], objective: Objective, cpu_limit: str
) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = []
    invalid = sum(not t.valid for t in trials)
    if invalid:
        notes.append(f"{invalid} of {len(trials)} trials are invalid and were not used; the table says why.")
    saturated = [c.replicas for c in capacities if c.machine_saturated]
    if saturated:
        counts = replicas_text(saturated[0]) if len(saturated) == 1 else f"{', '.join(map(str, saturated))} replicas"
        notes.append(
            f"The machine itself had no CPU to spare with {counts}: capacity there is the machine's, and more replicas "
            "on it carry no more."
        )
    if cpu_limit in ("", "none") and len(capacities) > 1:
        notes.append(
            "Replicas had no CPU limit, so they shared the cores of one machine; scaling cannot show beyond these."
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
                f"{rate_text(c.rate)} held: the system was not steady; run longer or with more rounds."
            )
        if c.broke_at is None and c.rate > 0:
            notes.append(f"With {replicas_text(c.replicas)} no rate broke the objective: capacity is at least this.")
    for trial in trials:
        if "wrong answer" in trial.errors:
            notes.append(
                f"Answers under load differed from those without load (trial {trial.number}): {trial.first_error}"
            )
            break
    return notes


def replicas_text(count: int) -> str:
    """A number of replicas in words: "1 replica"."""
    return "1 replica" if count == 1 else f"{count} replicas"


def _verb(count: int) -> str:
    return "carries" if count == 1 else "carry"


def rate_text(rate: float) -> str:
    """A rate, to about three digits."""
    return f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}"
