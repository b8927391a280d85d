"""The rollout history of one model: every step of the latest rollout, and a summary of earlier ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deployer.domain.rollout import Rollout
from deployer.domain.serving import STABLE
from deployer.domain.verdict import Judgement

ENTRIES = 200
"""Entries kept of the latest rollout; older ones are dropped and only counted."""
PAST = 30
"""Earlier rollouts kept as a summary."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One event: `at` in seconds since 1970, the name of the `step`, `text` for the user, `judgements` where gates were
    judged."""

    at: float
    who: str
    step: str
    event: str
    text: str = ""
    judgements: tuple[Judgement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Past:
    """Summary of a finished rollout."""

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
    """The history of one model. `dropped` counts older entries of the latest rollout that were removed."""

    rollout: Rollout | None = None
    entries: tuple[Entry, ...] = ()
    dropped: int = 0
    past: tuple[Past, ...] = ()

    @property
    def open(self) -> Rollout | None:
        """The rollout that is not finished, if there is one."""
        return self.rollout if self.rollout is not None and self.rollout.open else None

    def start(self, rollout: Rollout) -> History:
        """Add a new rollout; the previous one becomes a summary. Errors: ValueError while the previous one is open."""
        if self.open is not None:
            raise ValueError(f"rollout {self.open.id} is open")
        past = (*self.past, summary(self.rollout)) if self.rollout is not None else self.past
        return History(rollout=rollout, past=past[-PAST:])

    def record(self, rollout: Rollout, entry: Entry) -> History:
        """Update the rollout and add an entry."""
        entries = (*self.entries, entry)
        surplus = max(0, len(entries) - ENTRIES)
        return replace(self, rollout=rollout, entries=entries[surplus:], dropped=self.dropped + surplus)

    def before(self, stable: int) -> int | None:
        """The version that was stable before `stable`, if the history still knows it."""
        done = [*self.past, *([summary(self.rollout)] if self.rollout is not None and not self.rollout.open else [])]
        for rollout in reversed(done):
            if rollout.outcome in ("promoted", "rolled back") and rollout.to == stable:
                return rollout.previous
        return None


def summary(rollout: Rollout) -> Past:
    """The summary of a rollout."""
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
