"""The statistics of gates, held against scipy, which the deployer does not depend on."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from deployer.rollout.gates.statistics import binomial_at_least, quantile, rate_excess

shares = st.floats(min_value=1e-6, max_value=1 - 1e-6)


@given(st.data(), st.integers(min_value=0, max_value=100_000), shares)
def test_binomial_tails_are_scipys(data: st.DataObject, trials: int, share: float) -> None:
    successes = data.draw(st.integers(min_value=0, max_value=trials))
    exact = stats.binom.sf(successes - 1, trials, share)
    assert binomial_at_least(successes, trials, share) == pytest.approx(exact, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("successes", [0, 1, 9, 10, 11])
def test_binomial_tails_at_the_edges_are_scipys(successes: int, share: float) -> None:
    assert binomial_at_least(successes, 10, share) == stats.binom.sf(successes - 1, 10, share)


@given(st.data(), st.integers(1, 5000), st.integers(1, 5000), st.floats(0.1, 10))
def test_an_excess_of_rates_is_scipys_binomial_test(
    data: st.DataObject, trials: int, others: int, factor: float
) -> None:
    bad, other_bad = (data.draw(st.integers(min_value=0, max_value=n)) for n in (trials, others))
    found = rate_excess(bad, trials, other_bad, others, factor)
    if bad + other_bad == 0:
        assert found == 1.0
        return
    share = factor * trials / (factor * trials + others)
    exact = stats.binomtest(bad, bad + other_bad, share, alternative="greater").pvalue
    assert found == pytest.approx(exact, rel=1e-7, abs=1e-12)


@given(st.integers(1, 5000), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([0.05, 0.01, 0.0005]))
def test_the_interval_of_a_quantile_has_the_ranks_that_scipy_finds(total: int, q: float, alpha: float) -> None:
    # One observation in each bucket: the edges of the interval are ranks.
    found = quantile(q, [float(rank) for rank in range(1, total + 1)], [1] * total + [0], alpha)
    assert found is not None
    low = int(stats.binom.ppf(alpha, total, q))
    high = int(stats.binom.ppf(1 - alpha, total, q)) + 1
    assert found.low == max(0, low - 1)
    assert found.high == (high if high <= total else math.inf)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any), st.floats(0.01, 0.99))
def test_the_estimate_of_a_quantile_is_that_of_scipys_histogram(counts: list[int], q: float) -> None:
    bounds = list(accumulate(range(1, len(counts) + 1), initial=0))
    inside = stats.rv_histogram((np.array(counts), np.array(bounds)), density=False)
    found = quantile(q, [float(bound) for bound in bounds[1:]], [*counts, 0], 0.05)
    assert found is not None
    assert inside.cdf(found.estimate) == pytest.approx(q, abs=1e-9)
