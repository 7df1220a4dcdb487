"""The statistics of two count vectors against scipy and against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import drift
from detectors.drift import DriftResult
from detectors.drift.anderson import tail_probability
from detectors.registry import TWO_SAMPLE
from tests.oracle import divergences

ALL = [entry.test for entry in TWO_SAMPLE]
COUNTS = st.integers(2, 12).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 300), min_size=bins, max_size=bins).filter(any)] * 2)
)


def arrays(counts: tuple[list[int], list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(counts[0]), np.array(counts[1])


@settings(deadline=None)  # the first example may compile
@given(COUNTS)
def test_psi_is_its_formula_with_half_a_count_added(counts: tuple[list[int], list[int]]) -> None:
    found = drift.psi(*arrays(counts))
    bias = (len(counts[0]) - 1) * (1 / sum(counts[1]) + 1 / sum(counts[0]))
    assert found.statistic == pytest.approx(divergences.psi(*counts), abs=1e-12)
    assert found.effect_size == pytest.approx(found.statistic - bias, abs=1e-12)


@settings(deadline=None)  # the first example may compile
@given(COUNTS)
def test_jensen_shannon_and_hellinger_are_their_formulas(counts: tuple[list[int], list[int]]) -> None:
    # A square root turns the rounding of a sum near zero into 1e-8.
    assert drift.jensen_shannon(*arrays(counts)).statistic == pytest.approx(
        divergences.jensen_shannon(*counts), abs=1e-7
    )
    assert drift.hellinger(*arrays(counts)).statistic == pytest.approx(divergences.hellinger(*counts), abs=1e-7)


@settings(deadline=None)  # the first example may compile
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


@settings(deadline=None)  # the first example may compile
@given(COUNTS)
def test_g_is_scipys_likelihood_ratio_of_the_table(counts: tuple[list[int], list[int]]) -> None:
    table = np.array(counts)[:, np.sum(counts, axis=0) > 0]
    expected = scipy.stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
    found = drift.g_test(*arrays(counts), least_expected=1e-9)
    one_sided = np.array(counts[0]) == 0  # bins that the reference does not know are pooled, whatever is expected
    if not one_sided.any():
        assert found.statistic == pytest.approx(expected, rel=1e-9, abs=1e-9)
        n, reference_n = sum(counts[1]), sum(counts[0])
        assert found.effect_size == pytest.approx(math.sqrt(max(0, expected) * (1 / n + 1 / reference_n)), abs=1e-6)


def test_g_has_williams_p_value() -> None:
    # Sokal & Rohlf's q for a table of two rows, written out for one example.
    reference, current = np.array([400, 300, 300]), np.array([30, 40, 30])
    expected = scipy.stats.chi2_contingency([reference, current], correction=False, lambda_="log-likelihood")
    total, rows, columns = 1100, (1000, 100), (430, 340, 330)
    q = 1 + (total * sum(1 / r for r in rows) - 1) * (total * sum(1 / c for c in columns) - 1) / (6 * total * 2)
    found = drift.g_test(reference, current)
    assert found.p_value == pytest.approx(scipy.stats.chi2.sf(expected.statistic / q, 2), rel=1e-9)
    assert found.p_value > expected.pvalue
    assert found.bins[0] == 1


def test_g_is_the_weighted_jensen_shannon_divergence() -> None:
    reference, current = np.array([500, 300, 200]), np.array([400, 300, 300])  # equal sizes: weights of one half
    found = drift.jensen_shannon(reference, current).statistic
    assert drift.g_test(reference, current).statistic == pytest.approx(2 * 2000 * found**2 * math.log(2))


@pytest.mark.parametrize(
    "statistic",
    [drift.psi, drift.jensen_shannon, drift.hellinger, drift.chi2, drift.g_test, drift.anderson_darling],
)
def test_values_beside_a_constant_are_found_though_pooling_leaves_one_group(
    statistic: Callable[..., DriftResult],
) -> None:
    came_to_life = statistic(np.array([0, 5000, 0]), np.array([20, 160, 20]))
    assert came_to_life.p_value < 1e-20
    still = statistic(np.array([0, 5000, 0]), np.array([0, 200, 0]))
    assert still.p_value == 1.0


def test_wassersteins_p_value_is_that_of_all_deals_of_the_rows() -> None:
    # Five rows and five rows: all 252 deals can be looked at.
    values, places = [0, 0, 1, 2, 2, 0, 1, 1, 2, 3], np.arange(4.0)
    seen = scipy.stats.wasserstein_distance(values[:5], values[5:])
    deals = [
        scipy.stats.wasserstein_distance([values[i] for i in chosen], [values[i] for i in range(10) if i not in chosen])
        for chosen in combinations(range(10), 5)
    ]
    expected = sum(d >= seen - 1e-12 for d in deals) / len(deals)
    found = drift.wasserstein(np.bincount(values[:5], minlength=4), np.bincount(values[5:], minlength=4), places)
    assert found.statistic == pytest.approx(seen)
    assert found.p_value == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 1999))


def test_wasserstein_compares_samples_of_a_billion_rows() -> None:
    found = drift.wasserstein(np.array([600_000_000, 600_000_000]), np.array([50_100, 49_900]))
    assert 0.2 < found.p_value < 0.9


@settings(deadline=None)  # the first example may compile
@given(st.integers(2, 9).flatmap(lambda b: st.tuples(*[st.lists(st.integers(1, 300), min_size=b, max_size=b)] * 2)))
def test_anderson_darling_is_its_formula(counts: tuple[list[int], list[int]]) -> None:
    found = drift.anderson_darling(*arrays(counts), least_expected=1e-9)
    assert found.statistic == pytest.approx(divergences.anderson_darling(*counts), rel=1e-9)


def test_anderson_darling_on_many_bins_has_the_classical_law() -> None:
    # Anderson & Darling 1954: upper 10, 5 and 1 per cent points of the one-sample statistic for a known distribution.
    for value, probability in ((1.933, 0.10), (2.492, 0.05), (3.857, 0.01)):
        assert tail_probability([1.0] * 400, value) == pytest.approx(probability, rel=0.06)


@pytest.mark.parametrize("statistic", ALL)
def test_equal_shares_are_no_drift(statistic: Callable[..., DriftResult]) -> None:
    found = statistic(np.array([5000, 3000, 2000]), np.array([500, 300, 200]))
    assert isinstance(found, DriftResult)
    assert found.statistic == pytest.approx(0, abs=1e-6)
    assert found.p_value > 0.99


@pytest.mark.parametrize("statistic", ALL)
def test_a_large_shift_is_certain_and_a_larger_one_has_a_larger_effect(statistic: Callable[..., DriftResult]) -> None:
    reference = np.array([5000, 3000, 2000])
    some = statistic(reference, np.array([400, 350, 250]))
    more = statistic(reference, np.array([100, 300, 600]))
    assert some.p_value < 0.001
    assert more.p_value <= some.p_value
    assert more.effect_size > some.effect_size > 0
    assert more.n == 1000
    assert more.bins


@pytest.mark.parametrize("statistic", ALL)
def test_an_empty_sample_says_nothing(statistic: Callable[..., DriftResult]) -> None:
    for counts in (([0, 0], [3, 4]), ([3, 4], [0, 0])):
        assert statistic(*arrays(counts)) == DriftResult(0.0, 0.0, 1.0, 0, ())


@pytest.mark.parametrize("statistic", ALL)
@pytest.mark.parametrize("counts", [([1, 2], [1, 2, 3]), ([], []), ([1, -1], [1, 1]), ([1, math.nan], [1, 1])])
def test_vectors_that_cannot_be_compared_are_refused(
    statistic: Callable[..., DriftResult], counts: tuple[list[float], list[float]]
) -> None:
    with pytest.raises(ValueError, match="count"):
        statistic(np.array(counts[0]), np.array(counts[1]))


@pytest.mark.parametrize("statistic", ALL)
def test_p_values_are_right_on_average_without_drift(statistic: Callable[..., DriftResult]) -> None:
    rng = np.random.default_rng(11)
    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    p_values = [statistic(rng.multinomial(20_000, shares), rng.multinomial(800, shares)).p_value for _ in range(300)]
    rejected = sum(p <= 0.1 for p in p_values)
    assert rejected <= scipy.stats.binom.ppf(0.9999, 300, 0.1)
    if statistic is not drift.ks:  # on five bins Kolmogorov's law is an upper bound
        assert rejected >= scipy.stats.binom.ppf(0.0001, 300, 0.1)
