"""A rollout as data: what was asked for, where it stands, and what it found so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from deployer.domain.serving import STABLE, ModelState
from deployer.domain.verdict import Judgement

CANARY = "canary"
"""The label of the version that is being rolled out."""


class Phase(StrEnum):
    """What a person is told first."""

    PENDING = "Pending"
    """Recorded; nothing was touched yet."""
    PROGRESSING = "Progressing"
    """A step is being made; when no deployer is at work, its deployer was killed and `resume` goes on."""
    PAUSED = "Paused"
    """At rest between two steps; a person decides: resume, promote or abort."""
    HEALTHY = "Healthy"
    """At its end, whichever, and every replica and gateway proved it."""
    DEGRADED = "Degraded"
    """At rest, and the way back could not be proven; the reason says where."""


class Course(StrEnum):
    """Which way a rollout goes. Each has its own list of steps, and `position` counts in it."""

    FORWARD = "forward"
    ABORT = "abort"
    ROLLBACK = "rollback"


class OnFail(StrEnum):
    """What a failed gate, a version that does not load, or the end of `max_duration` leads to."""

    ABORT = "abort"
    PAUSE = "pause"


class Policy(StrEnum):
    """Which is spared while a version is rolled out."""

    AVAILABILITY = "availability-preserving"
    """Every replica holds both versions until the end: all of them serve at any time."""
    RESOURCES = "resource-preserving"
    """No replica ever holds two versions: each is emptied before it loads the other one, while the rest serve."""


class Event(StrEnum):
    """What can happen to a rollout."""

    PROVEN = "proven"
    """The step is done, and shown to be."""
    GATE_FAILED = "gate failed"
    INCONCLUSIVE = "inconclusive"
    """A window has ended, and no gate says yes or no."""
    UNPROVEN = "unproven"
    """Replicas or gateways are not as the step wants them, and time is up or they never will be."""
    DRIFTED = "drifted"
    """Somebody else changed what is in force."""
    EXPIRED = "expired"
    """`max_duration` has passed."""
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """What was asked for. Times in seconds, `shares` in percent (0 only mirrors), `gates` as they were written.

    `rollback` asks for the way without canary and gates. `patience` multiplies `soak`: how long an inconclusive window
    may grow. `labelled` is a JSONL file of records with their right answers; `load` requests a second of it are sent
    to both labels while a window is open (0: none). `accept_downtime` lets a single replica be emptied.
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

    def __post_init__(self) -> None:
        if self.to < 1:
            raise ValueError(f"version {self.to}: versions count from 1")
        if list(self.shares) != sorted(set(self.shares)) or any(not 0 <= share <= 100 for share in self.shares):
            raise ValueError(f"steps {list(self.shares)} must increase, from 0 (mirror only) up to 100 percent")
        if self.soak < 0 or self.load < 0 or self.min_samples < 0 or self.max_duration <= 0 or self.timeout <= 0:
            raise ValueError("soak, load and min_samples are 0 or more; timeout and max_duration above 0")
        if self.keep_previous and self.policy is Policy.RESOURCES:
            raise ValueError(f"the {self.policy} policy never holds two versions, so it cannot keep the previous one")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured on the way; None where it was not. Bytes and seconds."""

    size: float | None = None
    parity: float | None = None
    load_time: float | None = None
    memory: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One rollout at one moment.

    `base` is the state it started from and an abort returns to. `left` is what was in force before the step under way,
    and `intended` what that step writes: whatever else is in force was changed by somebody else. `begun` says that
    the step at `position` was started. `verdicts` are the latest. Moments are seconds since 1970;
    `max_duration` counts from `counted_from`, the start or the last time that a person said resume. `replicas` is how
    many ran when it started.
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
        """The version that was stable when it started."""
        return self.base.labels[STABLE]

    @property
    def outcome(self) -> str:
        """How it ended, or which way it goes: "promoted", "aborted", "rolled back"; empty while it is open."""
        if self.phase is not Phase.HEALTHY:
            return ""
        return {Course.FORWARD: "promoted", Course.ABORT: "aborted", Course.ROLLBACK: "rolled back"}[self.course]

    @property
    def open(self) -> bool:
        """Whether something is left to do."""
        return self.phase is not Phase.HEALTHY

    def with_found(self, **figures: float | None) -> Rollout:
        """The same with figures that were measured."""
        return replace(self, found=replace(self.found, **figures))


def refusal(base: ModelState, request: RolloutRequest) -> str:
    """Why no rollout can start from here; empty when one can."""
    if STABLE not in base.labels:
        return f"no version has the label {STABLE}, so there is nothing to compare with or to return to"
    if base.labels[STABLE] == request.to:
        return f"version {request.to} is {STABLE} already"
    if request.policy is Policy.RESOURCES and set(base.versions) != {base.labels[STABLE]}:
        return f"versions {list(base.versions)} are in memory, and the {request.policy} policy keeps one at a time"
    other = base.labels.get(CANARY)
    if other is not None and base.weights.get(CANARY, 0) > 0:
        return f"version {other} is {CANARY} and gets traffic that no rollout gave it"
    return ""


def without_canary(state: ModelState) -> ModelState:
    """The state with the canary label gone, and the traffic on the others; stable takes all when nothing was said."""
    labels = {label: version for label, version in state.labels.items() if label != CANARY}
    weights = {label: weight for label, weight in state.weights.items() if label != CANARY}
    return ModelState(versions=state.versions, labels=labels, weights=weights or {STABLE: 100})


def shared(weights: Mapping[str, float], percent: float) -> dict[str, float]:
    """Weights in percent with `percent` for canary, the others scaled down in proportion."""
    others = {label: weight for label, weight in weights.items() if label != CANARY} or {STABLE: 100}
    total = sum(others.values())
    return {**{label: _even(weight / total * (100 - percent)) for label, weight in others.items()}, CANARY: percent}


def _even(weight: float) -> float:
    return round(weight, 6)
