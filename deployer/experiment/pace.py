"""How far an experiment is, how long it still takes, and whether the machine is quiet enough to begin."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.experiment.results import Machine

BUSY = 0.25
"""Above this share of all cores, what others use changes the figures."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The position in an experiment. A sweep measures one number of replicas once; its search may end early or late.

    `done` trials took `elapsed` seconds, `done_here` of them in the current sweep; `sweeps_left` follow it. `planned`
    seconds are expected of a trial before any is done.
    """

    done: int
    done_here: int
    sweeps_left: int
    per_sweep: int
    elapsed: float
    planned: float

    @property
    def left(self) -> int:
        """The trials that are still expected."""
        return max(0, self.per_sweep - self.done_here) + self.sweeps_left * self.per_sweep

    @property
    def seconds_left(self) -> float:
        """The time that they need at the pace so far."""
        return self.left * (self.elapsed / self.done if self.done else self.planned)

    def __str__(self) -> str:
        """As `3 of about 12, about 40 s left`."""
        position = f"{self.done} of about {self.done + self.left}"
        return f"{position}, {about(self.seconds_left)} left" if self.left else f"{self.done} of {self.done}"


def about(seconds: float) -> str:
    """A time that is not known exactly: `about 40 s`, `about 3 min`."""
    return f"about {max(1.0, seconds):.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


def busy_warning(machine: Machine, share: float | None, *, seconds: float) -> str:
    """What to know before a measurement of `seconds` begins; empty on a quiet machine.

    `share` is the busy share of all cores just now, None if unknown: then the load average of the machine counts.
    """
    if share is None and machine.load_average is not None:
        share = machine.load_average / machine.cores
    if share is None or share < BUSY:
        return ""
    return (
        f"the machine is busy before the experiment begins: others use {share * machine.cores:.1f} of "
        f"{machine.cores} cores. Its figures will be too low, and it takes {about(seconds)}; Ctrl-C ends it"
    )
