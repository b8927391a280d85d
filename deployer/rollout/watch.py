"""Waits for a rollout that another deployer runs."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.domain.rollout import Phase, Rollout
from deployer.errors import TargetError, WaitTimeout
from deployer.rollout.proof import Clock
from deployer.rollout.steps import plan
from deployer.targets.base import Progress
from deployer.targets.history import HistoryStore

POLL_SECONDS = 1.0
UNREACHABLE_SECONDS = 60.0
"""For so long a history that cannot be read is tried again."""

IN_PROGRESS = (Phase.PENDING, Phase.PROGRESSING)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Where a rollout rests; `killed`: it is in progress, but no deployer works on it any more."""

    rollout: Rollout
    killed: bool


def watch(histories: HistoryStore, model: str, *, timeout: float, clock: Clock, progress: Progress) -> Watched:
    """Wait until the latest rollout of a model has ended, is paused or degraded, or its deployer is gone.

    Every change is a line of progress. `timeout` in seconds.

    Errors: WaitTimeout; TargetError when there never was a rollout, or the history cannot be read for a minute.
    """
    deadline, readable, said = clock.now() + timeout, clock.now(), ""
    while True:
        try:
            found, holder = histories.read(model).rollout, histories.holder()
            readable = clock.now()
        except TargetError as error:
            if clock.now() - readable > UNREACHABLE_SECONDS:
                raise
            found, holder, line = None, "", f"cannot read the history, trying again: {error.message}"
        else:
            if found is None:
                raise TargetError(f"there is no rollout of {model}", hint="`deployer rollout start` begins one")
            if found.phase not in IN_PROGRESS or not holder:
                return Watched(rollout=found, killed=found.phase in IN_PROGRESS)
            line = whereabouts(found)
        if line != said:
            progress(f"{line}; waiting at most {max(0.0, deadline - clock.now()):.0f} s more")
            said = line
        if clock.now() >= deadline:
            raise WaitTimeout(
                f"the rollout of {model} has not ended within {timeout:g} s",
                cause=line,
                hint="it continues; `deployer rollout status` shows it, --timeout waits longer",
            )
        clock.sleep(POLL_SECONDS)


def whereabouts(rollout: Rollout) -> str:
    """Where a rollout is, in a line: `digits 1 → 2: step 7 of 14, judge 5 % (p99<200ms pass)`."""
    steps = plan(rollout)
    at = min(rollout.position, len(steps) - 1)
    verdicts = ", ".join(f"{one.gate} {one.verdict}" for one in rollout.verdicts)
    where = f"step {at + 1} of {len(steps)}, {steps[at]}"
    return f"{rollout.model} {rollout.previous} → {rollout.request.to}: {where}" + (
        f" ({verdicts})" if verdicts else ""
    )
