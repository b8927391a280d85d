"""The replicas, and which of them gets a call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from gateway.backends.limit import ReplicaLimit
from gateway.backends.rpc import Transport

SAMPLE: Final = 16
"""Above this many replicas a choice looks at a sample instead of at all of them."""
DRAWN: Final = 4
"""Replicas in a sample."""


class Backend:
    """One replica: its connection, its calls in flight, its limit and its record."""

    def __init__(self, address: str, transport: Transport, limit: ReplicaLimit) -> None:
        self.address = address
        self.transport = transport
        self.limit = limit
        self.outstanding = 0
        self.failures = 0
        self.ejected = False
        self.slow_times = 0
        """Ejections in a row for its latency."""

    @property
    def state(self) -> str:
        """`ready`, `ejected` or `disconnected`."""
        if not self.transport.connected:
            return "disconnected"
        return "ejected" if self.ejected else "ready"

    @property
    def usage(self) -> float:
        """Share of the limit that one more call would make."""
        return (self.outstanding + 1) / self.limit.value


def choose(backends: Sequence[Backend], tried: Collection[Backend], chance: Callable[[], float]) -> Backend | None:
    """Of two random usable replicas that were not tried yet, the one that uses less of its limit; None without any.

    Above `SAMPLE` replicas it is the best of those among `DRAWN` random ones that are usable, if any is.
    Replicas at their limit are used only when all are; ejected ones only when every connected one is ejected: a guess
    is better than a refusal.
    """
    if len(backends) > SAMPLE:
        sample = [backends[int(chance() * len(backends))] for _ in range(DRAWN)]
        usable = [b for b in sample if b.transport.connected and not b.ejected and b not in tried]
        if usable:
            return min(usable, key=_usage)
    connected = [b for b in backends if b.transport.connected and b not in tried]
    usable = [b for b in connected if not b.ejected] or connected
    if len(usable) < 2:
        return usable[0] if usable else None
    first = int(chance() * len(usable))
    second = int(chance() * (len(usable) - 1))
    if second >= first:
        second += 1
    best = min(usable[first], usable[second], key=_usage)
    return best if best.usage <= 1 else min(usable, key=_usage)


def _usage(backend: Backend) -> float:
    return backend.usage
