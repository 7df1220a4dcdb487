"""The expected calibration error: exact parts, no bias for calibrated scores of any number, and loss that shows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.performance import Metric, count_classes, drop_p_value, reliability
from detectors.performance.calibration import ece, mean_deviation
from tests.oracle import scores


def counted(score: NDArray[np.float64], actual: NDArray[Any]) -> NDArray[np.int64]:
    return count_classes(actual.astype(np.int64), (score > 0.5).astype(np.int64), "binary", 2, score)


def world(n: int, seed: int, *, skewed: bool = False, off: float = 0.0) -> Metric:
    rng = np.random.default_rng(seed)
    score = rng.beta(0.2, 5, n) if skewed else rng.random(n)
    return ece(counted(score, rng.random(n) < np.clip(score + off, 0, 1)))


@given(st.integers(1, 60), st.fractions(0, 1, max_denominator=97))
def test_the_expected_distance_of_a_binomial_share_is_de_moivres(n: int, p: Fraction) -> None:
    found = mean_deviation(np.array([float(n)]), np.array([float(p)]))[0]
    assert found == pytest.approx(float(scores.mean_deviation(n, p)), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2**20)), min_size=1, max_size=60))
def test_the_plain_error_is_what_the_formula_gives(rows: list[tuple[int, int]]) -> None:
    score = [s / 2**20 for _, s in rows]
    actual = [a for a, _ in rows]
    table = reliability(counted(np.array(score), np.array(actual)))
    assert table.plain == pytest.approx(_ungrouped(actual, score), abs=1e-9)
    assert sum(g.n for g in table.groups) == len(rows)


def _ungrouped(actual: list[int], score: list[float]) -> float:
    """Groups are five score bins each, and a score exactly on an edge may fall below it, as 0.29 * 100 does."""
    bins = [min(99, int(s * 100)) // 5 for s in score]
    middles = [(b + 0.5) / 20 for b in bins]
    gaps = dict.fromkeys(middles, 0.0)
    for m, a, s in zip(middles, actual, score, strict=True):
        gaps[m] += a - s
    return sum(abs(g) for g in gaps.values()) / len(actual)


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("n", [30, 300])
def test_a_calibrated_model_has_an_error_of_zero_on_average(n: int, *, skewed: bool) -> None:
    values = np.array([world(n, seed, skewed=skewed).value for seed in range(1500)])
    assert abs(values.mean()) < 3.5 * values.std() / np.sqrt(len(values)) + 0.02 / n


def test_the_plain_error_of_a_calibrated_model_is_not_zero() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(300)
    table = reliability(counted(score, rng.random(300) < score))
    assert table.plain > 0.05
    assert table.expected == pytest.approx(0.08, abs=0.01)


@pytest.mark.parametrize("off", [0.0, 0.1])
def test_its_standard_error_is_the_deviation_over_repeated_samples(off: float) -> None:
    found = [world(1000, seed, off=off) for seed in range(400)]
    stated = np.mean([m.standard_error or 0.0 for m in found])
    assert stated == pytest.approx(np.std([m.value or 0.0 for m in found]), rel=0.2)


def test_windows_of_any_size_keep_the_level_and_scores_that_went_off_are_found() -> None:
    reference = world(50_000, 1)
    for n in (100, 1000):
        calm = [drop_p_value(reference, world(n, seed), "higher") for seed in range(2, 1002)]
        assert np.mean(np.array(calm) <= 0.05) <= 0.05
    assert drop_p_value(reference, world(1000, 2, off=0.1), "higher") < 1e-3


def test_scores_in_one_bin_are_judged_by_what_they_said() -> None:
    score = np.full(10_000, 0.001)
    actual = np.zeros(10_000)
    actual[:10] = 1
    table = reliability(counted(score, actual))
    assert table.groups[0].mean_score == pytest.approx(0.001, rel=1e-3)
    assert table.plain == pytest.approx(0, abs=1e-6)


def test_no_scores_have_no_reliability() -> None:
    table = reliability(np.zeros(235, np.int64))
    assert (table.groups, table.excess.value) == ((), None)
