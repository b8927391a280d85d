"""Waiting, with a deadline, until nothing is missing any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from deployer.errors import WaitTimeout
from deployer.targets.base import Progress

WAIT_POLL_SECONDS = 0.25
PROGRESS_SECONDS = 5.0
"""Between two progress lines of one wait, when what is missing has changed."""

REPEAT_SECONDS = 120.0
"""Before a progress line is repeated. A failed image pull and its back-off alternate; that is not new information."""

MAX_SHOWN = 5
"""Missing items named in one line."""


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
    """Return once `find_missing()` is empty; report now and then what is still missing.

    `what` is the awaited state ("4 replicas ready"); `deadline` is a time of `clock`. Errors: WaitTimeout that names
    what was missing; its cause is `explain()`, called only then.
    """
    started = last_progress = clock()
    reported: dict[str, float] = {}
    while missing := find_missing():
        now = clock()
        if now >= deadline:
            raise WaitTimeout(
                f"timed out after {now - started:.0f} s waiting for {what} ({shortened(missing)})",
                cause=explain(),
                hint="--timeout allows more; `deployer doctor` looks for the reason",
            )
        current = f"waiting for {what}: {shortened(missing)}"
        known = reported.get(current)
        if now - last_progress >= PROGRESS_SECONDS and (known is None or now - known >= REPEAT_SECONDS):
            progress(f"{current}; at most {deadline - now:.0f} s more")
            last_progress = reported[current] = now
        sleep(min(WAIT_POLL_SECONDS, deadline - now))


def shortened(missing: Sequence[str]) -> str:
    """Missing items in one line."""
    more = len(missing) - MAX_SHOWN
    return "; ".join(missing[:MAX_SHOWN]) + (f"; and {more} more" if more > 0 else "")
