"""The status of a rollout: what was recorded, and what every replica and gateway reports now."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.domain.history import Entry, Past
from deployer.domain.rollout import Phase, Rollout
from deployer.errors import GateFailed, TargetError
from deployer.release.status import Status, status
from deployer.rollout.steps import Kind, plan
from deployer.rollout.transitions import current
from deployer.targets.base import Target
from deployer.targets.history import HistoryStore


@dataclass(frozen=True, kw_only=True)
class RolloutStatus:
    """`rollout` is None if there never was one. `at_work` names the deployer that runs it, empty if none does.

    `step` is the position in `steps`, from 1; 0 at the end. `seconds_left` is the rest of `max_duration`, None if the
    rollout is not in progress. `window_left` is the rest of the current soak time, in seconds.
    """

    model: str
    rollout: Rollout | None
    at_work: str
    step: int
    steps: tuple[str, ...]
    seconds_left: float | None
    window_left: float | None
    release: Status

    @property
    def phase(self) -> Phase:
        """The recorded phase; without a rollout, Healthy if the release is as configured."""
        if self.rollout is not None:
            return self.rollout.phase
        return Phase.DEGRADED if self.release.missing else Phase.HEALTHY

    @property
    def killed(self) -> bool:
        """Whether the rollout is in progress but its deployer is gone."""
        return self.phase in (Phase.PENDING, Phase.PROGRESSING) and not self.at_work

    @property
    def exit_code(self) -> int:
        """For pipelines: 0 healthy or in progress, 7 aborted or paused, 6 degraded."""
        if self.phase is Phase.DEGRADED:
            return TargetError.exit_code
        return exit_code(self.rollout) if self.rollout is not None and not self.at_work else 0


@dataclass(frozen=True, kw_only=True)
class RolloutHistory:
    """The latest rollout with its events and its `outcome` (or phase), and summaries of earlier ones."""

    model: str
    rollout: Rollout | None
    outcome: str
    entries: tuple[Entry, ...]
    dropped: int
    past: tuple[Past, ...]


def exit_code(rollout: Rollout) -> int:
    """0 if the version was promoted, or rolled back to on request; 6 if degraded; else 7."""
    if rollout.phase is Phase.DEGRADED:
        return TargetError.exit_code
    return 0 if rollout.outcome in ("promoted", "rolled back") else GateFailed.exit_code


def rollout_status(target: Target, histories: HistoryStore, model: str, *, now: float) -> RolloutStatus:
    """Read the history, and query every replica and gateway. Errors: as for `release.status`."""
    return with_history(status(target), histories, model, now=now)


def with_history(found: Status, histories: HistoryStore, model: str, *, now: float) -> RolloutStatus:
    """A status, combined with the history of one of its models; `now` is in seconds since 1970. Errors: TargetError."""
    rollout = histories.read(model).rollout
    steps = tuple(map(str, plan(rollout))) if rollout is not None else ()
    busy = rollout is not None and current(rollout) is not None and rollout.open
    left = None
    if rollout is not None and rollout.phase in (Phase.PENDING, Phase.PROGRESSING):
        left = max(0.0, rollout.counted_from + rollout.request.max_duration - now)
    step = current(rollout) if rollout is not None else None
    window = None
    if left is not None and rollout is not None and step is not None and step.kind is Kind.JUDGE and rollout.begun:
        window = max(0.0, rollout.step_started + rollout.request.soak - now)
    return RolloutStatus(
        model=model,
        rollout=rollout,
        at_work=histories.holder(),
        step=rollout.position + 1 if rollout is not None and busy else 0,
        steps=steps,
        seconds_left=left,
        window_left=window,
        release=found,
    )


def history(histories: HistoryStore, model: str) -> RolloutHistory:
    """The history of a model. Errors: TargetError for an unreadable history."""
    found = histories.read(model)
    return RolloutHistory(
        model=model,
        rollout=found.rollout,
        outcome=(found.rollout.outcome or str(found.rollout.phase)) if found.rollout is not None else "",
        entries=found.entries,
        dropped=found.dropped,
        past=found.past,
    )
