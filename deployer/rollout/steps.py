"""The steps of a rollout, and the state after each step.

A step changes either the replicas or the gateways, never both, and is verified before the next one starts. What a step
writes is derived from the current state, so it is idempotent.
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
    """Judge the facts of the version in the store; changes nothing."""
    TEACH = "teach"
    """Gateways get the feature spec of the version, but send it no traffic."""
    LOAD = "load"
    """Replicas load the version; labels are unchanged."""
    LABEL = "label"
    """Replicas: label canary points to the version."""
    TRY = "try"
    """Test the version without traffic: smoke request on every replica, labelled records, memory."""
    SHIFT = "shift"
    """Gateways: canary gets its share of traffic."""
    JUDGE = "judge"
    """Watch for the soak time and judge the gates."""
    SPREAD = "spread"
    """Replicas: one more replica has the version, and only this version."""
    PROMOTE = "promote"
    """Replicas: label stable points to the version."""
    SETTLE = "settle"
    """Gateways: all traffic to stable."""
    UNLOAD = "unload"
    """Replicas: remove label canary and unload the previous version."""
    WITHDRAW = "withdraw"
    """Gateways: canary gets no traffic."""
    RESTORE = "restore"
    """Replicas: load all versions of the start again; unload the new version unless it has a label."""
    UNLABEL = "unlabel"
    """Replicas: labels as at the start."""
    FORGET = "forget"
    """Gateways: labels and feature specs as at the start."""
    DROP = "drop"
    """Replicas: unload the version, if the rollout loaded it."""


JUDGING = frozenset([Kind.CHECK, Kind.TRY, Kind.JUDGE])
"""Steps that change nothing."""
AT_GATEWAYS = frozenset([Kind.TEACH, Kind.SHIFT, Kind.SETTLE, Kind.WITHDRAW, Kind.FORGET])
"""Steps that change the gateways; all others change the replicas."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; `share` is canary's share of the traffic during the step, in percent.

    `replicas` is how many replicas have the version after the step, if not all of them do.
    """

    kind: Kind
    share: float = 0.0
    replicas: int = 0

    def __str__(self) -> str:
        if self.kind is Kind.SPREAD:
            return f"{self.kind} {self.replicas}"
        return f"{self.kind} {self.share:g} %" if self.kind in (Kind.SHIFT, Kind.JUDGE) else str(self.kind)


_ABORT_STEPS = (Kind.WITHDRAW, Kind.RESTORE, Kind.UNLABEL, Kind.FORGET, Kind.DROP)


def plan(rollout: Rollout) -> tuple[Step, ...]:
    """The steps of a rollout's current course."""
    return _PLANS[rollout.course](rollout)


def _forward(rollout: Rollout) -> tuple[Step, ...]:
    if rollout.request.policy is Policy.RESOURCES:
        return _resource_preserving(rollout)
    first = [Step(kind=kind) for kind in (Kind.CHECK, Kind.TEACH, Kind.LOAD, Kind.LABEL, Kind.TRY)]
    shares = [Step(kind=kind, share=share) for share in rollout.request.shares for kind in (Kind.SHIFT, Kind.JUDGE)]
    last = rollout.request.shares[-1] if rollout.request.shares else 0.0
    return (*first, *shares, Step(kind=Kind.PROMOTE, share=last), Step(kind=Kind.SETTLE), Step(kind=Kind.UNLOAD))


