"""Bounded waiting for a list of lacks to become empty."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from deployer.errors import WaitTimeout
from deployer.targets.base import Progress

POLL_SECONDS = 0.25
SAY_SECONDS = 5.0
"""Between two sentences about the same wait, when something else is missing."""

REPEAT_SECONDS = 120.0
"""Before a sentence is said again. Two that take turns, as a failed pull and the pause after it do, are no news."""

SHOWN = 5
"""Lacks named in one sentence."""


def until_nothing(
    find_missing: Callable[[], Sequence[str]],
    *,
    what: str,
    deadline: float,
    progress: Progress,
    explain: Callable[[], str] = lambda: "",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once `lacks()` names nothing any more; say now and then what is still missing.

    `what` completes "… is not so yet" ("4 replicas proven"); `deadline` is a reading of `clock`. Errors: WaitTimeout
    that names what was missing; its cause is `explain()`, asked only then.
    """
    began = spoke = clock()
    reported: dict[str, float] = {}
    while missing := find_missing():
        now = clock()
        if now >= deadline:
            raise WaitTimeout(
                f"not within {now - began:.0f} s: {what} ({shortened(missing)})",
                cause=explain(),
                hint="--timeout allows more; `deployer doctor` looks for the reason",
            )
        current = f"waiting for {what}: {shortened(missing)}"
        known = reported.get(current)
        if now - spoke >= SAY_SECONDS and (known is None or now - known >= REPEAT_SECONDS):
            progress(current)
            spoke = reported[current] = now
        sleep(min(POLL_SECONDS, deadline - now))


def shortened(find_missing: Sequence[str]) -> str:
    """Several lacks in one sentence."""
    more = len(find_missing) - SHOWN
    return "; ".join(find_missing[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
