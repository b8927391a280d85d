"""The schedule: reproducible, Poisson, and the same whole for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest

from deployer.experiment.loadgen.schedule import poisson


def test_a_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    first, again = (poisson(200, 5, seed=7, payloads=10) for _ in range(2))
    other = poisson(200, 5, seed=8, payloads=10)
    assert first.due.tolist() == again.due.tolist()
    assert first.payload.tolist() == again.payload.tolist()
    assert first.due.tolist() != other.due.tolist()


def test_arrivals_are_poisson() -> None:
    due = poisson(500, 200, seed=1, payloads=1).due
    gaps = np.diff(due)
    assert len(due) / 200 == pytest.approx(500, rel=0.02)
    assert gaps.mean() == pytest.approx(1 / 500, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03), "an exponential distribution has a deviation of its mean"
    per_second = np.bincount(due.astype(int), minlength=200)
    assert per_second.var() / per_second.mean() == pytest.approx(1, abs=0.3), "the variance of a count is its mean"
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.02, "gaps do not depend on each other"


def test_streams_share_out_one_schedule() -> None:
    whole = poisson(300, 10, seed=3, payloads=5)
    parts = [poisson(300, 10, seed=3, payloads=5, stream=i, streams=3) for i in range(3)]
    assert np.sort(np.concatenate([p.due for p in parts])).tolist() == whole.due.tolist()
    for part in parts:
        assert len(part.due) == pytest.approx(1000, abs=120)
        assert np.diff(part.due).std() == pytest.approx(np.diff(part.due).mean(), rel=0.12)


def test_everything_is_due_in_order_and_in_time_and_every_payload_is_used() -> None:
    schedule = poisson(1000, 2, seed=4, payloads=7)
    assert np.all(np.diff(schedule.due) >= 0)
    assert schedule.due[0] >= 0
    assert schedule.due[-1] < 2
    assert set(schedule.payload.tolist()) == set(range(7))
