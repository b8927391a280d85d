"""Memory of a process, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path


def resident(pid: int | None) -> int | None:
    """Resident bytes; None if the process cannot be inspected."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) * 1024
    return None
