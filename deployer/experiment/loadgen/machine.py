"""The machine of an experiment: its description and its CPU use."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from deployer.experiment.results import Machine

DISTRIBUTIONS = ("tfserving-deployer", "numpy", "grpcio", "hdrhistogram", "uvloop", "tensorflow")
"""Distributions whose versions are recorded with the figures."""


@dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """CPU time of all cores since the machine started, in ticks."""

    busy: int
    total: int

    def busy_share(self, later: CpuTimes) -> float | None:
        """The share of all cores that was busy between this reading and `later`."""
        passed = later.total - self.total
        return (later.busy - self.busy) / passed if passed > 0 else None


def cpu_times() -> CpuTimes:
    """Read the CPU counters of the whole machine; zero without /proc/stat. Stolen time counts as busy."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return CpuTimes(busy=0, total=0)
    ticks = [int(field) for field in fields]
    return CpuTimes(busy=sum(ticks) - ticks[3] - ticks[4], total=sum(ticks))


def busy_share(seconds: float) -> float | None:
    """The share of all cores that is busy during the next `seconds`; None if unknown."""
    before = cpu_times()
    time.sleep(seconds)
    return before.busy_share(cpu_times())


def load_average() -> float | None:
    """The load average of the last minute; None if unknown."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def describe() -> Machine:
    """Describe this machine."""
    return Machine(
        cpu_model=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        system=platform.platform(),
        versions=versions(),
        load_average=load_average(),
    )


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the installed `DISTRIBUTIONS`."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
