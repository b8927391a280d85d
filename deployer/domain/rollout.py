"""A rollout as data: the request, its current state, and what was measured so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from deployer.domain.serving import STABLE, ModelState
from deployer.domain.verdict import Judgement

CANARY = "canary"
"""The label of the version that is being rolled out."""


class Phase(StrEnum):
    """The overall state of a rollout."""

    PENDING = "Pending"
    """Recorded; nothing has changed yet."""
    PROGRESSING = "Progressing"
    """A step is in progress. If no deployer is running it, that deployer was killed; `resume` continues."""
    PAUSED = "Paused"
    """Stopped between two steps; the user decides: resume, promote or abort."""
    HEALTHY = "Healthy"
    """Finished (promoted, aborted or rolled back), and verified on every replica and gateway."""
    DEGRADED = "Degraded"
    """Stopped; the abort path or rollback path could not be verified. The reason says where."""


class Course(StrEnum):
    """The path of a rollout. Each has its own list of steps; `position` is the index in that list."""

    FORWARD = "forward"
    ABORT = "abort"
    ROLLBACK = "rollback"


class OnFail(StrEnum):
    """What to do after a failed gate, a version that does not load, or when `max_duration` is over."""

    ABORT = "abort"
    PAUSE = "pause"


class Policy(StrEnum):
    """What a rollout preserves: availability or memory."""

    AVAILABILITY = "availability-preserving"
    """Every replica holds both versions until the end; all replicas serve all the time."""
    RESOURCES = "resource-preserving"
    """No replica holds two versions: each is emptied before it loads the new one, while the others serve."""


class Event(StrEnum):
    """What can happen to a rollout."""

    PROVEN = "proven"
    """The step is done and verified."""
    GATE_FAILED = "gate failed"
    INCONCLUSIVE = "inconclusive"
    """A window has ended without enough evidence for pass or fail."""
    UNPROVEN = "unproven"
    """Replicas or gateways did not reach the state of the step: timed out, or they never can."""
    DRIFTED = "drifted"
    """Somebody else changed the configuration."""
    EXPIRED = "expired"
    """`max_duration` has passed."""
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """The request for a rollout. Times in seconds, `shares` in percent (0 only mirrors), `gates` as text.

    `rollback` skips canary and gates. An inconclusive window may grow to `patience` times `soak`. `labelled` is a JSONL
    file of records with their expected values; `load` requests a second from it are sent to both labels while a window
    is open (0: none). `no_gates` allows shares of traffic that no gate judges. `accept_downtime` allows emptying the
    only replica.
    Errors at construction: ValueError for shares that do not increase within 0 to 100, and bounds below 0.
    """

    to: int
    shares: tuple[float, ...] = (5.0, 25.0, 50.0)
    soak: float = 20.0
    gates: tuple[str, ...] = ()
    min_samples: int = 50
    patience: float = 3.0
    labelled: str = ""
    load: float = 0.0
    on_fail: OnFail = OnFail.ABORT
    max_duration: float = 3600.0
    timeout: float = 120.0
    keep_previous: bool = False
    rollback: bool = False
    policy: Policy = Policy.AVAILABILITY
    accept_downtime: bool = False
    no_gates: bool = False

    def __post_init__(self) -> None:
        if self.to < 1:
            raise ValueError(f"version {self.to}: versions start at 1")
        if list(self.shares) != sorted(set(self.shares)) or any(not 0 <= share <= 100 for share in self.shares):
            raise ValueError(f"steps {list(self.shares)} must increase, from 0 (mirror only) up to 100 percent")
        if self.soak < 0 or self.load < 0 or self.min_samples < 0 or self.max_duration <= 0 or self.timeout <= 0:
            raise ValueError("soak, load and min_samples are 0 or more; timeout and max_duration above 0")
        if self.keep_previous and self.policy is Policy.RESOURCES:
            raise ValueError(
                f"with the {self.policy} policy a replica never holds two versions, so the previous one cannot be kept"
            )


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured during the rollout, in bytes and seconds; None if it was not measured."""

    size: float | None = None
    parity: float | None = None
    skew: float | None = None
    load_time: float | None = None
    memory: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """The state of one rollout.

    `base` is the serving state at the start; an abort returns to it. `left` is the state before the current step, and
    `intended` the state that this step writes: any other state was written by another party. `begun`: the step at
    `position` was started. `verdicts` are the latest ones. Times are seconds since 1970; `max_duration` counts from
    `counted_from`, the start or the last resume. `replicas` is the number of replicas at the start.
    """

    id: str
    model: str
    base: ModelState
    request: RolloutRequest
    who: str
    started: float
    left: ModelState
    intended: ModelState | None = None
    course: Course = Course.FORWARD
    position: int = 0
    begun: bool = False
    phase: Phase = Phase.PENDING
    reason: str = ""
    gate_failed: bool = False
    verdicts: tuple[Judgement, ...] = ()
    found: Found = field(default_factory=Found)
    step_started: float = 0.0
    counted_from: float = 0.0
    replicas: int = 1
    ended: float = 0.0

    @property
    def previous(self) -> int:
        """The version that was stable at the start."""
        return self.base.labels[STABLE]

    @property
    def outcome(self) -> str:
        """How it ended: "promoted", "aborted" or "rolled back"; empty while it is open."""
        if self.phase is not Phase.HEALTHY:
            return ""
        return {Course.FORWARD: "promoted", Course.ABORT: "aborted", Course.ROLLBACK: "rolled back"}[self.course]

    @property
    def open(self) -> bool:
        """Whether the rollout is not finished."""
        return self.phase is not Phase.HEALTHY

    def with_found(self, **figures: float | None) -> Rollout:
        """A copy with these measurements."""
        return replace(self, found=replace(self.found, **figures))


def refusal(base: ModelState, request: RolloutRequest) -> str:
    """Why no rollout can start from this state; empty if one can."""
    if STABLE not in base.labels:
        return f"no version has the label {STABLE}, so a rollout has nothing to compare with or return to"
    if base.labels[STABLE] == request.to:
        return f"version {request.to} is already {STABLE}"
    if request.policy is Policy.RESOURCES and set(base.versions) != {base.labels[STABLE]}:
        return f"versions {list(base.versions)} are in memory; the {request.policy} policy allows one at a time"
    other = base.labels.get(CANARY)
    if other is not None and base.weights.get(CANARY, 0) > 0:
        return f"version {other} is {CANARY} and gets traffic, but no rollout is open"
    return ""


def without_canary(state: ModelState) -> ModelState:
    """The state without the canary label and its weight; without any other weight, stable gets all traffic."""
    labels = {label: version for label, version in state.labels.items() if label != CANARY}
    weights = {label: weight for label, weight in state.weights.items() if label != CANARY}
    return ModelState(versions=state.versions, labels=labels, weights=weights or {STABLE: 100})


def shared_weights(weights: Mapping[str, float], percent: float) -> dict[str, float]:
    """Weights in percent: `percent` for canary, the other labels share the rest in proportion."""
    others = {label: weight for label, weight in weights.items() if label != CANARY} or {STABLE: 100}
    total = sum(others.values())
    return {**{label: _even(weight / total * (100 - percent)) for label, weight in others.items()}, CANARY: percent}


def _even(weight: float) -> float:
    return round(weight, 6)
