"""What every statistic of two count vectors promises. A law takes an entry of the registry and fails or does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from scipy.stats import binom

from detectors.drift.result import TOP, Counts, DriftResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.registry import TwoSample

BINS: Final = 20
REFERENCE: Final = np.full(BINS, 5000, np.int64)
"""A reference of 100,000 rows, as many in each bin: a window of 1,000 expects 50."""
EVEN: Final = np.full(BINS, 50, np.int64)
"""A window that has the reference's shares exactly."""


def moved(*moves: tuple[int, int, int]) -> Counts:
    """A window of 1,000 rows in which (rows) went from one bin to another: (from, to, rows)."""
    counts = EVEN.copy()
    for source, target, rows in moves:
        counts[source] -= rows
        counts[target] += rows
    return counts


GROSS: Final = moved(*((i, i + 10, 40) for i in range(10)))
"""A window in which 40 % of the rows went over the middle."""


def fields(found: DriftResult) -> tuple[float, float, float, int, tuple[int, ...]]:
    """A result as a tuple, for comparison to the last bit."""
    return found.statistic, found.effect_size, found.p_value, found.n, found.bins


def the_result_has_plain_numbers_in_their_ranges(entry: TwoSample) -> None:
    for current in (EVEN, moved((3, 9, 20)), moved(*((i, 0, 50) for i in range(1, BINS)))):
        found = entry.test(REFERENCE, current)
        assert isinstance(found, DriftResult)
        assert [type(x) for x in fields(found)[:4]] == [float, float, float, int], (
            "numpy's scalars are not written as JSON"
        )
        assert 0 <= found.statistic <= entry.largest
        assert math.isfinite(found.effect_size)
        assert 0 <= found.p_value <= 1
        assert found.n == 1000
        assert len(set(found.bins)) == len(found.bins) <= TOP
        assert all(type(b) is int and 0 <= b < BINS for b in found.bins)


def equal_shares_are_no_difference(entry: TwoSample) -> None:
    found = entry.test(REFERENCE, EVEN)
    assert found.statistic == pytest.approx(0, abs=1e-4), "statistic of equal shares"
    assert found.effect_size <= found.statistic, "effect of equal shares"
    assert found.p_value > 0.99


def an_empty_sample_is_nothing_to_compare(entry: TwoSample) -> None:
    none = np.zeros(BINS, np.int64)
    for reference, current in ((REFERENCE, none), (none, EVEN), (none, none)):
        found = entry.test(reference, current)
        assert (found.statistic, found.effect_size, found.p_value, found.bins) == (0.0, 0.0, 1.0, ())


def a_single_bin_is_no_difference(entry: TwoSample) -> None:
    found = entry.test(np.array([1000]), np.array([50]))
    assert (found.statistic, found.effect_size, found.p_value) == (0.0, 0.0, 1.0)


def what_is_no_pair_of_counts_is_refused(entry: TwoSample) -> None:
    wrong: list[tuple[str, object, object]] = [
        ("equal length", REFERENCE, EVEN[:-1]),
        ("equal length", np.zeros(0), np.zeros(0)),
        ("equal length", REFERENCE.reshape(2, -1), EVEN.reshape(2, -1)),
        ("not negative", REFERENCE, np.where(np.arange(BINS) == 3, -1, EVEN)),
        ("finite", REFERENCE, np.where(np.arange(BINS) == 3, np.nan, EVEN)),
        ("finite", np.where(np.arange(BINS) == 3, np.inf, REFERENCE), EVEN),
    ]
    for said, reference, current in wrong:
        with pytest.raises(ValueError, match=said):
            entry.test(reference, current)  # type: ignore[arg-type]  # wrong on purpose


def the_type_of_integer_does_not_matter(entry: TwoSample) -> None:
    current = moved((3, 9, 20))
    expected = fields(entry.test(REFERENCE, current))
    for kind in (np.int16, np.uint16, np.int32, np.uint64, np.float64):
        assert fields(entry.test(REFERENCE.astype(kind), current.astype(kind))) == expected
    assert fields(entry.test(REFERENCE.tolist(), current.tolist())) == expected  # type: ignore[arg-type]  # for notebooks


def the_same_counts_give_the_same_answer_and_are_left_alone(entry: TwoSample) -> None:
    reference, current = REFERENCE.copy(), moved((3, 9, 20))
    before = current.copy()
    first = fields(entry.test(reference, current))
    entry.test(reference, EVEN)
    assert fields(entry.test(reference, current)) == first
    assert (reference == REFERENCE).all()
    assert (current == before).all()


def panes_add_up_to_the_window(entry: TwoSample) -> None:
    rng = np.random.default_rng(5)
    panes = rng.multinomial(100, np.full(BINS, 1 / BINS), 10)
    whole = fields(entry.test(REFERENCE, panes.sum(axis=0)))
    assert fields(entry.test(REFERENCE, panes[:3].sum(axis=0) + panes[3:].sum(axis=0))) == whole
    assert fields(entry.test(REFERENCE, sum(panes[::-1], np.zeros(BINS, np.int64)))) == whole


