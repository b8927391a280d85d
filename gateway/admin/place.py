"""On which CPU the process of the admin port runs while the gateway is busy.

The kernel gives the time of a container that is limited to less than a CPU to one CPU at a time, in pieces (CFS
bandwidth control; 5 ms each by default, which is all that 50m have in a period). A process on another CPU than the busy
one often finds nothing left, for several periods. On the same CPU it is preferred, since it has slept: it waits for
one period at most.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CPU_FIELD = 36
"""Of /proc/self/stat after the name: the CPU that the thread ran on last (proc(5), `processor`)."""


def place(pid: int, *, beside_us: bool) -> None:
    """Bind the threads of a process to the CPU of this one, or let them run anywhere again."""
    if not hasattr(os, "sched_setaffinity"):
        return
    with contextlib.suppress(OSError):  # a thread has ended, or the system does not allow it
        wanted = {_our_cpu()} if beside_us else os.sched_getaffinity(0)
        if os.sched_getaffinity(pid) == wanted:
            return
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), wanted)


def _our_cpu() -> int:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[_CPU_FIELD])
