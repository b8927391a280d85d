"""How much memory a replica needs for the models it is to serve."""

from __future__ import annotations

import math
from collections.abc import Mapping

FACTOR = 2.5
"""During a swap the old and the new version are resident, and loading needs buffers of its own."""

BASE = 600 * 2**20
"""What the server takes before it has loaded a model, with thread stacks and room for requests."""


def needed(sizes: Mapping[str, int]) -> int:
    """Bytes for replicas that serve these models; `sizes` is the largest version of each, in bytes on disk.

    The others stay resident while the largest one is swapped.
    """
    largest = max(sizes.values(), default=0)
    return BASE + math.ceil(FACTOR * largest) + (sum(sizes.values()) - largest)


def problem(limit: int, sizes: Mapping[str, int]) -> str:
    """Why a memory limit in bytes is too low, with the numbers; empty when it is not."""
    least = needed(sizes)
    if limit >= least:
        return ""
    largest = max(sizes, key=lambda name: sizes[name], default="")
    models = f"{FACTOR:g} × {_mib(sizes[largest])} of {largest}" if largest else "no model"
    others = sum(sizes.values()) - sizes.get(largest, 0)
    return f"{_mib(limit)} is below {_mib(least)}: {_mib(BASE)} for the server, {models}" + (
        f", {_mib(others)} for the other models" if others else ""
    )


def _mib(size: int) -> str:
    return f"{math.ceil(size / 2**20)} Mi"
