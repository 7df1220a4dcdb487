"""Costs and amounts against sums over the outcomes, their errors against repeated samples."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.performance import (
    CostMatrix,
    Metric,
    amount_metrics,
    amounts,
    cost,
    count_amounts,
    count_classes,
    layout,
)
from tests.oracle import outcomes

PRICES = CostMatrix(false_positive=5.0, false_negative=100.0, true_positive=-20.0, true_negative=0.1)
AMOUNTS = st.one_of(st.floats(0, 1e9), st.floats(-10, -1e-9), st.just(math.nan), st.just(math.inf), st.just(0.0))
ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), AMOUNTS), max_size=40)


def amount_vector(rows: list[tuple[int, int, float]]) -> list[int]:
    columns = np.array(rows, float).reshape(-1, 3)
    actual, predicted = columns[:, :2].T.astype(int)
    found: list[int] = count_amounts(actual, predicted, columns[:, 2]).tolist()
    return found


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1))
def test_costs_are_the_prices_of_the_outcomes(rows: list[tuple[int, int]]) -> None:
    price = {(0, 0): 0.1, (0, 1): 5.0, (1, 0): 100.0, (1, 1): -20.0}
    actual, predicted = np.array(rows).T
    found = cost(count_classes(actual, predicted, "binary", 2), PRICES)
    assert found.total.value == pytest.approx(sum(price[row] for row in rows))
    assert found.per_outcome.value == pytest.approx(sum(price[row] for row in rows) / len(rows))


def test_no_outcomes_cost_nothing_known_and_other_vectors_are_refused() -> None:
    assert cost(np.zeros(235, np.int64), PRICES).total.value is None
    with pytest.raises(ValueError, match="binary"):
        cost(np.zeros(11, np.int64), PRICES)
    with pytest.raises(ValueError, match="finite"):
        CostMatrix(false_positive=math.nan, false_negative=1.0)


def test_one_kind_of_outcome_is_not_taken_for_certain_and_zero_one_costs_are_a_rate() -> None:
    right = count_classes(np.zeros(20, int), np.zeros(20, int), "binary", 2)
    assert (cost(right, PRICES).per_outcome.standard_error or 0) > 1
    vector = count_classes(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), "binary", 2)
    found = cost(vector, CostMatrix(false_positive=1.0, false_negative=1.0)).per_outcome
    assert found.standard_error == pytest.approx(math.sqrt(0.4 * 0.6 / 5 + 1 / 100) / 1.2)


@given(ROWS)
def test_an_amount_vector_is_what_counting_gives(rows: list[tuple[int, int, float]]) -> None:
    cells: list[list[Fraction]] = [[] for _ in range(4)]
    for a, p, x in rows:
        if math.isfinite(x) and 0 <= x < 2**32:
            cells[2 * a + p].append(Fraction(x))
    expected = [len(rows), len(rows) - sum(map(len, cells))]
    for cell in cells:
        units = sum(round(x * 2**32) for x in cell)
        squares = sum(round(Fraction(float(x) * float(x)) * 2**64) for x in cell)
        expected += [len(cell), *outcomes.words(units, 3), *outcomes.words(squares, 5)]
    assert amount_vector(rows) == expected


@given(ROWS, st.integers(0, 40))
def test_amount_vectors_of_parts_have_the_figures_of_the_whole(rows: list[tuple[int, int, float]], cut: int) -> None:
    parts = np.array(amount_vector(rows[:cut])) + np.array(amount_vector(rows[cut:]))
    assert amount_metrics(parts) == amount_metrics(np.array(amount_vector(rows)))


def test_figures_by_amount_are_sums_over_the_outcomes() -> None:
    rng = np.random.default_rng(1)
    actual, predicted, x = rng.integers(0, 2, 500), rng.integers(0, 2, 500), rng.lognormal(3, 1, 500)
    found = amount_metrics(count_amounts(actual, predicted, x))
    missed, flagged = (actual == 1) & (predicted == 0), predicted == 1
    assert found["fraud_loss"].value == pytest.approx(x[missed].sum())
    assert found["fraud_loss_mean"].value == pytest.approx(x[missed].sum() / 500)
    assert found["review_volume"].value == flagged.sum()
    assert found["review_rate"].value == flagged.mean()
    assert found["review_amount"].value == pytest.approx(x[flagged].sum())
    assert found["precision_by_amount"].value == pytest.approx(x[flagged & (actual == 1)].sum() / x[flagged].sum())
    assert found["recall_by_amount"].value == pytest.approx(1 - x[missed].sum() / x[actual == 1].sum())


def sample(rng: np.random.Generator) -> dict[str, Metric]:
    actual = (rng.random(2000) < 0.2).astype(int)
    predicted = np.where(rng.random(2000) < 0.25, 1 - actual, actual)
    found = amount_metrics(count_amounts(actual, predicted, rng.gamma(1.5, 40, 2000) * (1 + actual)))
    costs = cost(count_classes(actual, predicted, "binary", 2), PRICES)
    return {**found, "cost": costs.per_outcome, "total cost": costs.total}


def test_their_standard_errors_are_the_deviation_over_repeated_samples() -> None:
    rng = np.random.default_rng(2)
    runs = [sample(rng) for _ in range(500)]
    for name in runs[0]:
        deviation = np.std([run[name].value or 0.0 for run in runs])
        stated = np.mean([run[name].standard_error or 0.0 for run in runs])
        assert stated == pytest.approx(deviation, rel=0.12), name


def test_no_amounts_define_nothing_and_one_amount_has_no_error() -> None:
    assert {m.value for m in amount_metrics(np.zeros(amounts.AMOUNT_WIDTH, np.int64)).values()} == {None}
    one = amount_metrics(count_amounts(np.array([1]), np.array([0]), np.array([7.0])))
    assert (one["fraud_loss"].value, one["fraud_loss"].standard_error) == (7.0, None)
    assert (one["recall_by_amount"].value, one["precision_by_amount"].value) == (0.0, None)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one value per outcome"):
        count_amounts(np.zeros(2, int), np.zeros(2, int), np.zeros(3))
    with pytest.raises(ValueError, match="0 or 1"):
        count_amounts(np.array([2]), np.array([0]), np.zeros(1))
    with pytest.raises(ValueError, match="38 counts"):
        amount_metrics(np.zeros(layout.width("binary", 2), np.int64))
