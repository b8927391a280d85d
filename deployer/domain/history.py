"""The journal of one model: every step before and after it, and the rollouts of the past in short."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deployer.domain.rollout import Rollout
from deployer.domain.serving import STABLE

ENTRIES = 200
"""Entries kept of the latest rollout; the oldest ones beyond are counted only."""
PAST = 30
"""Earlier rollouts kept, each in one line."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that happened: `at` seconds since 1970, `step` as it is called, `text` for a person."""

    at: float
    who: str
    step: str
    event: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Past:
    """A rollout that is over, in short."""

    id: str
    started: float
    ended: float
    who: str
    previous: int
    to: int
    outcome: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything remembered of one model. `dropped` counts entries of the latest rollout that no longer fit."""

    rollout: Rollout | None = None
    entries: tuple[Entry, ...] = ()
    dropped: int = 0
    past: tuple[Past, ...] = ()

    @property
    def open(self) -> Rollout | None:
        """The rollout that is not over, if there is one."""
        return self.rollout if self.rollout is not None and self.rollout.open else None

    def start(self, rollout: Rollout) -> History:
        """A ledger with a new rollout; the one before becomes one line. Errors: ValueError while that one is open."""
        if self.open is not None:
            raise ValueError(f"rollout {self.open.id} is open")
        past = (*self.past, summary(self.rollout)) if self.rollout is not None else self.past
        return History(rollout=rollout, past=past[-PAST:])

    def record(self, rollout: Rollout, entry: Entry) -> History:
        """The ledger with the rollout as it is now and what happened to it."""
        entries = (*self.entries, entry)
        surplus = max(0, len(entries) - ENTRIES)
        return replace(self, rollout=rollout, entries=entries[surplus:], dropped=self.dropped + surplus)

    def before(self, stable: int) -> int | None:
        """The version that was stable before `stable` became it, as far as is remembered."""
        done = [*self.past, *([summary(self.rollout)] if self.rollout is not None and not self.rollout.open else [])]
        for one in reversed(done):
            if one.outcome in ("promoted", "rolled back") and one.to == stable:
                return one.previous
        return None


def summary(rollout: Rollout) -> Past:
    """One line on a rollout."""
    return Past(
        id=rollout.id,
        started=rollout.started,
        ended=rollout.ended,
        who=rollout.who,
        previous=rollout.base.labels[STABLE],
        to=rollout.request.to,
        outcome=rollout.outcome or str(rollout.phase),
        reason=rollout.reason,
    )
