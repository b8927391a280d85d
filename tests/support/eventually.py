"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.2
"""Seconds between two looks: each pause is half as long again as the one before it."""


def eventually(look: Callable[[], T], what: str | Callable[[], object], *, seconds: float = 60) -> T:
    """The first true result of `look`, which is called again and again.

    `what` is waited for; a function says it when the wait has failed, and may then read a log. The deadline, `seconds`
    from now, keeps a test that has failed from hanging; it is not what a test measures.
    """
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what} (seen: {found!r})")
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, 1.5 * pause)
    return found