def reading_the_bins_from_the_other_end_gives_the_same_distance(entry: TwoSample) -> None:
    for current in (moved((3, 9, 20)), moved((0, 1, 10), (8, 19, 30))):
        one, other = entry.test(REFERENCE, current), entry.test(REFERENCE, current[::-1])
        assert other.statistic == pytest.approx(one.statistic)
        assert other.effect_size == pytest.approx(one.effect_size)


def unordered_means_any_order_of_the_bins(entry: TwoSample) -> None:
    if not entry.unordered:
        return
    current = moved(*((i, i + 10, 20 + 2 * i) for i in range(10)))
    order = np.random.default_rng(2).permutation(BINS)
    one, other = entry.test(REFERENCE, current), entry.test(REFERENCE, current[order])
    assert [other.statistic, other.effect_size] == pytest.approx([one.statistic, one.effect_size], rel=1e-9)
    assert other.p_value == pytest.approx(one.p_value, rel=1e-6)
    assert {int(order[b]) for b in other.bins} == set(one.bins)


def ordered_means_that_farther_is_more(entry: TwoSample) -> None:
    if entry.unordered:
        return
    near, far = entry.test(REFERENCE, moved((3, 4, 20))), entry.test(REFERENCE, moved((3, 16, 20)))
    # Kolmogorov-Smirnov's distance stays: it looks at one place of the cumulative shares.
    assert far.effect_size >= near.effect_size * (1 - 1e-12)
    assert entry.test(REFERENCE, moved(*((i, i + 1, 20) for i in range(0, BINS - 1, 2)))).effect_size < (
        entry.test(REFERENCE, moved(*((i, i + 10, 20) for i in range(10)))).effect_size
    )


def the_bins_named_are_those_that_moved_most(entry: TwoSample) -> None:
    found = entry.test(REFERENCE, moved((4, 5, 30)))
    assert found.bins
    assert set(found.bins) <= {4, 5}
    # 4 and 15 lie equally far from the middle, so a weight by position is the same for both.
    found = entry.test(REFERENCE, moved((4, 5, 10), (15, 14, 40)))
    assert found.bins[0] in {14, 15}
    assert set(found.bins) <= {4, 5, 14, 15}
    # One bin gains what all others lose together, and the other way round.
    others = [i for i in range(BINS) if i != 3]  # the one bin
    assert entry.test(REFERENCE, moved(*((i, 3, 2) for i in others))).bins[0] == 3  # as above
    assert entry.test(REFERENCE, moved(*((3, i, 2) for i in others))).bins[0] == 3  # as above


def the_effect_does_not_depend_on_the_size_of_the_reference(entry: TwoSample) -> None:
    one, ten = entry.test(REFERENCE, GROSS), entry.test(REFERENCE * 10, GROSS)
    assert ten.effect_size == pytest.approx(one.effect_size, rel=0.05)


def the_effect_does_not_depend_on_the_size_of_the_window(entry: TwoSample) -> None:
    # The same shares: statistics that pool both samples see a little less when the window is a larger part of the pool,
    # and what is taken off for sampling error is smaller in the larger window.
    one, four = entry.test(REFERENCE * 10, GROSS), entry.test(REFERENCE * 10, GROSS * 4)
    assert four.effect_size == pytest.approx(one.effect_size, rel=0.05)


def a_gross_change_is_seen(entry: TwoSample) -> None:
    found = entry.test(REFERENCE, GROSS)
    assert found.p_value < 0.001
    assert found.effect_size > 0.05


def without_drift_small_p_values_are_as_rare_as_they_say(entry: TwoSample) -> None:
    rng = np.random.default_rng(77)
    windows, shares = 400, np.full(BINS, 1 / BINS)
    reference = rng.multinomial(50_000, shares)
    p = np.array([entry.test(reference, c).p_value for c in rng.multinomial(1000, shares, windows)])
    for level in (0.01, 0.05, 0.5):
        assert (p <= level).sum() <= binom.ppf(0.9999, windows, level), f"P(p <= {level}) is above {level}"


LAWS: Final[tuple[Callable[[TwoSample], None], ...]] = (
    the_result_has_plain_numbers_in_their_ranges,
    equal_shares_are_no_difference,
    an_empty_sample_is_nothing_to_compare,
    a_single_bin_is_no_difference,
    what_is_no_pair_of_counts_is_refused,
    the_type_of_integer_does_not_matter,
    the_same_counts_give_the_same_answer_and_are_left_alone,
    panes_add_up_to_the_window,
    reading_the_bins_from_the_other_end_gives_the_same_distance,
    unordered_means_any_order_of_the_bins,
    ordered_means_that_farther_is_more,
    the_bins_named_are_those_that_moved_most,
    the_effect_does_not_depend_on_the_size_of_the_reference,
    the_effect_does_not_depend_on_the_size_of_the_window,
    a_gross_change_is_seen,
    without_drift_small_p_values_are_as_rare_as_they_say,
)
