"""CPU limits for local replicas: by cgroups if possible, else by CPU affinity. Reports say which one was used."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PERIOD_MICROS = 10_000
"""Length of a CFS period: a replica that has used its quota is throttled until the next period. Kubernetes uses 100 ms,
which would add up to 100 ms of latency to a request under a small quota; with 10 ms this effect stays small."""

_MIN_QUOTA_MICROS = 1_000  # the kernel's minimum


class CpuLimiter(Protocol):
    """Limits the CPU of a process."""

    def describe(self, cpus: float) -> str:
        """The limit as text for reports: "cgroup v1, 0.25 CPU (2.5 ms of every 10 ms)"."""
        ...

    def limit(self, name: str, index: int, pid: int, cpus: float) -> str:
        """Limit a process and all its later children; return the new cgroup's directory, or "".

        `index` is the index of the replica.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Cgroup:
    """A child cgroup per process under `parent`. `version` is 1 or 2; the quota files differ."""

    parent: Path
    version: int

    def describe(self, cpus: float) -> str:
        quota = _quota(cpus) / 1000
        return f"cgroup v{self.version}, {cpus:g} CPU ({quota:g} ms of every {PERIOD_MICROS / 1000:g} ms)"

    def limit(self, name: str, index: int, pid: int, cpus: float) -> str:
        directory = self._make(f"{name}-{pid}", cpus)
        (directory / "cgroup.procs").write_text(str(pid))
        return str(directory)

    def works(self) -> bool:
        """Whether a child cgroup with a quota can be created here."""
        probe = self.parent / f"deployer-probe-{os.getpid()}"
        try:
            self._make(probe.name, 0.5)
        except OSError:
            return False
        finally:
            with suppress(OSError):
                probe.rmdir()
        return True

    def _make(self, name: str, cpus: float) -> Path:
        directory = self.parent / name
        directory.mkdir()
        if self.version == 1:
            (directory / "cpu.cfs_period_us").write_text(str(PERIOD_MICROS))
            (directory / "cpu.cfs_quota_us").write_text(str(_quota(cpus)))
        else:
            (directory / "cpu.max").write_text(f"{_quota(cpus)} {PERIOD_MICROS}")
        return directory


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Whole cores, assigned in turn, for users without write access to cgroups."""

    cores: tuple[int, ...]

    def describe(self, cpus: float) -> str:
        many = min(math.ceil(cpus), len(self.cores))
        whole = f"affinity to {many} core{'s' if many > 1 else ''}"
        return whole if many == cpus else f"{whole} ({cpus:g} CPU would need cgroups, which this user cannot write)"

    def limit(self, name: str, index: int, pid: int, cpus: float) -> str:
        many = min(math.ceil(cpus), len(self.cores))
        chosen = {self.cores[(index * many + i) % len(self.cores)] for i in range(many)}
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):  # a thread that ended meanwhile
                os.sched_setaffinity(int(thread.name), chosen)
        return ""


class NoLimit:
    """For systems without cgroups and affinity."""

    def describe(self, cpus: float) -> str:
        return f"none ({cpus:g} CPU was requested; this system has neither cgroups nor affinity)"

    def limit(self, name: str, index: int, pid: int, cpus: float) -> str:
        return ""


def choose(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> CpuLimiter:
    """The most precise limiter that works for this user on this machine."""
    groups = membership.read_text().splitlines() if membership.exists() else []
    candidates = [*_version_2(root, groups), *_version_1(root, groups)]
    for cgroup in candidates:
        if cgroup.works():
            return cgroup
    if hasattr(os, "sched_setaffinity"):
        return Affinity(cores=tuple(sorted(os.sched_getaffinity(0))))
    return NoLimit()


def remove(cgroup: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Remove a cgroup whose processes have ended; retries, because the kernel may need a moment."""
    for wait in (0.01, 0.05, 0.2, 0.5, 1.0):
        try:
            Path(cgroup).rmdir()
        except FileNotFoundError:
            return
        except OSError:
            sleep(wait)
        else:
            return


def _quota(cpus: float) -> int:
    return max(round(cpus * PERIOD_MICROS), _MIN_QUOTA_MICROS)


def _version_2(root: Path, groups: list[str]) -> list[Cgroup]:
    """The nearest ancestors of our own cgroup that delegate the cpu controller to their children.

    Our own cgroup cannot be used: a cgroup with processes must not have limited children.
    """
    own = next((line.removeprefix("0::/") for line in groups if line.startswith("0::/")), None)
    if own is None or not (root / "cgroup.controllers").exists():
        return []
    ancestors = [root / own, *(root / own).parents]
    within = [a for a in ancestors if a == root or root in a.parents]
    control = [(a, a / "cgroup.subtree_control") for a in within]
    return [Cgroup(parent=a, version=2) for a, file in control if file.exists() and "cpu" in file.read_text().split()]


def _version_1(root: Path, groups: list[str]) -> list[Cgroup]:
    """Our own cgroup in the hierarchy of the cpu controller, or the root, if a container sees only its own part."""
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            mount = next((root / name for name in ("cpu", controllers) if (root / name).exists()), None)
            own = [] if mount is None else [mount / path.lstrip("/"), mount]
            return [Cgroup(parent=group, version=1) for group in own if (group / "cpu.cfs_quota_us").exists()]
    return []
