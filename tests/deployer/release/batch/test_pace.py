"""The pace: more while answers come fast, less when the release refuses or slows down. No clock runs here."""

from __future__ import annotations

import math

import pytest

from deployer.release.batch.pace import LONGEST_PAUSE, Pace, Rate


def fast(pace: Pace, answers: int, seconds: float = 0.1) -> None:
    for _ in range(answers):
        pace.succeeded(0.0, seconds)


def test_fast_responses_open_the_window_up_to_its_limit() -> None:
    pace = Pace(most=4)
    assert pace.wait(0.0, 0) == 0
    assert math.isinf(pace.wait(0.0, 1)), "one request at first"
    fast(pace, 30)
    assert pace.window == 4
    assert pace.wait(0.0, 3) == 0
    assert math.isinf(pace.wait(0.0, 4))


def test_a_refusal_halves_the_window_once_and_pauses_as_long_as_it_says() -> None:
    pace = Pace(most=8)
    fast(pace, 60)
    pace.rejected(10.0, 2.0)
    assert pace.window == 4
    pace.rejected(10.0, 2.0)
    assert pace.window == 4, "requests of the same round are rejected for the same reason"
    assert pace.wait(10.5, 0) == 1.5
    assert pace.wait(12.0, 0) == 0


def test_refusals_without_a_time_pause_longer_and_longer_but_not_for_ever() -> None:
    pace = Pace(most=1)
    pauses = []
    for _ in range(12):
        pace.not_before = 0.0
        pace.rejected(0.0, None)
        pauses.append(pace.wait(0.0, 0))
    assert pauses[0] < pauses[1] < pauses[4]
    assert max(pauses) <= LONGEST_PAUSE
    pace.rejected(0.0, 3600.0)
    assert pace.wait(0.0, 0) == LONGEST_PAUSE


def test_rising_latency_closes_the_window_and_at_one_request_pauses() -> None:
    pace = Pace(most=8)
    fast(pace, 60)
    fast(pace, 200, seconds=1.0)
    assert pace.window == 1
    assert pace.wait(0.0, 0) > 0.9, "online traffic gets every other second"
    fast(pace, 400)
    assert pace.window == 8


@pytest.mark.parametrize("rows", [1, 10, 100])
def test_a_rate_is_kept_whatever_the_size_of_requests(rows: int) -> None:
    rate, now, sent = Rate(rows_per_second=50.0), 0.0, 0
    while now < 100:
        now += rate.reserve(now, rows)
        sent += rows
    assert sent == pytest.approx(50 * 100, abs=2 * rows)


def test_a_pause_gives_no_credit() -> None:
    rate = Rate(rows_per_second=10.0)
    assert rate.reserve(0.0, 10) == 0
    assert rate.reserve(100.0, 10) == 0
    assert rate.reserve(100.0, 10) == 1.0
