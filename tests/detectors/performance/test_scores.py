"""Figures of scores against the scores themselves: areas by sorting, losses from floats, and what bins may hide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.performance import Metric, count_classes, metrics
from tests.oracle import scores
from tests.oracle.outcomes import single

ROWS = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60)


def found(actual: list[int], score: list[float]) -> dict[str, Metric]:
    truth, probability = np.array(actual, np.int64), np.array(score, float)
    predicted = (probability >= 0.5).astype(np.int64)
    return metrics(count_classes(truth, predicted, "binary", 2, probability), "binary", ("", "yes"))


@given(ROWS)
def test_areas_differ_from_those_of_the_exact_scores_by_at_most_the_bin_error(rows: list[tuple[int, float]]) -> None:
    actual, score = [a for a, _ in rows], [s for _, s in rows]
    result = found(actual, score)
    for name, exact, defined in (
        ("roc_auc", scores.auc, 0 < sum(actual) < len(actual)),
        ("pr_auc", scores.average_precision, sum(actual) > 0),
    ):
        metric = result[name]
        assert (metric.value is not None) == defined
        if metric.value is not None:
            assert abs(metric.value - exact(actual, score)) <= metric.bin_error + 1e-12


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99)), min_size=1, max_size=60))
def test_with_one_score_in_each_bin_areas_are_exact(rows: list[tuple[int, int]]) -> None:
    actual, score = [a for a, _ in rows], [(b + 0.5) / 100 for _, b in rows]
    result = found(actual, score)
    if sum(actual):
        assert result["pr_auc"].value == pytest.approx(scores.average_precision(actual, score))
        if sum(actual) < len(actual):
            assert result["roc_auc"].value == pytest.approx(scores.auc(actual, score))


def test_the_bin_error_of_the_average_precision_is_reached() -> None:
    actual, first, last = [0] * 7 + [1] * 3, 0.301, 0.309
    one_bin = found(actual, [0.305] * 10)["pr_auc"]
    assert one_bin.value == pytest.approx(0.3)
    best = scores.average_precision(actual, [first] * 7 + [last] * 3)
    assert best - 0.3 == pytest.approx(one_bin.bin_error)
    true_positive_first = found([1, 0, 0, 0], [0.9] + [0.305] * 3)["pr_auc"]
    assert (true_positive_first.value, true_positive_first.bin_error) == (1.0, 0.0)


def test_the_bin_error_of_the_average_precision_knows_the_worst_order_too() -> None:
    actual = [0] * 5 + [1] * 4
    one_bin = found(actual, [0.9] * 5 + [0.305] * 4)["pr_auc"]
    worst = scores.average_precision(actual, [0.9] * 5 + [0.301, 0.302, 0.303, 0.304])
    assert one_bin.value == pytest.approx(4 / 9)
    assert one_bin.bin_error == pytest.approx(4 / 9 - worst)


@given(ROWS)
def test_losses_are_those_of_the_floats(rows: list[tuple[int, float]]) -> None:
    actual, score = [a for a, _ in rows], [single(s) for _, s in rows]
    result = found(actual, score)
    assert result["log_loss"].value == pytest.approx(scores.log_loss(actual, score), abs=5e-10)
    assert result["brier"].value == pytest.approx(scores.brier(actual, score), abs=5e-10)
    if len(rows) > 1:
        squares = [(s - a) ** 2 for a, s in rows]
        assert result["brier"].standard_error == pytest.approx(np.std(squares, ddof=1) / math.sqrt(len(rows)), abs=1e-4)


def test_scores_of_a_rare_class_far_below_one_bin_keep_their_losses() -> None:
    rng = np.random.default_rng(3)
    score = rng.uniform(0, 2e-3, 20_000)
    actual = (rng.random(20_000) < score).astype(int).tolist()
    result = found(actual, score.tolist())
    assert result["log_loss"].value == pytest.approx(scores.log_loss(actual, score.tolist()), rel=1e-6)
    assert result["brier"].value == pytest.approx(scores.brier(actual, score.tolist()), rel=1e-6)


def test_scores_that_are_no_probabilities_define_areas_and_no_losses() -> None:
    margins = [-2.0, -1.0, 0.5, 1.5, 3.0]
    result = found([0, 0, 1, 1, 1], margins)
    assert [result[name].value for name in ("log_loss", "brier", "ece")] == [None, None, None]
    assert result["roc_auc"].value == 1.0


def test_a_stray_score_outside_counts_as_certain() -> None:
    result = found([0] * 100, [0.25] * 99 + [7.0])
    assert result["brier"].value == pytest.approx((99 * 0.0625 + 1) / 100)
    assert result["log_loss"].value == pytest.approx((99 * -math.log(0.75) + 20 * math.log(2)) / 100, abs=1e-8)


def test_outcomes_without_a_score_count_in_the_confusion_only() -> None:
    result = found([0, 1, 1], [math.nan, math.nan, 0.8])
    assert result["accuracy"].n == 3
    assert [result[name].n for name in ("log_loss", "brier", "ece", "pr_auc")] == [1, 1, 1, 1]


@pytest.mark.parametrize("classes", [1, 3])
def test_a_binary_task_has_two_classes(classes: int) -> None:
    with pytest.raises(ValueError, match="two classes"):
        count_classes(np.array([classes - 1]), np.array([classes - 1]), "binary", classes)
