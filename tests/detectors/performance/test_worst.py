"""The worst segments of a window: who is named, in which order, and how often nobody should have been."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.performance import count_classes, count_errors, layout, merge
from detectors.performance.worst import LEVEL, worst_segments
from tests.oracle import proxies as oracle

CLASSES = ("", "yes")
Vector = NDArray[np.int64]


def answers(n: int, wrong: int) -> Vector:
    """So many answers "no", so many of them wrong."""
    actual = (np.arange(n) < wrong).astype(np.int64)
    return count_classes(actual, np.zeros(n, np.int64), "binary", 2)


def scored(rng: np.random.Generator, n: int, turned: float = 0.0) -> Vector:
    """Calibrated scores; with ``turned``, that share of the labels is turned round."""
    score = rng.random(n)
    actual = (rng.random(n) < score) ^ (rng.random(n) < turned)
    return count_classes(actual.astype(np.int64), (score > 0.5).astype(np.int64), "binary", 2, score)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=6))
def test_p_values_are_fishers_against_the_rest_corrected_by_holm(sizes: list[tuple[int, int]]) -> None:
    counts = [(n, min(n, wrong)) for n, wrong in sizes]
    segments = {i: answers(n, wrong) for i, (n, wrong) in enumerate(counts)}
    total = merge(*segments.values(), answers(20, 4))
    n, wrong = int(total[layout.N]), int(total[layout.ERRORS])
    exact = [float(oracle.fisher(wrong - bad, n - size, bad, size)) for size, bad in counts]
    corrected = oracle.holm(exact)
    found = worst_segments(segments, total, "binary", CLASSES, "accuracy", min_support=1, level=0.5)
    for w in found:
        assert w.p_value == pytest.approx(exact[w.segment], rel=1e-9)
        assert w.corrected == pytest.approx(corrected[w.segment], rel=1e-9)
        assert w.judged == len(counts)
    worse = [bad * (n - size) > (wrong - bad) * size for size, bad in counts]
    expected = {i for i, p in enumerate(corrected) if p <= 0.5 - 1e-9 and worse[i]}
    unclear = {i for i, p in enumerate(corrected) if abs(p - 0.5) < 1e-9}
    assert {w.segment for w in found} - unclear == expected


def test_a_small_segment_does_not_stand_before_a_large_one_by_noise() -> None:
    segments = {"large": answers(20_000, 4_000), "small": answers(150, 45), "sound": answers(80_000, 8_000)}
    found = worst_segments(segments, merge(*segments.values()), "binary", CLASSES, "accuracy")
    assert [w.segment for w in found] == ["large", "small"]
    assert found[0].worse_by < found[1].worse_by
    assert found[0].lower > found[1].lower > 0


def test_the_rest_does_not_contain_the_segment() -> None:
    segments = {"a": answers(600, 300), "b": answers(400, 40)}
    [worst] = worst_segments(segments, merge(*segments.values()), "binary", CLASSES, "accuracy")
    assert (worst.segment, worst.current.value, worst.rest.value) == ("a", 0.5, 0.9)
    assert (worst.labels, worst.current.n, worst.rest.n) == (600, 600, 400)
    assert worst.worse_by == pytest.approx(0.4)


def test_a_segment_with_too_few_labels_is_not_judged_and_costs_the_others_nothing() -> None:
    many = {f"tiny{i}": answers(99, 30) for i in range(50)}
    one = {"bad": answers(400, 100)}
    total = merge(*many.values(), *one.values(), answers(20_000, 2_000))
    [with_tiny] = worst_segments(many | one, total, "binary", CLASSES, "accuracy")
    [alone] = worst_segments(one, total, "binary", CLASSES, "accuracy")
    assert with_tiny == alone
    assert alone.judged == 1


def test_support_is_that_of_the_metric_not_of_the_segment() -> None:
    rng = np.random.default_rng(1)
    actual = (rng.random(5_000) < 0.01).astype(np.int64)
    segment = count_classes(actual, np.zeros(5_000, np.int64), "binary", 2)
    total = merge(segment, scored(rng, 20_000))
    assert actual.sum() < 100
    assert worst_segments({"s": segment}, total, "binary", CLASSES, "recall") == []
    [found] = worst_segments({"s": segment}, total, "binary", CLASSES, "recall", min_support=20)
    assert found.current.n == actual.sum()


METRICS = [("binary", m) for m in ("accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "pr_auc")]
METRICS += [("binary", m) for m in ("log_loss", "brier", "ece")]
METRICS += [("multiclass", m) for m in ("accuracy", "precision", "recall", "f1")]
METRICS += [("regression", m) for m in ("mae", "rmse", "bias", "absolute_p50", "residual_p95")]


def of_task(rng: np.random.Generator, task: str, n: int, bad: float = 0.0) -> Vector:
    if task == "binary":
        return scored(rng, n, bad)
    if task == "regression":
        return count_errors(rng.normal(2 * bad, 1 + 2 * bad, n), np.zeros(n))
    actual = rng.integers(0, 3, n)
    return count_classes(actual, np.where(rng.random(n) < 0.1 + bad, rng.integers(0, 3, n), actual), task, 3)


def classes(task: str) -> tuple[str, ...]:
    return {"binary": CLASSES, "multiclass": ("a", "b", "other"), "regression": ()}[task]


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_every_metric_names_the_segment_that_is_worse_and_only_that(task: str, metric: str) -> None:
    rng = np.random.default_rng(2)
    segments = {f"s{i}": of_task(rng, task, 800, 0.4 if i == 7 else 0.0) for i in range(12)}
    found = worst_segments(segments, merge(*segments.values()), task, classes(task), metric)
    if metric not in {"bias", "residual_p95"}:  # worse is "apart" there: s7 pulls the rest of all others away
        assert [w.segment for w in found] == ["s7"]
    worst = found[0]
    assert worst.segment == "s7"
    assert 0 < worst.lower < worst.worse_by
    assert worst.p_value <= worst.corrected <= LEVEL


@pytest.mark.parametrize(("task", "metric"), [("binary", "accuracy"), ("binary", "roc_auc"), ("regression", "mae")])
def test_where_no_segment_is_worse_a_call_names_one_no_more_often_than_the_level(task: str, metric: str) -> None:
    rng = np.random.default_rng(3)
    level, calls, named = 0.1, 300, 0
    for _ in range(calls):
        # Overlapping: two countries by two channels, and each country and channel.
        cells = [of_task(rng, task, n) for n in (120, 300, 600, 150)]
        segments: dict[Any, Vector] = dict(enumerate(cells))
        segments |= {"a": merge(*cells[:2]), "b": merge(*cells[2:]), "c": merge(*cells[::2]), "d": merge(*cells[1::2])}
        named += bool(worst_segments(segments, merge(*cells), task, classes(task), metric, level=level))
    assert named <= calls * level + 3 * np.sqrt(calls * level * (1 - level))


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_all_lower_bounds_hold_together_as_often_as_the_level_says(metric: str) -> None:
    rng = np.random.default_rng(4)
    # Half are positives, and the answer is right with 0.8 or 0.6 whatever the class: F1 equals accuracy.
    true, level, calls, broken = 0.2, 0.1, 400, 0
    for _ in range(calls):
        made = {}
        for name, n, right in (("bad", 200, 0.6), ("rest", 2_000, 0.8)):
            actual = rng.integers(0, 2, n)
            made[name] = count_classes(actual, np.where(rng.random(n) < right, actual, 1 - actual), "binary", 2)
        found = worst_segments({"bad": made["bad"]}, merge(*made.values()), "binary", CLASSES, metric, level=level)
        broken += any(w.lower > true for w in found)
    assert broken <= calls * level + 3 * np.sqrt(calls * level * (1 - level))


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_the_lower_bound_of_a_ratio_has_the_error_of_the_rest_in_it_as_often_as_the_ratio(metric: str) -> None:
    rng = np.random.default_rng(6)
    one, rest = count_errors(rng.normal(0, 2, 500), np.zeros(500)), count_errors(rng.normal(0, 1, 400), np.zeros(400))
    [found] = worst_segments({"s": one}, merge(one, rest), "regression", (), metric, level=0.05)
    assert (found.current.value, found.rest.value) != (None, None)
    a, b = float(found.rest.value or 0), float(found.current.value or 0)
    error_a, error_b = float(found.rest.standard_error or 0) * b / a, float(found.current.standard_error or 0)
    # Both scaled to the other's size, the larger one each.
    error_a, error_b = max(error_a, error_b * np.sqrt(500 / 400)), max(error_b, error_a * np.sqrt(400 / 500))
    expected = b / a - 1 - 1.6448536269514722 * np.hypot(error_a, error_b) / a
    assert found.lower == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize(("n", "rest"), [(300, 300), (2_000, 150)])
def test_lower_bounds_of_ratios_hold_as_often_as_the_level_says(metric: str, n: int, rest: int) -> None:
    rng = np.random.default_rng(7)
    level, calls, broken = 0.1, 200, 0
    for _ in range(calls):
        one = count_errors(1.5 * rng.exponential(1, n), np.zeros(n))
        other = count_errors(rng.exponential(1, rest), np.zeros(rest))
        found = worst_segments({"s": one}, merge(one, other), "regression", (), metric, level=level)
        broken += any(w.lower > 0.5 for w in found)
    assert broken <= calls * level + 3 * np.sqrt(calls * level * (1 - level))


def test_order_of_segments_changes_nothing_and_neither_does_how_outcomes_were_merged() -> None:
    rng = np.random.default_rng(5)
    parts = {f"s{i}": [scored(rng, 300, 0.3 * (i < 3)) for _ in range(3)] for i in range(20)}
    one = {name: merge(*p) for name, p in parts.items()}
    other = {name: np.sum(parts[name][::-1], axis=0) for name in reversed(parts)}
    total = merge(*one.values())
    for metric in ("accuracy", "roc_auc", "brier"):
        assert worst_segments(one, total, "binary", CLASSES, metric) == worst_segments(
            other, total, "binary", CLASSES, metric
        )


def test_no_segments_empty_segments_and_the_whole_as_its_own_segment_name_nobody() -> None:
    total = answers(1_000, 100)
    empty = np.zeros_like(total)
    assert worst_segments({}, total, "binary", CLASSES, "accuracy") == []
    assert worst_segments({"none": empty, "all": total}, total, "binary", CLASSES, "accuracy", min_support=1) == []
    assert worst_segments({"all": empty}, empty, "binary", CLASSES, "roc_auc", min_support=1) == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"level": 0.0}, "level"),
        ({"min_support": 0}, "support"),
        ({"metric": "mae"}, "no metric 'mae'"),
        ({"segments": {"a": np.zeros(7, np.int64)}}, "235 counts"),
        ({"segments": {"a": answers(11, 0)}}, "more outcomes than all traffic"),
        ({"task": "ranking"}, "ranking"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], match: str) -> None:
    given_: dict[str, Any] = {"segments": {"a": answers(5, 1)}, "task": "binary", "metric": "accuracy"} | changes
    with pytest.raises(ValueError, match=match):
        worst_segments(
            given_.pop("segments"), answers(10, 2), given_.pop("task"), CLASSES, given_.pop("metric"), **given_
        )
