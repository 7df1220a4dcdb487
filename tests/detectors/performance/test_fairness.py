"""Differences between segments: rates, exact p-values, no false claim more often than promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.performance import count_classes, differences
from detectors.performance.fairness import holm
from tests.oracle import scores


def vector(tn: int, fp: int, fn: int, tp: int) -> NDArray[np.int64]:
    actual = np.repeat([0, 0, 1, 1], [tn, fp, fn, tp])
    return count_classes(actual, np.repeat([0, 1, 0, 1], [tn, fp, fn, tp]), "binary", 2)


def test_rates_differences_and_ratios_are_those_of_the_counts() -> None:
    found = differences({"a": vector(600, 200, 50, 150), "b": vector(250, 50, 60, 40)}, base="a")
    by_name = {d.rate: d for d in found.differences}
    rates = {"selection_rate": (90 / 400, 350 / 1000), "true_positive_rate": (0.4, 0.75)}
    rates["false_positive_rate"] = (50 / 300, 0.25)
    assert set(by_name) == set(rates)
    for name, (b, a) in rates.items():
        assert by_name[name].difference == pytest.approx(b - a)
        assert by_name[name].ratio == pytest.approx(b / a)
        assert found.rates["b"][name].value == pytest.approx(b)


@given(st.lists(st.integers(0, 15), min_size=8, max_size=8))
def test_p_values_are_fishers(counts: list[int]) -> None:
    tn, fp, fn, tp, *other = counts
    found = differences({"a": vector(tn, fp, fn, tp), "b": vector(*other)}, base="a", least=1)
    hits = {
        "selection_rate": (other[1] + other[3], sum(other), fp + tp, tn + fp + fn + tp),
        "true_positive_rate": (other[3], other[2] + other[3], tp, fn + tp),
        "false_positive_rate": (other[1], other[0] + other[1], fp, tn + fp),
    }
    assert {d.rate for d in found.differences} | {r for r, _ in found.too_small} == set(hits)
    for d in found.differences:
        assert d.p_value == pytest.approx(scores.fisher(*hits[d.rate])[2], rel=1e-6)


def test_segments_with_few_outcomes_are_named_and_not_compared() -> None:
    found = differences({"a": vector(600, 200, 50, 150), "b": vector(100, 50, 5, 4)})
    assert found.base == "a"
    assert found.too_small == (("true_positive_rate", "b"),)
    assert {d.rate for d in found.differences} == {"selection_rate", "false_positive_rate"}


def test_a_base_that_never_says_yes_has_no_ratio() -> None:
    found = differences({"a": vector(900, 0, 100, 0), "b": vector(80, 20, 60, 40)}, base="a")
    assert {d.ratio for d in found.differences} == {None}
    assert all(d.p_value < 1e-6 for d in found.differences)


def test_errors_are_the_deviation_over_repeated_samples() -> None:
    rng = np.random.default_rng(3)

    def drawn(n: int, yes: float) -> NDArray[np.int64]:
        return count_classes(rng.integers(0, 2, n), (rng.random(n) < yes).astype(int), "binary", 2)

    runs = [differences({"a": drawn(800, 0.4), "b": drawn(300, 0.3)}, base="a").differences[0] for _ in range(400)]
    assert np.mean([d.difference_error for d in runs]) == pytest.approx(np.std([d.difference for d in runs]), rel=0.1)
    ratios = np.array([d.ratio for d in runs], float)
    assert np.mean([d.ratio_error or 0.0 for d in runs]) == pytest.approx(ratios.std(), rel=0.1)


def test_equal_segments_are_rarely_called_different_however_many_there_are() -> None:
    rng = np.random.default_rng(4)
    claims = 0
    for _ in range(120):
        segments = {
            str(k): count_classes(rng.integers(0, 2, 150), rng.integers(0, 2, 150), "binary", 2) for k in range(5)
        }
        claims += any(d.corrected <= 0.05 for d in differences(segments).differences)
    assert claims <= 13  # 120 * 0.05 and three standard errors


def test_holm_multiplies_the_smallest_by_all_and_never_goes_back() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one segment"):
        differences({})
    with pytest.raises(ValueError, match="base segment 'x'"):
        differences({"a": vector(1, 1, 1, 1)}, base="x")
    with pytest.raises(ValueError, match="segment 'a' has 7 counts"):
        differences({"a": np.zeros(7, np.int64)})
    assert differences({"a": vector(1, 1, 1, 1)}).differences == ()
