"""Where an experiment is, how long it still takes, and whether the machine is quiet."""

from __future__ import annotations

import pytest

from deployer.experiment.pace import Pace, busy_warning
from deployer.experiment.results import Machine


def pace(done: int, done_here: int, sweeps_left: int, elapsed: float) -> Pace:
    return Pace(done=done, done_here=done_here, sweeps_left=sweeps_left, per_sweep=6, elapsed=elapsed, planned=5.0)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (pace(0, 0, 1, 0.0), "0 of about 12, about 60 s left"),
        (pace(3, 3, 1, 30.0), "3 of about 12, about 90 s left"),
        (pace(3, 3, 1, 120.0), "3 of about 12, about 6 min left"),
        (pace(8, 8, 1, 80.0), "8 of about 14, about 60 s left"),  # the search took longer than expected
        (pace(5, 0, 0, 50.0), "5 of about 11, about 60 s left"),  # and here it ended early
        (pace(13, 6, 0, 99.0), "13 of 13"),
    ],
)
def test_the_position_and_the_time_left(at: Pace, text: str) -> None:
    assert str(at) == text


def machine(load: float | None) -> Machine:
    return Machine(cpu_model="", cores=2, memory_gib=8, system="", versions={}, load_average=load)


def test_a_busy_machine_is_named_with_what_others_use_and_the_time_that_would_be_wasted() -> None:
    text = busy_warning(machine(0.1), 0.6, seconds=180)
    assert "others use 1.2 of 2 cores" in text
    assert "it takes about 3 min" in text


def test_a_quiet_machine_is_no_matter_what_its_load_average_was() -> None:
    assert busy_warning(machine(1.9), 0.05, seconds=180) == ""


@pytest.mark.parametrize(("load", "warns"), [(1.9, True), (0.2, False), (None, False)])
def test_without_cpu_counters_the_load_average_counts(load: float | None, warns: bool) -> None:
    assert bool(busy_warning(machine(load), None, seconds=10)) is warns
