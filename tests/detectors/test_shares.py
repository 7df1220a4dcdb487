"""The exact test of a share that has risen, against enumeration, scipy, a published table and its own promise."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from detectors.drift.exact import share_p_value
from detectors.shares import rise_p_values
from tests.oracle.shares import binomial_at_least, fisher


def p_of(reference_hits: int, reference_n: int, hits: int, n: int) -> float:
    return float(rise_p_values(reference_hits, reference_n, hits, n))


def test_it_is_the_fraction_that_counting_gives_for_all_small_tables() -> None:
    for reference_n in range(8):
        for n in range(8):
            for a in range(reference_n + 1):
                for x in range(n + 1):
                    expected = float(fisher(a, reference_n, x, n))
                    assert expected == pytest.approx(p_of(a, reference_n, x, n), rel=1e-12)


def test_it_agrees_with_scipy_on_large_tables() -> None:
    rng = np.random.default_rng(5)
    reference_n, n = rng.integers(1, 10**6, 400), rng.integers(1, 10**5, 400)
    share = 10 ** rng.uniform(-5, 0, 400)
    a = (reference_n * share).astype(np.int64)
    x = np.clip(n * share + rng.normal(0, 5, 400) * np.sqrt(n * share + 1), 0, n).astype(np.int64)
    expected = hypergeom.sf(x - 1, reference_n + n, a + x, n)
    found = rise_p_values(a, reference_n, x, n)
    kept = expected > 1e-200
    assert kept.sum() > 300
    np.testing.assert_allclose(found[kept], expected[kept], rtol=2e-8, atol=1e-12)
    np.testing.assert_allclose(found[~kept], 0, atol=1e-199)


def test_it_gives_the_published_figure_for_the_lady_tasting_tea() -> None:
    # Fisher, The Design of Experiments (1935), chapter II: 3 of 4 right has probability 17/70, all right 1/70.
    assert p_of(1, 4, 3, 4) == pytest.approx(17 / 70, rel=1e-14)
    assert p_of(0, 4, 4, 4) == pytest.approx(1 / 70, rel=1e-14)


def test_one_hit_beside_a_clean_reference_is_as_likely_as_the_windows_part_of_all_rows() -> None:
    assert p_of(0, 50_000, 1, 1_000) == pytest.approx(1_000 / 51_000, rel=1e-12)


@pytest.mark.parametrize("share", [Fraction(1, 50), Fraction(1, 5), Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize(("reference_n", "n"), [(12, 6), (30, 4), (6, 12)])
def test_without_a_change_p_is_at_most_a_with_probability_at_most_a(share: Fraction, reference_n: int, n: int) -> None:
    """The size of the test, summed exactly over all pairs of samples with the same share, at every level it can have."""

    def chance(hits: int, rows: int) -> Fraction:
        return comb(rows, hits) * share**hits * (1 - share) ** (rows - hits)

    outcomes = [
        (p_of(a, reference_n, x, n), chance(a, reference_n) * chance(x, n))
        for a in range(reference_n + 1)
        for x in range(n + 1)
    ]
    for level in {p for p, _ in outcomes}:
        assert float(sum(chance for p, chance in outcomes if p <= level * (1 + 1e-12))) <= level * (1 + 1e-12)


def test_five_per_cent_of_nulls_among_a_thousand_rows_are_certain_to_be_seen() -> None:
    # The budget of a family leaves about 1e-6 to one test of one window; 5 % of 1,000 rows is never below 20 hits.
    assert p_of(50, 50_000, 20, 1_000) < 1e-12
    assert 1 - binomial_at_least(20, 1_000, Fraction(1, 20)) < 1e-6


def test_for_rare_hits_it_is_the_binomial_test_of_the_drift_cell() -> None:
    for x in range(1, 10):
        assert p_of(3, 500_000, x, 10_000) == pytest.approx(share_p_value(3, 500_000, x, 10_000), rel=0.005)


def test_for_common_hits_it_sees_what_the_binomial_test_does_not() -> None:
    assert p_of(25_000, 50_000, 560, 1_000) < 1e-4
    assert share_p_value(25_000, 50_000, 560, 1_000) > 4e-3


def test_a_share_that_falls_is_nobodys_alarm() -> None:
    assert p_of(5_000, 10_000, 0, 1_000) == 1.0
    assert p_of(5_000, 10_000, 300, 1_000) > 1 - 1e-12


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 40), st.integers(0, 40))
def test_more_hits_are_never_less_remarkable(a: int, more: int, x: int, rest: int) -> None:
    reference_n, n = a + more, x + rest
    p = rise_p_values(a, reference_n, np.arange(n + 1), n)
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) <= 1e-12).all()


def test_arrays_broadcast_and_give_what_single_tests_give() -> None:
    hits, n = np.array([[0, 3], [7, 9]]), np.array([10, 20])
    expected = [[p_of(2, 100, int(x), int(m)) for x, m in zip(row, n, strict=True)] for row in hits]
    assert expected == rise_p_values(2, 100, hits, n).tolist()
    assert rise_p_values(0, 10, np.zeros(0, np.int64), 5).shape == (0,)


@pytest.mark.parametrize("table", [(-1, 10, 0, 5), (11, 10, 0, 5), (0, 10, 6, 5), (0, 10, -1, 5)])
def test_more_hits_than_rows_are_refused(table: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="hits must lie between 0 and the number of rows"):
        rise_p_values(*table)


def test_counts_whose_products_leave_int64_are_on_the_right_side_of_the_mean() -> None:
    billion = 10**9
    assert rise_p_values(3 * billion, 4 * billion, 10, 4 * billion) == 1.0


def test_a_tail_that_no_float_holds_is_zero_at_once() -> None:
    # Without an end to the sum this would run for an hour.
    assert rise_p_values(5 * 10**11, 10**13, 6 * 10**11, 10**12) == 0.0
