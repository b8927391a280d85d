"""The schedule of requests: a Poisson process, reproducible by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """`due` are the seconds after the start at which requests are due, ascending; `payload` is the payload of each.

    Both have the same length.
    """

    due: NDArray[np.float64]
    payload: NDArray[np.int64]


def poisson(rate: float, seconds: float, *, seed: int, payloads: int, stream: int = 0, streams: int = 1) -> Schedule:
    """The arrivals of one of `streams` generators that together send `rate` requests a second for `seconds`.

    Every generator draws the same whole schedule and keeps a random subset. Thinning a Poisson process gives Poisson
    processes, and the union does not depend on the number of generators.
    """
    rng = np.random.default_rng(seed)
    expected = rate * seconds
    draws = int(expected + 6 * expected**0.5 + 16)
    due = np.cumsum(rng.exponential(1 / rate, draws))
    while due[-1] < seconds:
        due = np.concatenate([due, due[-1] + np.cumsum(rng.exponential(1 / rate, draws))])
    due = due[due < seconds]
    payload = rng.integers(payloads, size=len(due))
    if streams > 1:
        own = rng.integers(streams, size=len(due)) == stream
        due, payload = due[own], payload[own]
    return Schedule(due=due, payload=payload)
