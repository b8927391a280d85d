"""A rollout as it is shown: what was recorded of it, and what every replica and gateway says right now."""

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
    """`rollout` is None when there never was one. `at_work` names the deployer that is, empty when none is.

    `step` counts from 1 in `steps`, 0 at the end; `seconds_left` is how much of `max_duration` remains, None when
    nothing runs. `window_left` is what remains of the soak time of the share that is being watched, in seconds.
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
        """As recorded; Healthy when nothing ever was, and the release is as configured."""
        if self.rollout is not None:
            return self.rollout.phase
        return Phase.DEGRADED if self.release.missing else Phase.HEALTHY

    @property
    def killed(self) -> bool:
        """Whether a step is under way that nobody makes any more."""
        return self.phase in (Phase.PENDING, Phase.PROGRESSING) and not self.at_work

    @property
    def exit_code(self) -> int:
        """For a pipeline: 0 healthy and not taken back, 7 taken back or paused, 6 degraded, 0 while it runs."""
        if self.phase is Phase.DEGRADED:
            return TargetError.exit_code
        return exit_code(self.rollout) if self.rollout is not None and not self.at_work else 0


@dataclass(frozen=True, kw_only=True)
class RolloutHistory:
    """The latest rollout with all that happened in it, and the ones before in short."""

    model: str
    rollout: Rollout | None
    entries: tuple[Entry, ...]
    dropped: int
    past: tuple[Past, ...]


def exit_code(rollout: Rollout) -> int:
    """0 for a version that was promoted or rolled back to as asked, 6 degraded, 7 for everything else."""
    if rollout.phase is Phase.DEGRADED:
        return TargetError.exit_code
    return 0 if rollout.outcome in ("promoted", "rolled back") else GateFailed.exit_code


def rollout_status(target: Target, histories: HistoryStore, model: str, *, now: float) -> RolloutStatus:
    """Read the ledger and ask every replica and gateway. Errors: as of `release.status`."""
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
        release=status(target),
    )


def history(histories: HistoryStore, model: str) -> RolloutHistory:
    """Everything that is remembered of a model. Errors: TargetError for a history that cannot be read."""
    kept = histories.read(model)
    return RolloutHistory(
        model=model,
        rollout=kept.rollout,
        entries=kept.entries,
        dropped=kept.dropped,
        past=kept.past,
    )
