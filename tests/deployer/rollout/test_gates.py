"""Gates: what they say, on which numbers, and how often they are wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from deployer.domain.gate import parse_gate
from deployer.domain.verdict import Judgement, Verdict
from deployer.release.window import DriftSeen, LabelWindow, Observations
from deployer.rollout.gates.judge import EARLY_ALPHA, judge, overall
from deployer.rollout.gates.statistics import binomial_at_least, quantile, rate_excess

BOUNDS = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


def window(values: Sequence[float] = (), *, responses: int = 0, failed: int = 0) -> LabelWindow:
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[next((i for i, bound in enumerate(BOUNDS) if value <= bound), len(BOUNDS))] += 1
    return LabelWindow(responses=responses or len(values), failed=failed, latency_bounds=BOUNDS, latency=tuple(counts))


def verdict(gate: str, *, alpha: float = 0.05, **seen: Any) -> Judgement:
    """Of one gate; `seen` are fields of `Observations`."""
    return judge([parse_gate(gate)], Observations(**seen), min_samples=50, alpha=alpha)[0]


@pytest.mark.parametrize(
    ("gate", "seen", "says"),
    [
        ("p99<200ms", {"canary": window([8.0] * 500)}, "pass"),
        ("p99<200ms", {"canary": window([8.0] * 450 + [300.0] * 50)}, "fail"),
        ("p99<200ms", {"canary": window([8.0] * 99)}, "inconclusive"),
        ("p99<200ms", {}, "inconclusive"),
        ("p99<1.5*stable", {"canary": window([8.0] * 300), "stable": window([8.0] * 900)}, "pass"),
        ("p99<1.5*stable", {"canary": window([90.0] * 300), "stable": window([8.0] * 900)}, "fail"),
        ("p99<1.5*stable", {"canary": window([90.0] * 300), "stable": window([8.0] * 20)}, "inconclusive"),
        ("p99<1.5*stable", {"canary": window([8.0] * 300 + [90.0] * 5), "stable": window([8.0] * 900)}, "fail"),
        ("p99<1.5*stable", {"canary": window([15.0] * 300), "stable": window([8.0] * 900)}, "inconclusive"),
        ("error_rate<1%", {"canary": window(responses=200)}, "pass"),
        ("error_rate<1%", {"canary": window(responses=200, failed=20)}, "fail"),
        ("error_rate<1%", {"canary": window(responses=200, failed=2)}, "inconclusive"),
        ("error_rate<1%", {"canary": window(responses=20)}, "inconclusive"),
        ("error_rate<1%", {"canary": window(responses=5, failed=5)}, "fail"),
        ("error_rate<1%", {"canary": window(responses=5, failed=1)}, "inconclusive"),
        (
            "error_rate<2*stable",
            {"canary": window(responses=200, failed=30), "stable": window(responses=2000, failed=20)},
            "fail",
        ),
        (
            "error_rate<2*stable",
            {"canary": window(responses=200, failed=1), "stable": window(responses=2000, failed=20)},
            "pass",
        ),
        ("error_rate<2*stable", {"canary": window(responses=200), "stable": window(responses=2000)}, "pass"),
        ("disagreement<30%", {"compared": 100, "disagreed": 60}, "fail"),
        ("disagreement<30%", {"compared": 100, "disagreed": 10}, "pass"),
        ("disagreement<30%", {}, "inconclusive"),
        ("samples>=500", {"canary": window(responses=499)}, "inconclusive"),
        ("samples>=500", {"canary": window(responses=500)}, "pass"),
        ("accuracy>=0.9", {"accuracy": 0.95}, "pass"),
        ("accuracy>=90%", {"accuracy": 0.89}, "fail"),
        ("accuracy>=0.9", {}, "inconclusive"),
        ("size<500MB", {"size": 4e8}, "pass"),
        ("memory<1GiB", {"memory": 2.0**31}, "fail"),
        ("load_time<1m", {"load_time": 59.0}, "pass"),
        ("parity<1e-4", {"parity": 2e-4}, "fail"),
    ],
)
def test_what_a_gate_says(gate: str, seen: dict[str, Any], says: str) -> None:
    found = verdict(gate, **seen)
    assert found.verdict == says, str(found)
    assert found.numbers


def test_the_numbers_are_in_the_sentence() -> None:
    found = verdict("error_rate<1%", canary=window(responses=200, failed=20))
    assert str(found).startswith("error_rate<1%: fail (20 of 200 failed = 10.00 %; p = ")


@pytest.mark.parametrize("text", ["samples>=5*stable", "p99>2*stable", "error_rate>2*stable", "speed<3", "p99<200"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="gate"):
        parse_gate(text)


def test_one_failure_fails_all_and_doubt_is_no_pass() -> None:
    good, doubt, bad = (verdict("accuracy>=0.9", accuracy=value) for value in (0.95, None, 0.5))
    assert overall([good, doubt, bad]) is Verdict.FAIL
    assert overall([good, doubt]) is Verdict.INCONCLUSIVE
    assert overall([good]) is Verdict.PASS
    assert overall([]) is Verdict.NOT_JUDGED


def test_exact_probabilities() -> None:
    assert binomial_at_least(1, 10, 0.1) == pytest.approx(1 - 0.9**10)
    assert binomial_at_least(10, 10, 0.5) == pytest.approx(0.5**10)
    assert binomial_at_least(400, 1000, 0.5) == pytest.approx(1.0, abs=1e-9)
    assert binomial_at_least(0, 10, 0.5) == 1.0
    assert rate_excess(5, 100, 0, 100) == pytest.approx(0.5**5)


def test_a_version_at_its_bound_rarely_fails() -> None:
    chance = random.Random(7)
    failed = sum(
        verdict(
            "error_rate<5%", canary=window(responses=300, failed=sum(chance.random() < 0.05 for _ in range(300)))
        ).verdict
        is Verdict.FAIL
        for _ in range(300)
    )
    assert failed / 300 < 0.08


def test_looking_early_is_stricter() -> None:
    canary = window(responses=200, failed=6)
    assert verdict("error_rate<1%", canary=canary).verdict is Verdict.FAIL
    assert verdict("error_rate<1%", canary=canary, alpha=EARLY_ALPHA).verdict is Verdict.INCONCLUSIVE


def test_the_interval_of_a_quantile_covers_it() -> None:
    chance, covered = random.Random(1), 0
    for _ in range(200):
        values = [chance.expovariate(1 / 20) for _ in range(400)]
        found = quantile(0.9, BOUNDS, window(values).latency, 0.05)
        assert found is not None
        covered += found.low <= 20 * 2.302585 <= found.high
    assert covered / 200 > 0.9
    assert quantile(0.9, BOUNDS, [0] * (len(BOUNDS) + 1), 0.05) is None


def drifting(live: Sequence[int], against: str = "training") -> DriftSeen:
    return DriftSeen(feature="amount", against=against, live=tuple(live), other=(2_500, 2_500, 2_500, 2_500))


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ((), "inconclusive"),
        ((drifting([250, 260, 240, 250]),), "pass"),
        ((drifting([600, 300, 80, 20]),), "fail"),
        ((drifting([250, 260, 240, 250]), drifting([600, 300, 80, 20], "stable")), "fail"),
        ((drifting([10, 10, 10, 5]),), "inconclusive"),
        ((drifting([80, 50, 40, 30]),), "pass"),
        ((drifting([82, 61, 35, 22]),), "inconclusive"),
    ],
)
def test_drift_fails_only_where_the_records_prove_it(seen: tuple[DriftSeen, ...], says: str) -> None:
    found = verdict("drift<0.2", drift=seen)
    assert found.verdict == says, found.numbers
