"""Delays of labels: the histogram is the oracle's, and its quantiles are as close as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.performance.delays import (
    DELAY_BINS,
    DELAY_OCTAVES,
    QUANTILES,
    count_delays,
    delay_edges,
    delay_quantile,
)
from tests.oracle import delays as oracle

SETTINGS = settings(deadline=None)  # the first call compiles
LARGEST = (1 << 62) - 1
EDGES = [e + d for e in delay_edges().tolist() for d in (-1, 0, 1)]
DELAYS = st.lists(
    st.one_of(
        st.integers(-LARGEST, LARGEST),
        st.integers(0, 1 << 38),
        st.integers(0, 100),
        st.sampled_from(EDGES),
    )
)


def counted(late: list[int]) -> NDArray[np.int64]:
    counts = np.zeros(DELAY_BINS, np.int64)
    count_delays(counts, np.zeros(len(late), np.int64), np.array(late, np.int64))
    return counts


@SETTINGS
@given(DELAYS)
def test_every_delay_is_in_the_bin_of_the_oracle(late: list[int]) -> None:
    assert oracle.histogram(late) == counted(late).tolist()


def test_every_edge_is_the_first_of_its_bin() -> None:
    assert oracle.histogram(EDGES) == counted(EDGES).tolist()
    whole = [-(-edge.numerator // edge.denominator) for edge in oracle.edges()]
    assert [0, *whole] == delay_edges().tolist()


@SETTINGS
@given(DELAYS.filter(bool), st.sampled_from([0.0, *QUANTILES, 1.0]))
def test_a_quantile_is_off_by_an_eighth_at_most(late: list[int], q: float) -> None:
    true, found = oracle.quantile(late, q), delay_quantile(counted(late), q)
    assert found is not None
    if true <= 0:
        assert found == 0
    elif true >= 1 << DELAY_OCTAVES:
        assert found == 1 << DELAY_OCTAVES  # a lower bound: nothing is known of what lies beyond
    else:
        assert 8 * abs(found - true) <= true


@SETTINGS
@given(DELAYS, st.integers(0, 100))
def test_histograms_of_parts_add_up_to_that_of_the_whole(late: list[int], cut: int) -> None:
    assert counted(late).tolist() == (counted(late[:cut]) + counted(late[cut:])).tolist()
    assert counted(late).tolist() == counted(late[::-1]).tolist()


def test_vectors_in_one_arena_do_not_touch_each_other() -> None:
    arena = np.zeros(3 * DELAY_BINS, np.int64)
    count_delays(arena, np.array([0, 2 * DELAY_BINS]), np.array([-1, 1 << 40]))
    assert np.flatnonzero(arena).tolist() == [0, 3 * DELAY_BINS - 1]


def test_no_delay_has_no_quantile() -> None:
    assert delay_quantile(counted([]), 0.5) is None


def test_all_equal_delays_have_one_quantile() -> None:
    assert {delay_quantile(counted([7] * 100), q) for q in (0.0, *QUANTILES, 1.0)} == {7}


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        delay_quantile(counted([1]), q)


def test_another_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="150 counters"):
        delay_quantile(np.zeros(10, np.int64), 0.5)
