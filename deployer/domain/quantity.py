"""Kubernetes quantities: "500m" of a CPU, "2Gi" of memory."""

from __future__ import annotations

import math
import re

_CPU = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m?)")
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][0-9]{1,2})?)((?:[KMGTPE]i)|[kMGTPE]|)")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_FACTORS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}


def cpus(quantity: str) -> float:
    """CPUs in "2", "0.5" or "500m". Errors: ValueError, also for 0."""
    match = _CPU.fullmatch(quantity)
    value = float(match[1]) / (1000 if match[2] else 1) if match else 0.0
    if value <= 0:
        raise ValueError(f"{quantity!r} is not a number of CPUs; write 2, 0.5 or 500m")
    return value


def whole_cpus(quantity: str) -> int:
    """CPUs rounded up: how many threads can run at the same time."""
    return math.ceil(cpus(quantity))


def memory(quantity: str) -> int:
    """Bytes in "2Gi", "512M" or a plain number. Errors: ValueError, also for 0."""
    match = _MEMORY.fullmatch(quantity)
    value = int(float(match[1]) * _FACTORS[match[2]]) if match else 0
    if value <= 0:
        raise ValueError(f"{quantity!r} is not an amount of memory; write 2Gi or 512Mi")
    return value
