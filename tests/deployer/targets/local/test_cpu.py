"""CPU shares: enforced for real where this machine allows it, and always described as what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventually import eventually

from deployer.targets.local import cpu
from deployer.targets.local.cpu import Affinity, Cgroup, NoLimit

BUSY = "while True: pass"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait(20)


def test_a_cgroup_holds_a_process_to_its_share(busy: subprocess.Popen[bytes]) -> None:
    limiter = cpu.choose()
    if not isinstance(limiter, Cgroup):
        pytest.skip("this user may not make cgroups here")
    cgroup = limiter.limit("deployer-test", 0, busy.pid, 0.2)
    eventually(lambda: throttled(Path(cgroup)), "the kernel holds it back")
    busy.kill()
    busy.wait(20)
    cpu.remove(cgroup)
    assert not os.path.exists(cgroup)


def throttled(cgroup: Path) -> int:
    """In how many periods the kernel has stopped what runs in a group because its share was used up."""
    return int(dict(line.split() for line in (cgroup / "cpu.stat").read_text().splitlines())["nr_throttled"])


def test_version_2_is_used_where_an_ancestor_hands_cpu_on(tmp_path: Path) -> None:
    delegated = tmp_path / "user.slice"
    own = delegated / "shell.scope"
    own.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu io memory")
    (delegated / "cgroup.subtree_control").write_text("cpu memory")
    (own / "cgroup.subtree_control").write_text("")
    membership = tmp_path / "membership"
    membership.write_text("0::/user.slice/shell.scope\n")
    limiter = cpu.choose(tmp_path, membership)
    assert limiter == Cgroup(parent=delegated, version=2)
    made = limiter.limit("replica-0", 0, 4242, 0.25)
    assert made == f"{delegated}/replica-0-4242"
    assert (delegated / "replica-0-4242" / "cpu.max").read_text() == "2500 10000"
    assert (delegated / "replica-0-4242" / "cgroup.procs").read_text() == "4242"
    assert limiter.describe(0.25) == "cgroup v2, 0.25 CPU (2.5 ms of every 10 ms)"


def test_version_1_falls_back_to_what_a_container_sees(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    membership = tmp_path / "membership"
    membership.write_text("5:cpu:/docker/0123\n4:memory:/docker/0123\n")
    assert cpu.choose(tmp_path, membership) == Cgroup(parent=tmp_path / "cpu", version=1)


def test_without_cgroups_it_is_whole_cores_and_says_so(tmp_path: Path, busy: subprocess.Popen[bytes]) -> None:
    limiter = cpu.choose(tmp_path / "absent", tmp_path / "absent")
    if not isinstance(limiter, Affinity):
        pytest.skip("this system has no affinity")
    second = min(1, len(limiter.cores) - 1)
    assert limiter.limit("replica-1", 1, busy.pid, 0.25) == ""
    assert os.sched_getaffinity(busy.pid) == {limiter.cores[second]}
    assert limiter.describe(0.25) == "affinity to 1 core (0.25 CPU would need cgroups, which this user cannot write)"
    assert limiter.describe(1) == "affinity to 1 core"


def test_a_system_that_offers_nothing_is_reported() -> None:
    assert NoLimit().describe(0.5).startswith("none (0.5 CPU was requested")


def test_a_cgroup_that_lingers_is_tried_again(tmp_path: Path) -> None:
    held = tmp_path / "replica-0"
    (held / "busy").mkdir(parents=True)
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            (held / "busy").rmdir()

    cpu.remove(str(held), sleep)
    assert len(waited) == 2
    assert not held.exists()
