"""What the test of a cell is made of: pooling, tails, simulated laws, exact shares, views."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift.exact import share_p_value, share_p_values
from detectors.drift.monte_carlo import p_value
from detectors.drift.pooling import pooled_starts
from detectors.drift.views import drift_vector, group_starts
from detectors.drift.weighted_chi2 import upper_tail
from detectors.reference import Subject
from tests.oracle import cells as oracle


@settings(deadline=None)  # the first example may compile
@given(st.lists(st.integers(0, 500), min_size=1, max_size=30).filter(any), st.integers(1, 5000))
def test_every_pooled_group_expects_enough_and_no_bin_is_lost(counts: list[int], n: int) -> None:
    reference = np.array(counts, np.float64)
    starts = pooled_starts(reference, n)
    groups = np.add.reduceat(reference, starts)
    assert starts[0] == 0
    assert groups.sum() == reference.sum()
    assert len(groups) == 1 or (groups * n / reference.sum() >= 10 * (1 - 1e-9)).all()


@pytest.mark.parametrize("freedom", [1, 2, 5, 19])
def test_equal_weights_have_the_chi_squared_tail(freedom: int) -> None:
    for x in (0.2 * freedom, 0.9 * freedom, freedom, 1.1 * freedom, 3 * freedom, 10 * freedom):
        expected = scipy.stats.chi2.sf(x, freedom)
        assert upper_tail(np.full(freedom, 2.0), 2 * x) == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("bins", [2, 3, 5, 20])
def test_the_tail_of_anderson_darlings_law_is_within_5_per_cent_of_imhofs_integral(bins: int) -> None:
    weights = oracle.weights([1] * bins)
    for multiple in (0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0):
        x = multiple * sum(weights)
        expected = oracle.weighted_tail(weights, x)
        assert upper_tail(np.array(weights), x) == pytest.approx(expected, rel=0.045)


def test_the_tail_has_no_step_where_its_formula_divides_zero_by_zero() -> None:
    weights = np.array([1.0, 0.4, 0.2, 0.1, 0.05])
    near = [upper_tail(weights, float(weights.sum()) * (1 + d)) for d in np.linspace(-0.001, 0.001, 401)]
    # The density there is 0.25: a step of 5e-6 of the mean changes the tail by 2.2e-6, and the limit is off by 4e-5.
    assert max(np.abs(np.diff(near))) < 5e-5
    assert near == sorted(near, reverse=True)


@pytest.mark.parametrize(
    ("weights", "x"), [([], 1.0), ([1.0, 0.0], 1.0), ([1.0, -1.0], 1.0), ([math.inf], 1.0), ([1.0], math.nan)]
)
def test_a_tail_needs_positive_weights_and_a_number(weights: list[float], x: float) -> None:
    with pytest.raises(ValueError, match="positive weights"):
        upper_tail(np.array(weights), x)


def test_unequal_weights_have_the_tail_that_simulation_finds() -> None:
    weights = np.array([1.0, 0.4, 0.2, 0.1, 0.05])
    rng = np.random.default_rng(3)
    simulated = rng.chisquare(1, (400_000, 5)) @ weights
    for x in (0.5, 1.7, 4.0, 8.0):
        assert upper_tail(weights, x) == pytest.approx(float((simulated >= x).mean()), rel=0.08)


@settings(deadline=None)  # the first example may compile
@given(st.floats(0, 100), st.floats(0, 100))
def test_the_tail_falls_and_stays_a_probability(one: float, other: float) -> None:
    weights = np.array([1.0, 0.3, 0.1])
    low, high = sorted((one, other))
    assert 1 >= upper_tail(weights, low) >= upper_tail(weights, high) - 1e-9 >= -1e-9


def test_simulated_p_values_repeat_and_meet_the_asymptotic_ones_in_the_tail() -> None:
    def tail(x: float) -> float:
        return float(scipy.stats.chi2.sf(x, 4))

    shares = [10.0, 20.0, 30.0, 25.0, 15.0]
    values = [1.0, 5.0, 12.0, 14.0, 16.0, 30.0, 60.0]
    found = [p_value("chi2", shares, x, 150, tail) for x in values]
    assert found == [p_value("chi2", shares, x, 150, tail) for x in values]
    assert found == sorted(found, reverse=True)
    for x, p in zip(values[:3], found, strict=False):
        assert p == pytest.approx(tail(x), rel=0.3)
    assert found[-1] / tail(values[-1]) == pytest.approx(1, abs=0.7)


@pytest.mark.parametrize(("r", "big", "c", "n"), [(0, 8736, 1, 336), (3, 5000, 4, 200), (40, 50_000, 3, 100)])
def test_the_share_of_others_has_the_conditional_tail_of_both_samples(r: int, big: int, c: int, n: int) -> None:
    assert share_p_value(r, big, c, n) == pytest.approx(scipy.stats.binom.sf(c - 1, r + c, n / (n + big)))
    exact = scipy.stats.hypergeom.sf(c - 1, big + n, r + c, n)
    assert exact <= share_p_value(r, big, c, n) * (1 + 1e-9) <= 1.3 * exact + 1e-12


def test_no_other_value_is_no_evidence() -> None:
    assert share_p_value(0, 1000, 0, 100) == 1.0
    assert share_p_value(0, 0, 0, 0) == 1.0


def test_many_shares_at_once_have_the_p_values_of_each_alone() -> None:
    hits, n = np.array([[0, 1, 40], [3, 0, 100]]), np.array([[100], [250]])
    expected = [[share_p_value(7, 5000, int(x), int(m)) for x in row] for row, m in zip(hits, n[:, 0], strict=True)]
    assert expected == share_p_values(7, 5000, hits, n).tolist()
    assert share_p_values(7, 5000, np.zeros(0, np.int64), 100).shape == (0,)


def test_a_heavy_bin_takes_one_group_and_leaves_the_others_to_the_rest() -> None:
    counts = np.array([9000.0] + [10.0] * 100)
    starts = group_starts(counts, 10)
    assert starts[:2].tolist() == [0, 1]
    assert len(starts) == 10
    groups = np.add.reduceat(counts, starts)[1:]
    assert groups.max() - groups.min() <= 10


@settings(deadline=None)  # the first example may compile
@given(st.lists(st.integers(0, 400), min_size=1, max_size=120).filter(any), st.sampled_from([10, 20]))
def test_groups_start_at_the_first_bin_and_ascend(counts: list[int], groups: int) -> None:
    starts = group_starts(np.array(counts, np.float64), groups).tolist()
    assert starts[0] == 0
    assert starts == sorted(set(starts))


def test_values_out_of_range_count_in_the_outer_bins_and_missing_ones_not_at_all() -> None:
    subject = Subject("x", "numeric", np.array([0.0, 1.0, 2.0]), (), (), np.array([0, 5, 5, 0, 1, 1]))
    assert drift_vector(subject, np.array([1, 2, 3, 4, 100, 100])).tolist() == [3, 7]


def test_a_constant_keeps_below_and_above_apart() -> None:
    subject = Subject("x", "numeric", np.array([0.0, 1.0]), (), (), np.array([0, 5, 0, 0, 0]))
    assert drift_vector(subject, np.array([1, 2, 3, 9, 9])).tolist() == [1, 2, 3]
