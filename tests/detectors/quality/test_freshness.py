"""Ages: counted exactly, added up exactly, judged by the binomial law."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.quality import AgeCounts, count_ages, freshness_test
from tests.oracle.shares import binomial_at_least

MINUTE = 60_000


def test_an_age_is_event_time_less_the_time_of_computing() -> None:
    now = 1_767_225_600_000
    used = [now] * 7
    made = [now, now - MINUTE, now - MINUTE - 1, now + MINUTE, None, nan, now - 10 * MINUTE]
    assert count_ages(used, made, max_age_ms=MINUTE) == AgeCounts(rows=7, older=2, unknown=2)
    assert count_ages([], [], max_age_ms=0) == AgeCounts(0, 0, 0)


@pytest.mark.parametrize(
    ("rows", "older", "share"), [(10, 1, "0.01"), (100, 5, "0.02"), (500, 3, "0.01"), (50, 50, "0.5")]
)
def test_the_p_value_is_the_binomial_tail(rows: int, older: int, share: str) -> None:
    result = freshness_test(AgeCounts(rows, older, 0), allowed_share=float(share))
    assert result.p_value == pytest.approx(float(binomial_at_least(older, rows, Fraction(share))), rel=1e-10)
    assert (result.share, result.n, result.insufficient) == (older / rows, rows, False)


def test_the_promise_about_a_quantile_is_kept_until_more_are_older_than_it_allows() -> None:
    assert (freshness_test(AgeCounts(10_000, 100, 0)).p_value or 0) > 0.4
    assert (freshness_test(AgeCounts(10_000, 200, 0)).p_value or 0) < 1e-15
    assert freshness_test(AgeCounts(10_000, 0, 0)).p_value == 1.0
    assert freshness_test(AgeCounts(10, 1, 0), allowed_share=0).p_value == 0.0


def test_rows_of_unknown_age_are_no_evidence() -> None:
    result = freshness_test(AgeCounts(1_000, 9, 991))
    assert (result.n, result.p_value, result.insufficient) == (9, None, True)
    assert freshness_test(AgeCounts(0, 0, 0)).insufficient


Rows = list[tuple[int, int | None]]
TIMES = st.lists(st.tuples(st.integers(0, 2**45), st.none() | st.integers(0, 2**45)), max_size=30)


@settings(deadline=None)
@given(TIMES, TIMES, TIMES)
def test_counts_of_parts_add_up_in_any_order(a: Rows, b: Rows, c: Rows) -> None:
    def counted(rows: Rows) -> AgeCounts:
        return count_ages([used for used, _ in rows], [made for _, made in rows], max_age_ms=1000)

    x, y, z = counted(a), counted(b), counted(c)
    assert counted([*c, *a, *b]) == (x + y) + z == x + (z + y)
    assert x + AgeCounts(0, 0, 0) == x


@pytest.mark.parametrize("counts", [(1, 2, 0), (3, 2, 2), (-1, 0, 0), (1, -1, 0)])
def test_counts_that_no_window_has_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        AgeCounts(*counts)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="two equally long columns"):
        count_ages([1, 2], [1], max_age_ms=5)
    with pytest.raises(ValueError, match="an age of 0 or more"):
        count_ages([1], [1], max_age_ms=-1)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        freshness_test(AgeCounts(1, 0, 0), allowed_share=1)


def test_an_infinite_age_is_older() -> None:
    assert count_ages([0.0], [-inf], max_age_ms=5) == AgeCounts(1, 1, 0)
