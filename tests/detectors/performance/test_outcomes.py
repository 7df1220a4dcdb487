"""Outcome vectors against counting one outcome at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.performance import count_classes, count_errors, layout
from tests.oracle import outcomes

SCORES = st.one_of(st.floats(0, 1), st.just(math.nan), st.floats(-1e300, 1e300))
VALUES = st.floats(-1e18, 1e18)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), SCORES), max_size=50))
def test_a_binary_vector_is_what_counting_gives(rows: list[tuple[int, int, float]]) -> None:
    actual, predicted, score = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    found = count_classes(np.array(actual, int), np.array(predicted, int), "binary", 2, np.array(score, float))
    assert found.tolist() == outcomes.classes(actual, predicted, 2, score, binary=True)
    assert len(found) == layout.width("binary", 2)


@given(st.integers(1, 6).flatmap(lambda k: st.tuples(st.just(k), st.lists(st.tuples(*[st.integers(0, k - 1)] * 2)))))
def test_a_multiclass_vector_is_what_counting_gives(case: tuple[int, list[tuple[int, int]]]) -> None:
    k, rows = case
    actual, predicted = [a for a, _ in rows], [p for _, p in rows]
    found = count_classes(np.array(actual, int), np.array(predicted, int), "multiclass", k)
    assert found.tolist() == outcomes.classes(actual, predicted, k, None, binary=False)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=50))
def test_a_regression_vector_is_exact_whatever_the_size_of_its_sums(rows: list[tuple[float, float]]) -> None:
    prediction, label = [p for p, _ in rows], [y for _, y in rows]
    found = count_errors(np.array(prediction, float), np.array(label, float))
    assert found.tolist() == outcomes.regression(prediction, label)


def test_sums_beyond_64_bits_stay_exact() -> None:
    n = 5000
    found = count_errors(np.full(n, -65535.0), np.zeros(n))
    assert found.tolist() == outcomes.regression([-65535.0] * n, [0.0] * n)
    assert layout.total(found, layout.SQUARE_SUM) == n * 65535.0**2
    assert layout.total(found, layout.ERROR_SUM) == -n * 65535.0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(0, 1)), min_size=1), st.integers(0, 50))
def test_vectors_of_parts_add_up_to_the_vector_of_the_whole(rows: list[tuple[int, int, float]], cut: int) -> None:
    def vector(part: list[tuple[int, int, float]]) -> list[int]:
        columns = np.array(part, float).reshape(-1, 3)
        whole = columns[:, :2].astype(int)
        return [int(c) for c in count_classes(whole[:, 0], whole[:, 1], "binary", 2, columns[:, 2])]

    assert [a + b for a, b in zip(vector(rows[:cut]), vector(rows[cut:]), strict=True)] == vector(rows)


def test_index_helpers_point_at_the_counts() -> None:
    vector = count_classes(np.array([1, 0]), np.array([0, 0]), "binary", 2, np.array([0.29, 1.0]))
    assert vector[layout.confusion_index(1, 0, 2)] == 1
    assert vector[layout.score_index(1, 0.29)] == 1
    assert vector[layout.score_index(0, 1.0)] == 1
    assert layout.confusion(vector, 2).tolist() == [[1, 0], [1, 0]]
    assert layout.score_histograms(vector).sum() == 2


@pytest.mark.parametrize(("task", "classes"), [("ranking", 3), ("multiclass", 0)])
def test_a_task_without_a_layout_is_refused(task: str, classes: int) -> None:
    with pytest.raises(ValueError, match="no outcome vector"):
        layout.width(task, classes)
