"""The statistics of two count vectors against scipy and against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from detectors import drift
from detectors.drift import DriftResult
from detectors.drift.anderson import tail_probability
from tests.oracle import divergences

ALL = [
    drift.psi,
    drift.jensen_shannon,
    drift.hellinger,
    drift.ks,
    drift.wasserstein,
    drift.chi2,
    drift.anderson_darling,
]
COUNTS = st.integers(2, 12).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 300), min_size=bins, max_size=bins).filter(any)] * 2)
)


def arrays(counts: tuple[list[int], list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(counts[0]), np.array(counts[1])


@given(COUNTS)
def test_psi_is_its_formula_with_half_a_count_added(counts: tuple[list[int], list[int]]) -> None:
    found = drift.psi(*arrays(counts))
    bias = (len(counts[0]) - 1) * (1 / sum(counts[1]) + 1 / sum(counts[0]))
    assert found.statistic == pytest.approx(divergences.psi(*counts), abs=1e-12)
    assert found.effect_size == pytest.approx(found.statistic - bias, abs=1e-12)


@given(COUNTS)
def test_jensen_shannon_and_hellinger_are_their_formulas(counts: tuple[list[int], list[int]]) -> None:
    # A square root turns the rounding of a sum near zero into 1e-8.
    assert drift.jensen_shannon(*arrays(counts)).statistic == pytest.approx(
        divergences.jensen_shannon(*counts), abs=1e-7
    )
    assert drift.hellinger(*arrays(counts)).statistic == pytest.approx(divergences.hellinger(*counts), abs=1e-7)


@given(COUNTS)
def test_wasserstein_and_ks_are_those_of_scipy_on_the_bins_positions(counts: tuple[list[int], list[int]]) -> None:
    reference, current = arrays(counts)
    places = np.arange(len(reference), dtype=np.float64) ** 2
    expected = scipy.stats.wasserstein_distance(places, places, reference, current)
    assert drift.wasserstein(reference, current, places).statistic == pytest.approx(expected, abs=1e-9)
    samples = np.repeat(places, reference), np.repeat(places, current)
    assert drift.ks(reference, current).statistic == pytest.approx(scipy.stats.ks_2samp(*samples).statistic, abs=1e-12)


def test_chi2_is_scipys_test_of_the_pooled_table() -> None:
    reference, current = np.array([400, 300, 250, 40, 10]), np.array([30, 40, 20, 8, 2])
    pooled = [[400, 300, 300], [30, 40, 30]]  # a window of 100 expects 10 from the third group on
    expected = scipy.stats.chi2_contingency(pooled, correction=False)
    found = drift.chi2(reference, current)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.bins[0] == 1


@given(st.integers(2, 9).flatmap(lambda b: st.tuples(*[st.lists(st.integers(1, 300), min_size=b, max_size=b)] * 2)))
def test_anderson_darling_is_its_formula(counts: tuple[list[int], list[int]]) -> None:
    found = drift.anderson_darling(*arrays(counts), least_expected=1e-9)
    assert found.statistic == pytest.approx(divergences.anderson_darling(*counts), rel=1e-9)


def test_anderson_darling_on_many_bins_has_the_classical_law() -> None:
    # Anderson & Darling 1954: upper 10, 5 and 1 per cent points of the one-sample statistic for a known distribution.
    for value, probability in ((1.933, 0.10), (2.492, 0.05), (3.857, 0.01)):
        assert tail_probability([1.0] * 400, value) == pytest.approx(probability, rel=0.06)


@pytest.mark.parametrize("statistic", ALL)
def test_equal_shares_are_no_drift(statistic: object) -> None:
    found = statistic(np.array([5000, 3000, 2000]), np.array([500, 300, 200]))  # type: ignore[operator]
    assert isinstance(found, DriftResult)
    assert found.statistic == pytest.approx(0, abs=1e-6)
    assert found.p_value > 0.99


@pytest.mark.parametrize("statistic", ALL)
def test_a_large_shift_is_certain_and_a_larger_one_has_a_larger_effect(statistic: object) -> None:
    reference = np.array([5000, 3000, 2000])
    some = statistic(reference, np.array([400, 350, 250]))  # type: ignore[operator]
    more = statistic(reference, np.array([100, 300, 600]))  # type: ignore[operator]
    assert some.p_value < 0.001
    assert more.p_value <= some.p_value
    assert more.effect_size > some.effect_size > 0
    assert more.n == 1000
    assert more.bins


@pytest.mark.parametrize("statistic", ALL)
def test_an_empty_sample_says_nothing(statistic: object) -> None:
    for counts in (([0, 0], [3, 4]), ([3, 4], [0, 0])):
        assert statistic(*arrays(counts)) == DriftResult(0.0, 0.0, 1.0, 0, ())  # type: ignore[operator]


@pytest.mark.parametrize("statistic", ALL)
@pytest.mark.parametrize("counts", [([1, 2], [1, 2, 3]), ([], []), ([1, -1], [1, 1]), ([1, math.nan], [1, 1])])
def test_vectors_that_cannot_be_compared_are_refused(
    statistic: object, counts: tuple[list[float], list[float]]
) -> None:
    with pytest.raises(ValueError, match="count"):
        statistic(np.array(counts[0]), np.array(counts[1]))  # type: ignore[operator]


@pytest.mark.parametrize("statistic", ALL)
def test_p_values_are_right_on_average_without_drift(statistic: object) -> None:
    rng = np.random.default_rng(11)
    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    p_values = [
        statistic(rng.multinomial(20_000, shares), rng.multinomial(800, shares)).p_value  # type: ignore[operator]
        for _ in range(300)
    ]
    rejected = sum(p <= 0.1 for p in p_values)
    assert rejected <= scipy.stats.binom.ppf(0.9999, 300, 0.1)
    if statistic is not drift.ks:  # on five bins Kolmogorov's law is an upper bound
        assert rejected >= scipy.stats.binom.ppf(0.0001, 300, 0.1)
