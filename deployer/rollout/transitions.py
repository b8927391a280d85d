"""The state machine of a rollout: the reaction to each event, by course, and the resulting rollout."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from deployer.domain.rollout import Course, Event, OnFail, Phase, Rollout
from deployer.domain.serving import ModelState
from deployer.rollout.steps import Kind, Step, plan


class Reaction(StrEnum):
    """The reaction to an event."""

    NEXT = "next step"
    PAUSE = "paused"
    DEGRADE = "degraded"
    ABORT = "abort path"
    FAIL = "abort path or paused, as --on-fail says"
    SKIP = "continue at promote"
    GO = "the same step"
    REFUSE = "refused"


_TABLE: dict[Event, dict[Course, Reaction]] = {
    Event.PROVEN: dict.fromkeys(Course, Reaction.NEXT),
    Event.GATE_FAILED: dict.fromkeys(Course, Reaction.FAIL),
    Event.INCONCLUSIVE: dict.fromkeys(Course, Reaction.PAUSE),
    Event.UNPROVEN: {
        Course.FORWARD: Reaction.FAIL,
        Course.ABORT: Reaction.DEGRADE,
        Course.ROLLBACK: Reaction.DEGRADE,
    },
    Event.DRIFTED: {Course.FORWARD: Reaction.PAUSE, Course.ABORT: Reaction.ABORT, Course.ROLLBACK: Reaction.DEGRADE},
    Event.EXPIRED: {Course.FORWARD: Reaction.FAIL, Course.ABORT: Reaction.GO, Course.ROLLBACK: Reaction.GO},
    Event.PAUSE: dict.fromkeys(Course, Reaction.PAUSE),
    Event.RESUME: dict.fromkeys(Course, Reaction.GO),
    Event.PROMOTE: {Course.FORWARD: Reaction.SKIP, Course.ABORT: Reaction.REFUSE, Course.ROLLBACK: Reaction.REFUSE},
    Event.ABORT: {Course.FORWARD: Reaction.ABORT, Course.ABORT: Reaction.GO, Course.ROLLBACK: Reaction.ABORT},
}


def reaction(rollout: Rollout, event: Event) -> Reaction:
    """The reaction to an event in the current state of a rollout.

    Two cases differ from the table. A finished rollout accepts no event. And once stable has moved and is verified, a
    failure to unload the previous version does not lead to an abort.
    """
    if not rollout.open:
        return Reaction.REFUSE
    found = _TABLE[event][rollout.course]
    step = current(rollout)
    if rollout.course is Course.FORWARD and step is not None and step.kind is Kind.UNLOAD:
        if event is Event.UNPROVEN:
            return Reaction.DEGRADE
        if event in (Event.EXPIRED, Event.PROMOTE):
            return Reaction.GO
    if event is Event.PROMOTE and found is Reaction.SKIP and not promotable(rollout):
        return Reaction.REFUSE
    return found


def advance(rollout: Rollout, event: Event, *, reason: str = "", now: float) -> Rollout:
    """The rollout after an event. Errors: ValueError when the event is not allowed in its state."""
    what = reaction(rollout, event)
    if what is Reaction.FAIL:
        what = Reaction.ABORT if rollout.request.on_fail is OnFail.ABORT else Reaction.PAUSE
    failed = rollout.gate_failed or event is Event.GATE_FAILED
    if what is Reaction.REFUSE:
        raise ValueError(_why_not(rollout, event))
    if what is Reaction.NEXT:
        return _next(rollout, now)
    if what is Reaction.ABORT:
        return replace(
            rollout, course=Course.ABORT, position=0, begun=False, intended=None, phase=Phase.PROGRESSING,
            reason=reason, gate_failed=failed,
        )  # fmt: skip
    if what is Reaction.SKIP:
        return replace(
            rollout,
            position=max(rollout.position, _after_judging(rollout)),
            begun=False,
            phase=Phase.PROGRESSING,
            reason=reason,
        )
    if what is Reaction.GO:
        resumed = event is Event.RESUME
        return replace(
            rollout,
            phase=Phase.PROGRESSING,
            reason=reason if resumed else rollout.reason,
            counted_from=now if resumed else rollout.counted_from,
        )
    phase = Phase.PAUSED if what is Reaction.PAUSE else Phase.DEGRADED
    return replace(rollout, phase=phase, reason=reason, gate_failed=failed)


def begin(rollout: Rollout, found: ModelState, intended: ModelState, *, now: float) -> Rollout:
    """The rollout with its step begun, to be recorded before anything is written. `found` is the current state."""
    started = rollout.step_started if rollout.begun else now
    return replace(rollout, begun=True, left=found, intended=intended, phase=Phase.PROGRESSING, step_started=started)


def current(rollout: Rollout) -> Step | None:
    """The current or next step; None at the end."""
    steps = plan(rollout)
    return steps[rollout.position] if rollout.position < len(steps) else None


def position(rollout: Rollout, step: Step | None) -> str:
    """Where a step is in the current course: ` (3 of 14)`; empty for a step of another course."""
    steps = plan(rollout)
    return f" ({steps.index(step) + 1} of {len(steps)})" if step in steps and step is not None else ""


def soak_left(rollout: Rollout, now: float) -> float:
    """Seconds for which shares are still watched, if no window is extended; 0 when no gates are ahead."""
    ahead = sum(step.kind is Kind.JUDGE for step in plan(rollout)[rollout.position :])
    step = current(rollout)
    watching = step is not None and step.kind is Kind.JUDGE and rollout.begun
    passed = min(now - rollout.step_started, rollout.request.soak) if watching else 0.0
    return max(0.0, ahead * rollout.request.soak - passed)


def promotable(rollout: Rollout) -> bool:
    """Whether every replica serves the new version under its label, so that stable can move to it."""
    return rollout.course is Course.FORWARD and rollout.position > _position(rollout, Kind.LABEL)


def drift(rollout: Rollout, now: ModelState) -> str:
    """What another party changed: the current state is neither `left` nor `intended`; empty if nothing."""
    if rollout.course is Course.ABORT and rollout.position == 0:
        return ""  # The abort path can start from any state.
    # An interrupted or skipped step may have been written or not.
    expected = (rollout.left, rollout.intended) if rollout.intended is not None else (rollout.left,)
    if now in expected:
        return ""
    return difference(expected[-1], now)


def difference(expected: ModelState, now: ModelState) -> str:
    """The difference of two states of a model as text; empty if they are equal."""
    found = []
    if expected.versions != now.versions:
        found.append(f"versions are {list(now.versions)}, not {list(expected.versions)}")
    for label in sorted({*expected.labels, *now.labels}):
        if expected.labels.get(label) != now.labels.get(label):
            found.append(f"label {label} is {_shown(now.labels.get(label))}, not {_shown(expected.labels.get(label))}")
    for label in sorted({*expected.weights, *now.weights}):
        if expected.weights.get(label, 0) != now.weights.get(label, 0):
            found.append(f"weight of {label} is {now.weights.get(label, 0):g}, not {expected.weights.get(label, 0):g}")
    return "; ".join(found)


def _shown(version: int | None) -> str:
    return "absent" if version is None else f"version {version}"


def _next(rollout: Rollout, now: float) -> Rollout:
    after = replace(
        rollout, left=rollout.intended or rollout.left, intended=None, begun=False, position=rollout.position + 1
    )
    if current(after) is None:
        return replace(after, phase=Phase.HEALTHY, ended=now)
    return replace(after, phase=Phase.PROGRESSING)


def _position(rollout: Rollout, kind: Kind) -> int:
    return next(index for index, step in enumerate(plan(rollout)) if step.kind is kind)


def _after_judging(rollout: Rollout) -> int:
    """The position where a rollout continues if its shares and gates are skipped."""
    kinds = [step.kind for step in plan(rollout)]
    if Kind.JUDGE in kinds:
        return len(kinds) - kinds[::-1].index(Kind.JUDGE)
    return next(index for index, kind in enumerate(kinds) if kind in (Kind.SPREAD, Kind.SHIFT, Kind.PROMOTE))


def _why_not(rollout: Rollout, event: Event) -> str:
    if not rollout.open:
        return f"the rollout of {rollout.model} to version {rollout.request.to} has ended ({rollout.outcome})"
    if event is Event.PROMOTE and rollout.course is Course.FORWARD:
        return f"version {rollout.request.to} is not loaded and labelled on every replica yet"
    return f"the rollout is on its {rollout.course} path and does not accept {event}"
