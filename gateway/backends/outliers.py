"""Replicas that are much slower than the others are out of use for a while, so that few requests wait for them.

The limit of a slow replica shrinks first (`limit`). Only one that is slow at its least limit, or at the call that tries
it again, is an outlier: fewer calls do not help it. What was slow everywhere is the version or the load, not a replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.backends.choose import Backend

OUTLIER_LOAD: Final = 1.0
"""Mean load (latency as a share of the objective) past which a replica at its least limit may be an outlier."""
TIMES_OTHERS: Final = 3.0
"""How many times the median load of the other replicas makes an outlier."""
EJECTED_SHARE: Final = 0.5
"""Largest share of the replicas that are out of use for their latency."""
EJECTED_FIRST, EJECTED_MOST = 1.0, 30.0
"""Seconds out of use before a replica is tried again; doubled each time that fails."""


def seconds_out(backend: Backend, backends: Sequence[Backend], *, trial: bool) -> float | None:
    """How long a replica is to be out of use for its latency; None when it stays. Counts how often in a row.

    To be asked when a window of its limit has ended; `trial` says that one call after an ejection was that window.
    """
    if backend.limit.load <= OUTLIER_LOAD:
        backend.slow_times = 0
        return None
    if backend.ejected or not (trial or backend.limit.value <= 1) or not _is_outlier(backend, backends):
        return None
    backend.slow_times += 1
    return float(min(EJECTED_FIRST * 2 ** (backend.slow_times - 1), EJECTED_MOST))


def _is_outlier(backend: Backend, backends: Sequence[Backend]) -> bool:
    """Whether the others are much faster, and enough of them are left without this one."""
    connected = [one for one in backends if one.transport.connected]
    others = sorted(one.limit.load for one in connected if one is not backend and not one.ejected)
    out = sum(one.ejected for one in connected) + 1
    if not others or out > len(connected) * EJECTED_SHARE:
        return False
    return backend.limit.load > TIMES_OTHERS * others[len(others) // 2]
