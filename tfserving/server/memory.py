"""How much memory requests may take: a bound for all clients together, so that none of them can end the server."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SHARE: Final = 4
"""The memory's part that requests may take. What JSON becomes is counted; a tensor is held about three times."""
_ONE_CLIENT: Final = 2
"""The part of this that one client may take."""


class Budget:
    """Bytes of unfinished requests and unsent answers, and how many there may be. Thread-safe.

    What is small and soon done is not counted, only what can add up.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.one_client = limit // _ONE_CLIENT
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def take(self, size: int) -> bool:
        """Hold `size` bytes more, unless that is beyond the limit."""
        with self._lock:
            if self._held + size > self.limit:
                return False
            self._held += size
            return True

    def give(self, size: int) -> None:
        """Hold `size` bytes less."""
        with self._lock:
            self._held -= size


class Hold:
    """What one request, or one client, holds of a budget. A `with` block gives it back."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def set(self, size: int, *, most: int | None = None) -> bool:
        """Hold `size` bytes in all, unless that is more than `most` (the part of one client) or than is left."""
        if size > self._size:
            if size > (self._budget.one_client if most is None else most) or not self._budget.take(size - self._size):
                return False
        elif size < self._size:
            self._budget.give(self._size - size)
        self._size = size
        return True

    def take(self, size: int, *, alone: bool = False) -> bool:
        """Hold `size` bytes more, unless that is too much; `alone` does not mind the part of one client."""
        return self.set(self._size + size, most=self._budget.limit if alone else None)

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.set(0)


def request_budget() -> Budget:
    """A quarter of the memory that this process may use: its cgroup's, or the machine's."""
    return Budget(_memory() // _SHARE)


def _memory() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text("ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            return min(machine, int(text))
    return machine
