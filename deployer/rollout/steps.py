"""The steps of a rollout, and the state that each one leaves behind.

A step changes either the replicas or the gateways, never both, and is proven before the next one starts. What a step
writes follows from the state in force, so making it twice is making it once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from deployer.domain.rollout import CANARY, Course, Policy, Rollout, shared_weights, without_canary
from deployer.domain.serving import STABLE, ModelState


class Kind(StrEnum):
    """What a step does."""

    CHECK = "check"
    """Judge what the store knows of the version; touch nothing."""
    TEACH = "teach"
    """Gateways learn the feature spec of the version, and send it nothing."""
    LOAD = "load"
    """Replicas load the version; labels stay."""
    LABEL = "label"
    """Replicas: canary stands for the version."""
    TRY = "try"
    """Ask the version itself, without traffic: smoke request on every replica, labelled records, memory."""
    SHIFT = "shift"
    """Gateways give canary its share."""
    JUDGE = "judge"
    """Watch for the soak time and judge the gates."""
    SPREAD = "spread"
    """Replicas: one more of them holds the version, and it only."""
    PROMOTE = "promote"
    """Replicas: stable stands for the version."""
    SETTLE = "settle"
    """Gateways: all traffic to stable."""
    UNLOAD = "unload"
    """Replicas: canary is gone and the previous version leaves memory."""
    WITHDRAW = "withdraw"
    """Gateways: canary gets nothing."""
    RESTORE = "restore"
    """Replicas: every version of the start is in memory again, and the new one is not unless it has a label."""
    UNLABEL = "unlabel"
    """Replicas: labels as they were."""
    FORGET = "forget"
    """Gateways: labels and feature specs as they were."""
    DROP = "drop"
    """Replicas: the version leaves memory, if the rollout brought it."""


JUDGING = frozenset([Kind.CHECK, Kind.TRY, Kind.JUDGE])
"""Steps that change nothing."""
AT_GATEWAYS = frozenset([Kind.TEACH, Kind.SHIFT, Kind.SETTLE, Kind.WITHDRAW, Kind.FORGET])
"""Steps that change the gateways; all others change the replicas."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; `share` is canary's part of the traffic while it is made, in percent.

    `replicas` is how many hold the version once it is made, where that is not all of them.
    """

    kind: Kind
    share: float = 0.0
    replicas: int = 0

    def __str__(self) -> str:
        if self.kind is Kind.SPREAD:
            return f"{self.kind} {self.replicas}"
        return f"{self.kind} {self.share:g} %" if self.kind in (Kind.SHIFT, Kind.JUDGE) else str(self.kind)


_BACK = (Kind.WITHDRAW, Kind.RESTORE, Kind.UNLABEL, Kind.FORGET, Kind.DROP)


def plan(rollout: Rollout) -> tuple[Step, ...]:
    """The steps of the course that a rollout is on."""
    return _PLANS[rollout.course](rollout)


def _forward(rollout: Rollout) -> tuple[Step, ...]:
    if rollout.request.policy is Policy.RESOURCES:
        return _emptying(rollout)
    first = [Step(kind=kind) for kind in (Kind.CHECK, Kind.TEACH, Kind.LOAD, Kind.LABEL, Kind.TRY)]
    shares = [Step(kind=kind, share=share) for share in rollout.request.shares for kind in (Kind.SHIFT, Kind.JUDGE)]
    last = rollout.request.shares[-1] if rollout.request.shares else 0.0
    return (*first, *shares, Step(kind=Kind.PROMOTE, share=last), Step(kind=Kind.SETTLE), Step(kind=Kind.UNLOAD))


def _emptying(rollout: Rollout) -> tuple[Step, ...]:
    """One replica becomes canary; the others follow when it was judged, and traffic follows them.

    A single replica has no canary: it is tried once it holds the version, with nobody beside it.
    """
    count = rollout.replicas
    first = [Step(kind=kind) for kind in (Kind.CHECK, Kind.TEACH, Kind.LOAD, Kind.LABEL)]
    last = [Step(kind=Kind.SETTLE), Step(kind=Kind.UNLOAD)]
    if count < 2:
        return (*first, Step(kind=Kind.PROMOTE), Step(kind=Kind.TRY), *last)
    shares = rollout.request.shares
    judged = [Step(kind=kind, share=share) for share in shares for kind in (Kind.SHIFT, Kind.JUDGE)]
    reached = max(shares, default=0.0)
    spread: list[Step] = []
    for moved in range(2, count):
        spread.append(Step(kind=Kind.SPREAD, share=reached, replicas=moved))
        reached = max(reached, round(100 * moved / count, 1))
        spread.append(Step(kind=Kind.SHIFT, share=reached))
    all_ = [Step(kind=Kind.SHIFT, share=100.0), Step(kind=Kind.PROMOTE, share=100.0)]
    return (*first, Step(kind=Kind.TRY), *judged, *spread, *all_, *last)


def canary_replicas(rollout: Rollout, step: Step) -> int:
    """How many replicas at least hold the version after a step, where no replica holds two."""
    if step.kind is Kind.LOAD:
        return 1 if rollout.course is Course.FORWARD and rollout.replicas > 1 else 0
    return step.replicas


def _abort(rollout: Rollout) -> tuple[Step, ...]:
    return tuple(Step(kind=kind) for kind in _BACK)


def _rollback(rollout: Rollout) -> tuple[Step, ...]:
    needed = () if rollout.request.to in rollout.base.versions else (Kind.LOAD,)
    return tuple(Step(kind=kind) for kind in (Kind.TEACH, *needed, Kind.PROMOTE, Kind.SETTLE, Kind.UNLOAD))


_PLANS: dict[Course, Callable[[Rollout], tuple[Step, ...]]] = {
    Course.FORWARD: _forward,
    Course.ABORT: _abort,
    Course.ROLLBACK: _rollback,
}


def wanted(rollout: Rollout, step: Step, now: ModelState) -> ModelState:
    """What is to be in force after a step that is made while `now` is."""
    base, to = without_canary(rollout.base), rollout.request.to
    if step.kind in JUDGING:
        return now
    return {
        Kind.TEACH: lambda: _state(now, weights=base.weights),
        Kind.LOAD: lambda: _state(now, versions=(*now.versions, to)),
        Kind.LABEL: lambda: _state(now, labels={**now.labels, CANARY: to}),
        Kind.SHIFT: lambda: _state(now, weights=shared_weights(base.weights, step.share)),
        Kind.SPREAD: lambda: now,
        Kind.PROMOTE: lambda: _state(now, labels={**now.labels, STABLE: to}),
        Kind.SETTLE: lambda: _state(now, weights=base.weights),
        Kind.UNLOAD: lambda: _unloaded(rollout, now),
        Kind.WITHDRAW: lambda: _withdrawn(rollout, now),
        Kind.RESTORE: lambda: _restored(rollout, now),
        Kind.UNLABEL: lambda: _state(now, labels=rollout.base.labels, weights=base.weights),
        Kind.FORGET: lambda: _state(now, weights=rollout.base.weights),
        Kind.DROP: lambda: rollout.base,
    }[step.kind]()


def taught(rollout: Rollout, step: Step, after: ModelState) -> dict[str, int]:
    """What the gateways are told about labels in a step that changes them."""
    if step.kind is Kind.TEACH and rollout.course is Course.FORWARD:
        return {**after.labels, CANARY: rollout.request.to}
    if step.kind is Kind.SETTLE:
        return {label: version for label, version in after.labels.items() if label != CANARY}
    return dict(after.labels)


def remembered(rollout: Rollout, step: Step, after: ModelState, *, before: int | None) -> frozenset[int] | None:
    """The versions whose feature specs gateways keep in a step that changes them; None when they forget none.

    At its end a rollout leaves those of what is served, and of the version that a rollback from there goes back to:
    that one shall need no look into the store. `before` is that version for the one which was stable at the start.
    """
    if step.kind is Kind.SETTLE:
        return frozenset([*after.versions, rollout.previous, rollout.request.to])
    if step.kind is Kind.FORGET:
        return frozenset([*rollout.base.versions, *([before] if before is not None else [])])
    return None


def required(rollout: Rollout, state: ModelState) -> frozenset[int]:
    """The versions that every replica must have AVAILABLE for a step to be proven.

    On the way back the new version is not among them: it may be the very one that cannot be loaded.
    """
    if rollout.course is Course.ABORT:
        return frozenset(rollout.base.versions) & frozenset(state.versions) | frozenset(state.labels.values())
    return frozenset(state.versions)


def gone(step: Step, state: ModelState) -> frozenset[str]:
    """Labels that no replica may know any more once a step that leaves `state` is proven."""
    if step.kind in (Kind.UNLOAD, Kind.UNLABEL, Kind.DROP):
        return frozenset([CANARY]) - state.labels.keys()
    return frozenset()


def arriving(now: ModelState, after: ModelState) -> frozenset[int]:
    """Versions that a step asks for while nobody is meant to have them; no replica may hold one when it does.

    A replica that still does has not read the configuration that took it away. To be AVAILABLE would be no proof then
    that it has read the one that brings it back: it may skip that one, and refuse every later one.
    """
    return frozenset(after.versions) - frozenset(now.versions)


def unloaded(rollout: Rollout, step: Step, state: ModelState) -> frozenset[int]:
    """Versions that must have left every replica once a step that leaves `state` is proven.

    One that still looks AVAILABLE because nobody has read the configuration yet would be taken for loaded by the next
    rollout, which then moves a label to a version that is about to go.
    """
    if step.kind not in (Kind.UNLOAD, Kind.DROP):
        return frozenset()
    return frozenset([rollout.previous, rollout.request.to, *rollout.base.versions]) - frozenset(state.versions)


def _state(now: ModelState, **changes: object) -> ModelState:
    fields: dict[str, object] = {"versions": now.versions, "labels": now.labels, "weights": now.weights, **changes}
    return ModelState(**fields)  # type: ignore[arg-type]


def _withdrawn(rollout: Rollout, now: ModelState) -> ModelState:
    """Only the traffic is taken away. Labels that somebody removed by hand cannot get any; what is left takes all."""
    weights = {label: w for label, w in without_canary(rollout.base).weights.items() if label in now.labels}
    if not sum(weights.values()):
        weights = {label: 100.0 for label in now.labels if label != CANARY}
    return _state(now, weights=weights)


def _restored(rollout: Rollout, now: ModelState) -> ModelState:
    """A version without a label may be one that ends whichever server loads it: none could prove anything before."""
    kept = {*rollout.base.versions, *now.labels.values()}
    versions = tuple(version for version in now.versions if version in kept or version != rollout.request.to)
    return _state(now, versions=(*versions, *rollout.base.versions))


def _unloaded(rollout: Rollout, now: ModelState) -> ModelState:
    labels = {label: version for label, version in now.labels.items() if label != CANARY}
    leaving = set() if rollout.request.keep_previous else {rollout.previous} - set(labels.values())
    return _state(now, versions=tuple(version for version in now.versions if version not in leaving), labels=labels)
