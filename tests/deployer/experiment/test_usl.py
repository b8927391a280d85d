"""The Universal Scalability Law: known parameters are found, intervals cover them, too little data is not fitted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import optimize, stats

from deployer.experiment.usl import Point, bounds, fit, parameters_for


def law(n: int, rate: float, contention: float, coherence: float) -> float:
    return rate * n / (1 + contention * (n - 1) + coherence * n * (n - 1))


def measured(truth: tuple[float, float, float], counts: list[int], noise: float, seed: int) -> list[Point]:
    rng = random.Random(seed)
    return [Point(replicas=n, throughput=law(n, *truth) * (1 + rng.gauss(0, noise))) for n in counts]


def test_exact_points_give_the_parameters_back() -> None:
    found = fit(measured((120.0, 0.05, 0.002), [1, 2, 4, 8, 16, 32], 0, 1))
    assert found is not None
    assert found.parameters == 3
    assert found.rate.value == pytest.approx(120)
    assert found.contention.value == pytest.approx(0.05)
    assert found.coherence.value == pytest.approx(0.002)
    assert found.coherence_is_distinct
    assert found.peak == round((0.95 / 0.002) ** 0.5)
    assert found.throughput(8) == pytest.approx(law(8, 120, 0.05, 0.002))


def test_intervals_cover_the_truth() -> None:
    truth = (100.0, 0.04, 0.003)
    trials = 50
    covered = [0, 0, 0]
    for seed in range(trials):
        found = fit(measured(truth, [1, 2, 4, 8, 16, 32] * 2, 0.03, seed), seed=seed, resamples=200)
        assert found is not None
        for i, estimate in enumerate((found.rate, found.contention, found.coherence)):
            assert estimate.low <= estimate.value * 1.000001
            assert estimate.value <= estimate.high * 1.000001
            covered[i] += estimate.low <= truth[i] <= estimate.high
    assert min(covered) >= 0.83 * trials, covered


def test_linear_scaling_has_no_coherence_to_speak_of() -> None:
    found = fit(measured((100.0, 0.0, 0.0), [1, 2, 3, 4, 6, 8], 0.02, 3))
    assert found is not None
    assert not found.coherence_is_distinct
    assert found.peak is None
    assert found.contention.low == 0


@pytest.mark.parametrize("truth", [(100.0, 0.04, 0.003), (100.0, 0.0, 0.002), (100.0, 0.1, 0.0), (100.0, 0.0, 0.0)])
@pytest.mark.parametrize("seed", range(10))
def test_the_fit_is_scipys_non_negative_least_squares(truth: tuple[float, float, float], seed: int) -> None:
    points = measured(truth, [1, 2, 4, 8, 12, 16], 0.05, seed)
    found = fit(points, resamples=1)
    assert found is not None
    rows = np.array([[1.0, p.replicas - 1, p.replicas * (p.replicas - 1)] for p in points])
    rows *= np.array([[p.throughput / p.replicas] for p in points])
    (inverse, contention, coherence), _ = optimize.nnls(rows, np.ones(len(points)))
    assert found.rate.value == pytest.approx(1 / inverse)
    assert found.contention.value == pytest.approx(contention / inverse, abs=1e-12)
    assert found.coherence.value == pytest.approx(coherence / inverse, abs=1e-12)


def test_intervals_are_as_wide_as_those_of_scipys_curve_fit() -> None:
    points = measured((100.0, 0.04, 0.003), [1, 2, 4, 8, 16, 32] * 10, 0.03, 1)
    found = fit(points)
    assert found is not None
    replicas, throughput = np.array([(p.replicas, p.throughput) for p in points], float).T
    estimate, covariance = optimize.curve_fit(law, replicas, throughput, (100, 0.1, 0.001), sigma=throughput)
    reach = stats.t.ppf(0.975, len(points) - 3) * np.sqrt(np.diag(covariance))
    for interval, value, half in zip((found.rate, found.contention, found.coherence), estimate, reach, strict=True):
        assert interval.value == pytest.approx(value, abs=half / 5)
        assert interval.high - interval.low == pytest.approx(2 * half, rel=0.15)


def test_bounds_are_quantiles() -> None:
    values = stats.norm(5, 2).rvs(2000, random_state=1)
    low, high = bounds(values.tolist())
    assert sum(low <= value <= high for value in values) == pytest.approx(0.95 * 2000, abs=2)
    assert [low, high] == pytest.approx(stats.mstats.mquantiles(values, [0.025, 0.975]).tolist(), abs=0.05)


@pytest.mark.parametrize(
    ("counts", "parameters"),
    [([1], 0), ([1, 2], 0), ([1, 1, 1], 0), ([1, 2, 4], 2), ([1, 2, 1, 2, 1, 2], 2), ([1, 2, 4, 1, 2, 4], 3)],
)
def test_no_more_parameters_than_points_can_bear(counts: list[int], parameters: int) -> None:
    points = measured((50.0, 0.1, 0.0), counts, 0.01, 1)
    assert parameters_for(points) == parameters
    found = fit(points)
    assert (found.parameters if found else 0) == parameters
    if parameters == 2:
        assert found is not None
        assert found.coherence.value == found.coherence.high == 0


def test_replicas_for_a_target_rate() -> None:
    found = fit(measured((100.0, 0.02, 0.001), [1, 2, 4, 8, 12, 16], 0, 1))
    assert found is not None
    needed = found.replicas_for(600)
    assert needed is not None
    assert law(needed, 100, 0.02, 0.001) >= 600 > law(needed - 1, 100, 0.02, 0.001)
    assert found.replicas_for(100_000) is None


def test_the_curve_reaches_beyond_what_was_measured() -> None:
    found = fit(measured((100.0, 0.02, 0.001), [1, 2, 4, 1, 2, 4], 0.02, 1))
    assert found is not None
    assert len(found.curve) == 8
    assert all(c.low <= c.high for c in found.curve)
    assert found.curve[7].high - found.curve[7].low > found.curve[1].high - found.curve[1].low


def test_the_same_points_give_the_same_fit() -> None:
    points = measured((100.0, 0.02, 0.001), [1, 2, 4, 8, 12, 16], 0.05, 1)
    assert fit(points) == fit(points)
