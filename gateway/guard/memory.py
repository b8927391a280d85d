"""How much memory requests may take: one bound for all clients together, so that none of them can end the gateway.

What a request takes is counted while its body is read, and before it is decoded with what decoding makes of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.errors import BodyTooLarge, Unavailable

OWN_BYTES: Final = 144 * 1024 * 1024
"""What the gateway's processes take before any request."""
LIMIT_LEAST: Final = 32 * 1024 * 1024
"""Bytes for requests where the memory's limit leaves less."""
WITHOUT_LIMIT: Final = 1024 * 1024 * 1024
"""Bytes for requests where nothing limits the memory."""
RETRY_MOST: Final = 4
_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Memory:
    """Bytes that requests hold. For one event loop, not for threads."""

    def __init__(self, limit: int, chance: Callable[[], float]) -> None:
        """`limit` is in bytes; `chance`, from 0 to 1, spreads the clients that are told to come again."""
        self.limit = limit
        self.held = 0
        self._chance = chance

    def take(self, size: int) -> None:
        """Hold `size` bytes more. Errors: Unavailable when they are not free now."""
        if self.held + size > self.limit:
            raise Unavailable(
                "the gateway is at its limit: the requests in progress leave no memory for this one "
                "(limits.memory_bytes); try later",
                stage="admission",
                reason="memory",
                retry_after=1 + int(self._chance() * RETRY_MOST),
            )
        self.held += size

    def give(self, size: int) -> None:
        """Hold `size` bytes less."""
        self.held -= size


class Share:
    """What one request holds. A `with` block gives it back."""

    __slots__ = ("_memory", "size")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0

    def take(self, size: int) -> None:
        """Hold `size` bytes more. Errors: BodyTooLarge when no other request would have to end for it to fail all the
        same; Unavailable when it would fit later."""
        if self.size + size > self._memory.limit:
            raise BodyTooLarge(
                f"the request would take {(self.size + size) >> 20} MiB of memory once it is decoded, and the "
                f"gateway has {self._memory.limit >> 20} MiB for all requests (limits.memory_bytes); send less at once",
                stage="read",
            )
        self._memory.take(size)
        self.size += size

    def cut(self, size: int) -> None:
        """Hold no more than `size` bytes."""
        if size < self.size:
            self._memory.give(self.size - size)
            self.size = size

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut(0)


def memory_bytes(configured: int | None, *, besides: int = 0) -> int:
    """Bytes that requests may take: as configured, else what the limit of the container and `besides` leave."""
    if configured is not None:
        return configured
    limit = _container()
    return WITHOUT_LIMIT if limit is None else max(LIMIT_LEAST, limit - OWN_BYTES - besides)


def _container() -> int | None:
    """The memory that this process may use, or None where nothing less than the machine limits it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text("ascii").strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < machine:
            return int(text)
    return None
