"""Drift against references: scipy's chi-squared, numpy's own arithmetic, and samples without drift."""

from __future__ import annotations

import numpy as np
import pytest

from deployer.domain.drift import (
    CHANCE,
    chi_squared_quantile,
    compare,
    jensen_shannon,
    normal_quantile,
    per_feature,
    psi,
    share_bound,
)

stats = pytest.importorskip("scipy.stats")
distance = pytest.importorskip("scipy.spatial.distance")

DECILES = stats.norm.ppf(np.arange(1, 10) / 10)
FEATURES = 20
TRAINING = 20_000


def deciles(values: np.ndarray) -> list[int]:
    found: list[int] = np.bincount(np.searchsorted(DECILES, values, side="right"), minlength=10).tolist()
    return found


@pytest.mark.parametrize("freedom", [1, 2, 5, 9, 20, 63])
def test_quantiles_are_those_of_scipy(freedom: int) -> None:
    for probability in (0.01, 0.5, 0.95, 0.999, 0.99999):
        assert chi_squared_quantile(probability, freedom) == pytest.approx(stats.chi2.ppf(probability, freedom))
    assert normal_quantile(0.975) == pytest.approx(stats.norm.ppf(0.975))


def test_indices_are_those_of_numpy_and_scipy() -> None:
    random = np.random.default_rng(3)
    live, other = random.integers(1, 500, 12), random.integers(1, 500, 12)
    p, q = live / live.sum(), other / other.sum()
    assert psi(live.tolist(), other.tolist()) == pytest.approx(np.sum((p - q) * np.log(p / q)))
    assert jensen_shannon(live.tolist(), other.tolist()) == pytest.approx(distance.jensenshannon(p, q, base=2))
    assert jensen_shannon([5, 0], [0, 9]) == 1


@pytest.mark.parametrize("records", [200, 2_000, 200_000])
@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_records_without_drift_raise_no_alarm(records: int, threshold: float) -> None:
    """Also where chance alone decides, one of all features in one of a hundred runs at most is beyond it."""
    random = np.random.default_rng(7)
    words = np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.01, 0.005, 0.003, 0.001, 0.001])
    alarms = 0
    for _ in range(200):
        shares = [np.full(10, 0.1)] * (FEATURES // 2) + [words] * (FEATURES // 2)
        found = [
            compare(
                random.multinomial(records, share).tolist(),
                random.multinomial(TRAINING, share).tolist(),
                alpha=per_feature(CHANCE, FEATURES),
            )
            for share in shares
        ]
        alarms += any(one.beyond(threshold) for one in found)
    assert alarms <= 2


def test_a_shift_of_half_a_deviation_is_found_by_2000_records() -> None:
    random = np.random.default_rng(11)
    for _ in range(200):
        training = deciles(random.normal(size=TRAINING))
        found = compare(deciles(random.normal(0.5, size=2_000)), training, alpha=per_feature(CHANCE, FEATURES))
        assert found.beyond(0.1)
        assert 0 < found.low < found.psi


def test_too_few_records_prove_nothing() -> None:
    assert not compare([3, 0], [500, 500]).beyond(0.1)
    assert not compare([0, 0], [500, 500]).beyond(0.1)
    with pytest.raises(ValueError, match="3 bins"):
        compare([1, 2, 3], [1, 2])


def test_the_bound_of_a_share_is_that_of_two_samples() -> None:
    random = np.random.default_rng(5)
    first, second = random.binomial(2_000, 0.1, 4_000), random.binomial(20_000, 0.1, 4_000)
    beyond = np.mean(
        [
            abs(a / 2_000 - b / 20_000) > share_bound(int(a), 2_000, int(b), 20_000, 0.05)
            for a, b in zip(first, second, strict=True)
        ]
    )
    assert 0.03 < beyond < 0.07
