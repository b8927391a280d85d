"""How much memory a replica needs for its models."""

from __future__ import annotations

import math
from collections.abc import Mapping

SWAP_FACTOR = 2.5
"""During a rollout the old and the new version are resident, and loading needs additional buffers."""

LOADING_FACTOR = SWAP_FACTOR - 1
"""Memory of one version while it loads, as a multiple of its size on disk."""

SERVER_BYTES = 600 * 2**20
"""Memory of the server without models, including thread stacks and space for requests."""


def needed(sizes: Mapping[str, int]) -> int:
    """Bytes for a replica with these models; `sizes` is the largest version of each, in bytes on disk.

    The other models stay resident while the largest one is rolled out.
    """
    largest = max(sizes.values(), default=0)
    return SERVER_BYTES + math.ceil(SWAP_FACTOR * largest) + (sum(sizes.values()) - largest)


def problem(limit: int, sizes: Mapping[str, int]) -> str:
    """Why a memory limit in bytes is too low, with figures; empty if it is not."""
    minimum = needed(sizes)
    if limit >= minimum:
        return ""
    largest = max(sizes, key=lambda name: sizes[name], default="")
    models = f"{SWAP_FACTOR:g} × {_mib(sizes[largest])} of {largest}" if largest else "no model"
    others = sum(sizes.values()) - sizes.get(largest, 0)
    return f"{_mib(limit)} is below {_mib(minimum)}: {_mib(SERVER_BYTES)} for the server, {models}" + (
        f", {_mib(others)} for the other models" if others else ""
    )


def loading(limit: int, size: int, used: float | None, *, side_by_side: bool) -> tuple[bool, str]:
    """Whether a replica with this memory limit can load a version of `size` bytes, and the figures as text.

    `used` is the memory of the largest replica now; None (unknown) counts the server and, with `side_by_side`, another
    version of the same size. Without `side_by_side` the version is loaded on an empty server.
    """
    more = math.ceil(LOADING_FACTOR * size)
    if not side_by_side:
        used_now, what = float(SERVER_BYTES), "for the server"
    elif used is None:
        used_now, what = float(SERVER_BYTES + size), "for the server and its current version"
    else:
        used_now, what = used, "in use"
    numbers = f"{_mib(used_now)} {what} + {LOADING_FACTOR:g} × {_mib(size)} to load the version, limit {_mib(limit)}"
    return used_now + more <= limit, numbers


def _mib(size: float) -> str:
    return f"{math.ceil(size / 2**20)} Mi"
