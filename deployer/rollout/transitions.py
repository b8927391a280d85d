"""The table of a rollout: what each event leads to, by course, and the rollout that comes out of it."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from deployer.domain.rollout import Course, Event, OnFail, Phase, Rollout
from deployer.domain.serving import ModelState
from deployer.rollout.steps import Kind, Step, plan


class Reaction(StrEnum):
    """What an event leads to."""

    NEXT = "next step"
    PAUSE = "paused"
    DEGRADE = "degraded"
    ABORT = "way back"
    FAIL = "way back or paused, as --on-fail says"
    SKIP = "on to promote"
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
    """What an event leads to where a rollout stands.

    Two places differ from the table. What is over takes no event. And when stable is moved and proven, the step that
    frees memory is no reason to go back.
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
    """The rollout after an event. Errors: ValueError when the event cannot be meant where it stands."""
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
    """The rollout with its step under way, to be recorded before anything is written. `found` is in force then."""
    started = rollout.step_started if rollout.begun else now
    return replace(rollout, begun=True, left=found, intended=intended, phase=Phase.PROGRESSING, step_started=started)


def current(rollout: Rollout) -> Step | None:
    """The step that is under way or comes next; None at the end."""
    steps = plan(rollout)
    return steps[rollout.position] if rollout.position < len(steps) else None


def promotable(rollout: Rollout) -> bool:
    """Whether every replica has proven the label of the new version, so that stable may follow."""
    return rollout.course is Course.FORWARD and rollout.position > _position(rollout, Kind.LABEL)


def drift(rollout: Rollout, now: ModelState) -> str:
    """What somebody else changed: the state in force is neither what was left nor what the step writes; else empty."""
    if rollout.course is Course.ABORT and rollout.position == 0:
        return ""  # The way back starts from anything.
    # A step that was cut short, also by an order to skip it, may have been written or not.
    meant = (rollout.left, rollout.intended) if rollout.intended is not None else (rollout.left,)
    if now in meant:
        return ""
    return difference(meant[-1], now)


def difference(meant: ModelState, now: ModelState) -> str:
    """Two states of a model in one sentence part; empty when they are equal."""
    found = []
    if meant.versions != now.versions:
        found.append(f"versions are {list(now.versions)}, not {list(meant.versions)}")
    for label in sorted({*meant.labels, *now.labels}):
        if meant.labels.get(label) != now.labels.get(label):
            found.append(f"label {label} is {_shown(now.labels.get(label))}, not {_shown(meant.labels.get(label))}")
    for label in sorted({*meant.weights, *now.weights}):
        if meant.weights.get(label, 0) != now.weights.get(label, 0):
            found.append(f"weight of {label} is {now.weights.get(label, 0):g}, not {meant.weights.get(label, 0):g}")
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
    """Where a rollout goes on when its shares and gates are skipped."""
    kinds = [step.kind for step in plan(rollout)]
    if Kind.JUDGE in kinds:
        return len(kinds) - kinds[::-1].index(Kind.JUDGE)
    return next(index for index, kind in enumerate(kinds) if kind in (Kind.SPREAD, Kind.SHIFT, Kind.PROMOTE))


def _why_not(rollout: Rollout, event: Event) -> str:
    if not rollout.open:
        return f"the rollout of {rollout.model} to version {rollout.request.to} is over ({rollout.outcome})"
    if event is Event.PROMOTE and rollout.course is Course.FORWARD:
        return f"version {rollout.request.to} is not loaded and labelled on every replica yet"
    return f"the rollout is on its way back ({rollout.course}) and takes no {event}"
