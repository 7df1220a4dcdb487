"""Outcome vectors against counting one outcome at a time."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.performance import count_classes, count_errors, counting, layout, merge, reclassify
from tests.oracle import outcomes

GRID = st.sampled_from([0.0, 1.0, 0.29, 0.5, 0.999, 1e-7, 1 - 1e-7, -0.0, -1e-9, 1 + 1e-9, 1.7, -3.0, 2**-20, 5e-324])
SCORES = st.one_of(st.floats(0, 1), st.just(math.nan), GRID, st.floats(-1e308, 1e308), st.sampled_from([1e400, -1e400]))
BINARY = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), SCORES), max_size=50)
VALUES = st.one_of(st.floats(-1e18, 1e18), st.floats(-1, 1), st.floats(-1e-9, 1e-9), st.just(2.0**32))


def binary(rows: list[tuple[int, int, float]]) -> list[int]:
    actual, predicted, score = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    counted = count_classes(np.array(actual, int), np.array(predicted, int), "binary", 2, np.array(score, float))
    found: list[int] = counted.tolist()
    return found


@given(BINARY)
def test_a_binary_vector_is_what_counting_gives(rows: list[tuple[int, int, float]]) -> None:
    found = binary(rows)
    actual, predicted, score = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    finite = [math.copysign(1e308, s) if math.isinf(s) else s for s in score]
    assert found == outcomes.classes(actual, predicted, 2, finite, binary=True)
    assert len(found) == layout.width("binary", 2)


@given(st.integers(1, 6).flatmap(lambda k: st.tuples(st.just(k), st.lists(st.tuples(*[st.integers(0, k - 1)] * 2)))))
def test_a_multiclass_vector_is_what_counting_gives(case: tuple[int, list[tuple[int, int]]]) -> None:
    k, rows = case
    actual, predicted = [a for a, _ in rows], [p for _, p in rows]
    score = np.full(len(rows), 0.5)
    found = count_classes(np.array(actual, int), np.array(predicted, int), "multiclass", k, score)
    assert found.tolist() == outcomes.classes(actual, predicted, k, None, binary=False)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=50))
def test_a_regression_vector_is_exact_whatever_the_size_of_its_sums(rows: list[tuple[float, float]]) -> None:
    prediction, label = [p for p, _ in rows], [y for _, y in rows]
    found = count_errors(np.array(prediction, float), np.array(label, float))
    assert found.tolist() == outcomes.regression(prediction, label)


def test_errors_that_are_no_numbers_or_too_large_are_counted_and_nothing_else() -> None:
    prediction = np.array([math.nan, math.inf, -math.inf, math.inf, 1e308, 2.0**32, 1.0])
    label = np.array([0.0, 0.0, 1.0, math.inf, -1e308, 0.0, 1.0])
    found = count_errors(prediction, label)
    assert (found[layout.N], found[layout.OUT_OF_RANGE]) == (7, 6)
    assert layout.residuals(found).sum() == 1


def test_small_errors_keep_their_squares() -> None:
    found = count_errors(np.full(1000, 3e-5), np.zeros(1000))
    assert layout.total(found, layout.SQUARE_SUM) == pytest.approx(1000 * 9e-10, rel=1e-9)


def test_sums_beyond_64_bits_stay_exact() -> None:
    n, error = 5000, -(2.0**32 - 1)
    found = count_errors(np.full(n, error), np.zeros(n))
    assert found.tolist() == outcomes.regression([error] * n, [0.0] * n)
    assert layout.total(found, layout.SQUARE_SUM) == n * error**2
    assert layout.total(found, layout.ERROR_SUM) == n * error


def test_two_to_the_forty_outcomes_of_the_largest_size_fit() -> None:
    largest = count_errors(np.array([2.0**32 - 2.0**-20]), np.zeros(1)).astype(object) * 2**40
    worst = count_classes(np.array([0]), np.array([1]), "binary", 2, np.array([1.0])).astype(object) * 2**40
    for vector in (largest, worst):
        sums = layout.sums(len(vector))
        heads = [int(vector[s.at]) + (int(vector[s.at + 1]) >> 32) for s in sums]
        assert max(heads) < 2**62
    assert int(worst[layout.SCORE_SUMS + layout.GROUPS - 1]) < 2**62


@given(BINARY, st.integers(0, 50))
def test_merged_parts_are_the_vector_of_the_whole_to_the_byte(rows: list[tuple[int, int, float]], cut: int) -> None:
    one, two = np.array(binary(rows[:cut])), np.array(binary(rows[cut:]))
    assert merge(one, two).tolist() == binary(rows) == merge(two, one).tolist()
    assert merge(one).tolist() == one.tolist()
    assert merge(one, np.zeros_like(one)).tolist() == one.tolist()


@given(st.lists(st.lists(st.tuples(VALUES, VALUES), max_size=8), min_size=3, max_size=3))
def test_merging_regressions_is_associative_and_independent_of_order(parts: list[list[tuple[float, float]]]) -> None:
    def vector(rows: list[tuple[float, float]]) -> NDArray[np.int64]:
        return count_errors(np.array([p for p, _ in rows]), np.array([y for _, y in rows]))

    a, b, c = (vector(part) for part in parts)
    whole = vector([row for part in parts for row in part]).tolist()
    assert merge(merge(a, b), c).tolist() == merge(a, merge(b, c)).tolist() == merge(c, a, b).tolist() == whole
    assert [layout.total(a + b + c, s) for s in layout.sums(len(a))] == [
        layout.total(np.array(whole), s) for s in layout.sums(len(a))
    ]


def test_vectors_of_different_tasks_do_not_merge() -> None:
    with pytest.raises(ValueError, match="one length"):
        merge(np.zeros(235, np.int64), np.zeros(1038, np.int64))
    with pytest.raises(ValueError, match="one or more"):
        merge()


def test_counts_stand_where_the_layout_says() -> None:
    vector = count_classes(np.array([1, 0]), np.array([0, 0]), "binary", 2, np.array([0.29, 1.0]))
    assert layout.confusion(vector, 2).tolist() == [[1, 0], [1, 0]]
    # As float64, 0.29 * 100 is just below 29.
    assert [row.nonzero()[0].tolist() for row in layout.score_histograms(vector)] == [[99], [29]]
    assert layout.score_histograms(vector).sum() == 2
    assert layout.score_sums(vector).sum() == pytest.approx(1.29, abs=1e-6)


def test_the_loop_and_the_layout_agree() -> None:
    assert (counting.SCORES, counting.SCORE_BINS, counting.CLIPPED) == (
        layout.SCORES,
        layout.SCORE_BINS,
        layout.CLIPPED,
    )
    for at, of in (
        (counting.LOG_LOSS, layout.LOG_LOSS),
        (counting.LOG_LOSS_SQUARE, layout.LOG_LOSS_SQUARE),
        (counting.BRIER, layout.BRIER),
        (counting.BRIER_SQUARE, layout.BRIER_SQUARE),
    ):
        assert layout.Sum(at, 2, round(math.log2(counting.LOSS_UNIT))) == of
    for at, words, unit, of in (
        (counting.ERROR_SUM, counting.ERROR_WORDS, counting.ERROR_UNIT, layout.ERROR_SUM),
        (counting.ABSOLUTE_SUM, counting.ERROR_WORDS, counting.ERROR_UNIT, layout.ABSOLUTE_SUM),
        (counting.SQUARE_SUM, counting.SQUARE_WORDS, counting.SQUARE_UNIT, layout.SQUARE_SUM),
    ):
        assert layout.Sum(at, words, round(math.log2(unit))) == of
    assert (counting.SCORE_SUMS, counting.SCORE_UNIT) == (layout.SCORE_SUMS, layout.SCORE_UNIT)
    assert layout.SCORE_BINS // counting.BINS_PER_GROUP == layout.GROUPS
    assert (counting.RESIDUALS, counting.LIMIT, counting.BINS_PER_OCTAVE) == (
        layout.RESIDUALS,
        layout.LIMIT,
        layout.BINS_PER_OCTAVE,
    )
    assert layout.RESIDUAL_BINS // 2 == counting.ZERO_BIN


@given(st.floats(2.0**-20, 1.0))
def test_the_logarithm_is_right_to_four_units_in_the_last_place(x: float) -> None:
    with localcontext(prec=40):
        exact = Decimal(x).ln()
        assert abs(Decimal(counting.natural_log(x)) - exact) <= Decimal("4e-16") * max(Decimal(1), abs(exact))


def test_the_logarithm_is_the_same_bits_compiled_and_interpreted() -> None:
    plain = counting.natural_log.py_func  # type: ignore[attr-defined]  # compiled keeps the type of the function
    values = np.random.default_rng(5).random(2000).tolist() + [2.0**-k for k in range(21)]
    assert [plain(x) for x in values] == [counting.natural_log(x) for x in values]


def test_a_residual_lies_between_the_edges_of_its_bin() -> None:
    edges = layout.residual_edges()
    sizes = np.concatenate([edges[513:-1], np.nextafter(edges[514:], 0), [0.0, 2.0**-33]])
    for size in np.concatenate([sizes, -sizes]).tolist():
        at = int(np.flatnonzero(layout.residuals(count_errors(np.array([size]), np.zeros(1))))[0])
        inside = edges[at] <= size < edges[at + 1] if size >= 0 else edges[at] < size <= edges[at + 1]
        assert inside or (at == 512 and abs(size) < 2.0**-32)
        assert at == outcomes.residual_bin(size)
    width = np.diff(edges)[513:]
    assert (width / edges[513:-1]).max() == 0.125


@pytest.mark.parametrize(("task", "classes"), [("ranking", 3), ("multiclass", 0)])
def test_a_task_without_a_layout_is_refused(task: str, classes: int) -> None:
    with pytest.raises(ValueError, match="no outcome vector"):
        layout.width(task, classes)


def test_columns_that_cannot_be_counted_are_refused() -> None:
    two, three = np.zeros(2, np.int64), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="actual: 2, predicted: 3"):
        count_classes(two, three, "binary", 2)
    with pytest.raises(ValueError, match="class indices 0 to 2"):
        count_classes(np.array([0, 2]), two, "binary", 2)
    with pytest.raises(ValueError, match="count_errors"):
        count_classes(two, two, "regression", 0)
    with pytest.raises(ValueError, match="prediction: 1, label: 2"):
        count_errors(np.zeros(1), np.zeros(2))


def test_a_vector_over_other_classes_keeps_its_counts_by_name_and_its_errors() -> None:
    actual, predicted = np.array([0, 1, 1, 2, 3]), np.array([0, 1, 2, 2, 1])
    vector = count_classes(actual, predicted, "multiclass", 4)
    found = reclassify(vector, ("a", "b", "c", "other"), ("b", "d", "other"))
    assert (found[layout.N], found[layout.ERRORS]) == (5, 2)
    assert layout.confusion(found, 3).tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 2]]
    same = ("a", "b", "c", "other")
    assert reclassify(vector, same, same).tolist() == vector.tolist()
    with pytest.raises(ValueError, match="another length"):
        reclassify(vector, ("a", "other"), same)
