"""The reference played through the rule: confirmed scores, peaks, the raised threshold, episodes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detectors.decisions.replay import GAP, confirmed, episodes, fewest, peaks, raised
from tests.oracle.episodes import count_episodes, largest_threshold

SCORES = st.lists(st.none() | st.sampled_from([0.5, 1.0, 2.0, 3.0, 5.0]), max_size=30)


@given(SCORES, st.sampled_from([(1, 1), (1, 3), (2, 3), (3, 3), (2, 2), (2, 5)]))
def test_the_confirmed_score_is_the_largest_threshold_at_which_the_window_alarms(
    scores: list[float | None], confirm: tuple[int, int]
) -> None:
    row = np.array([[math.nan if s is None else s for s in scores]])
    expected = [-math.inf if s is None else s for s in largest_threshold(scores, *confirm)]
    assert confirmed(row, confirm)[0].tolist() == expected


@given(arrays.arrays(float, st.integers(0, 60), elements=st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0])))
def test_peaks_fall_and_none_is_beside_a_higher_one(margins: np.ndarray) -> None:
    found = peaks(margins)
    assert sorted(found, reverse=True) == found.tolist()
    finite = margins[margins > -math.inf]
    assert len(found) <= math.ceil(len(margins) / (GAP + 1))
    if len(finite):
        assert found[0] == finite.max()


def test_a_lone_peak_counts_once_however_long_it_stands() -> None:
    assert peaks(np.array([0.0, 5, 6, 5, 0, 0, 0, 0, 4])).tolist() == [6, 4]


@given(st.integers(0, 10**6), st.floats(0.1, 5), st.floats(0.1, 5))
def test_a_smaller_budget_never_lowers_a_threshold(seed: int, one: float, other: float) -> None:
    margins = np.random.default_rng(seed).exponential(size=600) - 3
    small, large = sorted((one, other))
    assert raised(margins, small)[0] >= raised(margins, large)[0] >= 0


def test_thresholds_are_raised_to_where_the_future_keeps_the_budget() -> None:
    """Exponential peaks: the mean number of later ones above the raised threshold is what the budget allows."""
    rng = np.random.default_rng(1)
    allowed, later = 1.0, []
    for _ in range(400):
        past, future = rng.exponential(size=(2, 672))
        rise, expected = raised(past, allowed)
        assert expected == pytest.approx(allowed)
        later.append((peaks(future) > rise).sum())
    assert np.mean(later) == pytest.approx(allowed, abs=4 * np.std(later) / 20)


def test_thresholds_stay_where_the_reference_never_comes_near_them() -> None:
    rise, expected = raised(np.random.default_rng(1).exponential(size=672) - 20, 1.0)
    assert rise == 0
    assert 0 <= expected < 0.01


@pytest.mark.parametrize("margins", [np.zeros(0), np.full(100, -np.inf), np.array([1.0]), np.full(5, 2.0)])
def test_a_reference_with_next_to_no_windows_raises_nothing(margins: np.ndarray) -> None:
    assert raised(margins, 1.0) == (0.0, 0.0)


def test_a_budget_of_more_episodes_than_peaks_is_met_below_them() -> None:
    margins = np.random.default_rng(2).exponential(size=240)
    rise, expected = raised(margins, 1000.0)
    assert 0 < rise < margins.max()
    assert expected <= 1000


@given(
    st.integers(1, 4).flatmap(
        lambda cells: arrays.arrays(bool, st.tuples(st.just(cells), st.integers(0, 40)), elements=st.booleans())
    ),
    st.integers(0, 10**6),
)
def test_episodes_are_those_of_a_count_window_by_window(rejects: np.ndarray, seed: int) -> None:
    alarms = rejects & (np.random.default_rng(seed).random(rejects.shape) < 0.3)
    assert episodes(rejects, alarms) == count_episodes(rejects.tolist(), alarms.tolist(), GAP)


def test_a_number_of_episodes_is_said_with_one_decimal() -> None:
    assert [fewest(x) for x in (0.03, 0.1, 0.449, 2)] == ["less than 0.1", "0.1", "0.4", "2.0"]