def _resource_preserving(rollout: Rollout) -> tuple[Step, ...]:
    """One replica becomes canary; after it was judged, the others follow, and then the traffic.

    With a single replica there is no canary: the version is tested after it has replaced the previous one.
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
    """The minimum number of replicas with the version after a step, under the resource-preserving policy."""
    if step.kind is Kind.LOAD:
        return 1 if rollout.course is Course.FORWARD and rollout.replicas > 1 else 0
    return step.replicas


def _abort(rollout: Rollout) -> tuple[Step, ...]:
    return tuple(Step(kind=kind) for kind in _ABORT_STEPS)


def _rollback(rollout: Rollout) -> tuple[Step, ...]:
    needed = () if rollout.request.to in rollout.base.versions else (Kind.LOAD,)
    return tuple(Step(kind=kind) for kind in (Kind.TEACH, *needed, Kind.PROMOTE, Kind.SETTLE, Kind.UNLOAD))


_PLANS: dict[Course, Callable[[Rollout], tuple[Step, ...]]] = {
    Course.FORWARD: _forward,
    Course.ABORT: _abort,
    Course.ROLLBACK: _rollback,
}


def wanted(rollout: Rollout, step: Step, now: ModelState) -> ModelState:
    """The state after a step, if `now` is the state before."""
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


def gateway_labels(rollout: Rollout, step: Step, after: ModelState) -> dict[str, int]:
    """The labels that gateways get in a step that changes gateways."""
    if step.kind is Kind.TEACH and rollout.course is Course.FORWARD:
        return {**after.labels, CANARY: rollout.request.to}
    if step.kind is Kind.SETTLE:
        return {label: version for label, version in after.labels.items() if label != CANARY}
    return dict(after.labels)


def kept_specs(rollout: Rollout, step: Step, after: ModelState, *, before: int | None) -> frozenset[int] | None:
    """The versions whose feature specs gateways keep in a step that changes gateways; None to remove none.

    At its end a rollout keeps the specs of the served versions, and of the version that a rollback would return to, so
    that a rollback does not need the store. `before` is the version before the one that was stable at the start.
    """
    if step.kind is Kind.SETTLE:
        return frozenset([*after.versions, rollout.previous, rollout.request.to])
    if step.kind is Kind.FORGET:
        return frozenset([*rollout.base.versions, *([before] if before is not None else [])])
    return None


def required(rollout: Rollout, state: ModelState) -> frozenset[int]:
    """The versions that must be AVAILABLE on every replica for a step to be verified.

    On the abort path the new version is not among them: it may be the one that cannot be loaded.
    """
    if rollout.course is Course.ABORT:
        return frozenset(rollout.base.versions) & frozenset(state.versions) | frozenset(state.labels.values())
    return frozenset(state.versions)


def absent_labels(step: Step, state: ModelState) -> frozenset[str]:
    """Labels that must be removed on every replica after a step that ends in `state`."""
    if step.kind in (Kind.UNLOAD, Kind.UNLABEL, Kind.DROP):
        return frozenset([CANARY]) - state.labels.keys()
    return frozenset()


def new_versions(now: ModelState, after: ModelState) -> frozenset[int]:
    """Versions that a step loads and that no replica should have before.

    A replica that still has one has not read the configuration that removed it. AVAILABLE would then not show that it
    has read the configuration that loads it again: the replica may miss that one, and reject all later ones.
    """
    return frozenset(after.versions) - frozenset(now.versions)


def absent_versions(rollout: Rollout, step: Step, state: ModelState) -> frozenset[int]:
    """Versions that must be unloaded on every replica after a step that ends in `state`.

    If one still looked AVAILABLE because the configuration has not been read yet, the next rollout would consider it
    loaded, and move a label to a version that is about to be unloaded.
    """
    if step.kind not in (Kind.UNLOAD, Kind.DROP):
        return frozenset()
    return frozenset([rollout.previous, rollout.request.to, *rollout.base.versions]) - frozenset(state.versions)


def _state(now: ModelState, **changes: object) -> ModelState:
    fields: dict[str, object] = {"versions": now.versions, "labels": now.labels, "weights": now.weights, **changes}
    return ModelState(**fields)  # type: ignore[arg-type]


def _withdrawn(rollout: Rollout, now: ModelState) -> ModelState:
    """Canary without traffic. Labels that were removed manually cannot get any; the remaining labels get all."""
    weights = {label: w for label, w in without_canary(rollout.base).weights.items() if label in now.labels}
    if not sum(weights.values()):
        weights = {label: 100.0 for label in now.labels if label != CANARY}
    return _state(now, weights=weights)


def _restored(rollout: Rollout, now: ModelState) -> ModelState:
    """The new version stays only if it has a label: without one it may be a version that crashes every server."""
    kept = {*rollout.base.versions, *now.labels.values()}
    versions = tuple(version for version in now.versions if version in kept or version != rollout.request.to)
    return _state(now, versions=(*versions, *rollout.base.versions))


def _unloaded(rollout: Rollout, now: ModelState) -> ModelState:
    labels = {label: version for label, version in now.labels.items() if label != CANARY}
    removed = set() if rollout.request.keep_previous else {rollout.previous} - set(labels.values())
    return _state(now, versions=tuple(version for version in now.versions if version not in removed), labels=labels)
