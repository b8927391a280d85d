"""How much memory a replica needs for the models it is to serve."""

from __future__ import annotations

import math
from collections.abc import Mapping

FACTOR = 2.5
"""During a swap the old and the new version are resident, and loading needs buffers of its own."""

LOADING = FACTOR - 1
"""What one version takes while it loads, as a multiple of its size on disk."""

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


def loading(limit: int, size: int, used: float | None, *, beside: bool) -> tuple[bool, str]:
    """Whether a version of `size` bytes can be loaded by a replica that may use `limit`, and the numbers of that.

    `used` is what the fullest replica takes now; None, where nobody can look, counts the server and, `beside` another
    version, one of the same size. A version that is not loaded beside another one finds an empty server.
    """
    more = math.ceil(LOADING * size)
    if not beside:
        there, what = float(BASE), "for the server"
    elif used is None:
        there, what = float(BASE + size), "for the server and the version it has"
    else:
        there, what = used, "in use"
    numbers = f"{_mib(there)} {what} + {LOADING:g} × {_mib(size)} to load the version, limit {_mib(limit)}"
    return there + more <= limit, numbers


def _mib(size: float) -> str:
    return f"{math.ceil(size / 2**20)} Mi"
