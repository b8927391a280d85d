"""The verdicts of a rollout as test cases."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.domain.history import History
from deployer.domain.junit import Case, Suite
from deployer.domain.rollout import Phase, Rollout
from deployer.domain.verdict import Judgement, Verdict

NO_GATE = "gates"
"""The name of the case of a step to which no gate applies."""


def suite(history: History) -> Suite:
    """A case for each gate of each step that was judged, the last judgement where there were several; one for each gate
    that never was; and one for the outcome, since a version may also fail to load. Errors: ValueError without a
    rollout."""
    rollout = history.rollout
    if rollout is None:
        raise ValueError("there is no rollout")
    cases: dict[tuple[str, str], Case] = {}
    for entry in history.entries:
        step = entry.step.partition(": ")[2]
        for one in entry.judgements:
            cases[step, one.gate] = _case(rollout, step, one)
        if entry.event == Verdict.NOT_JUDGED:
            cases[step, NO_GATE] = _case(
                rollout, step, Judgement(gate=NO_GATE, verdict=Verdict.NOT_JUDGED, numbers=entry.text)
            )
    judged = {gate for _, gate in cases}
    missing = tuple(_never(rollout, gate) for gate in rollout.request.gates if gate not in judged)
    last = history.entries[-1].at if history.entries else rollout.started
    return Suite(
        name=f"rollout of {rollout.model} {rollout.previous} → {rollout.request.to}",
        cases=(*cases.values(), *missing, *_outcome(rollout)),
        started=rollout.started,
        seconds=max(0.0, (rollout.ended or last) - rollout.started),
    )


def _case(rollout: Rollout, step: str, one: Judgement) -> Case:
    return Case(group=f"{rollout.model}: {step}", name=one.gate, verdict=one.verdict, text=one.numbers)


def _never(rollout: Rollout, gate: str) -> Case:
    text = f"the rollout is {rollout.outcome or rollout.phase} and had not come to it"
    return Case(group=rollout.model, name=gate, verdict=Verdict.NOT_JUDGED, text=text)


def _outcome(rollout: Rollout) -> Iterator[Case]:
    """Pass if the version is stable now; not judged while the rollout runs."""
    name = "rolled back" if rollout.request.rollback else "promoted"
    if rollout.outcome == name:
        verdict = Verdict.PASS
    elif rollout.phase in (Phase.PENDING, Phase.PROGRESSING):
        verdict = Verdict.NOT_JUDGED
    else:
        verdict = Verdict.FAIL
    state = rollout.outcome or str(rollout.phase)
    text = f"{state}: {rollout.reason}" if rollout.reason else state
    yield Case(group=rollout.model, name=name, verdict=verdict, text=text)
