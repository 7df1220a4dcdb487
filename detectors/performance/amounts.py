"""Outcomes weighted by what was at stake: the amount of a payment, the size of a loan.

An *amount vector* holds, for each cell of the binary confusion matrix, the count, the sum of the amounts and the sum of
their squares, in integers like an outcome vector (`detectors.performance.layout`), so vectors add up exactly::

    0                 n, the outcomes
    1                 without a usable amount (not a number, negative, 2**32 or more): in nothing below
    2 + 9*(2*actual + predicted)    count, then sum (3 words, units of 2**-32), then sum of squares (5 words, 2**-64)

38 counters, 304 bytes. Errors are those of sums and ratios of n independent outcomes: a total has sqrt(S2 - S1^2 / n),
a ratio A / B of the amounts in some cells A among those in B has Hajek's, sqrt(sum over B of (x * (in A - A/B))^2) / B.

Guarantee: none for a few large amounts: with heavy-tailed amounts the normal approximation needs many outcomes; when one
outcome is a tenth of a sum, read the figure as that outcome.

>>> import numpy as np
>>> actual, predicted = np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])
>>> found = amount_metrics(count_amounts(actual, predicted, np.array([90.0, 10.0, 30.0, 5.0])))
>>> found["fraud_loss"].value, found["review_volume"].value, found["recall_by_amount"].value
(10.0, 2.0, 0.9)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance.counting import count_values
from detectors.performance.layout import Sum, total
from detectors.performance.metric import NOTHING, Metric, mean, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

N: Final = 0
"""Index of the number of outcomes."""
AMOUNT_WIDTH: Final = 38
"""Length of an amount vector."""
_CELLS, _CELL = 2, 9


def cell(actual: int, predicted: int) -> tuple[int, Sum, Sum]:
    """Return where a cell of the confusion matrix keeps its count, its sum and its sum of squares."""
    at = _CELLS + _CELL * (2 * actual + predicted)
    return at, Sum(at + 1, 3, 32), Sum(at + 4, 5, 64)


def count_amounts(
    actual: NDArray[np.int64], predicted: NDArray[np.int64], amount: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the amount vector of binary outcomes: classes 0 or 1, int64[n], and what was at stake, float64[n].

    Raises:
        ValueError: the columns have different lengths, or a class is neither 0 nor 1.
    """
    actual, predicted = np.asarray(actual, np.int64), np.asarray(predicted, np.int64)
    amount = np.ascontiguousarray(amount, np.float64)
    if not len(actual) == len(predicted) == len(amount):
        message = f"one value per outcome in each column, got {len(actual)}, {len(predicted)} and {len(amount)}"
        raise ValueError(message)
    if not (np.isin(actual, (0, 1)).all() and np.isin(predicted, (0, 1)).all()):
        message = "classes must be 0 or 1 (the positive class)"
        raise ValueError(message)
    vector = np.zeros(AMOUNT_WIDTH, np.int64)
    count_values(vector, 2 * actual + predicted, amount)
    return vector


def amount_metrics(vector: NDArray[np.int64]) -> dict[str, Metric]:
    """Return the figures of an amount vector; those that the outcomes do not define have the value None.

    fraud_loss: the amounts of positives that were let pass, in all; fraud_loss_mean: per outcome. review_volume: how
    many were predicted positive; review_rate: which share. review_amount: their amounts in all. precision_by_amount:
    of the amounts predicted positive the share that was; recall_by_amount: of the positive amounts the share found.

    Raises:
        ValueError: the vector has another length than an amount vector.
    """
    if len(vector) != AMOUNT_WIDTH:
        message = f"an amount vector has {AMOUNT_WIDTH} counts, got {len(vector)}"
        raise ValueError(message)
    counts, sums, squares = np.zeros((2, 2), np.int64), np.zeros((2, 2)), np.zeros((2, 2))
    for a in (0, 1):
        for p in (0, 1):
            at, first, second = cell(a, p)
            counts[a, p], sums[a, p], squares[a, p] = vector[at], total(vector, first), total(vector, second)
    n, flagged = int(counts.sum()), int(counts[:, 1].sum())
    loss = mean(float(sums[1, 0]), float(squares[1, 0]), n)
    review_rate = rate(flagged, n)
    return {
        "fraud_loss": _total(loss),
        "fraud_loss_mean": loss,
        "review_volume": _total(review_rate),
        "review_rate": review_rate,
        "review_amount": _total(mean(float(sums[:, 1].sum()), float(squares[:, 1].sum()), n)),
        "precision_by_amount": _ratio(sums[:, 1], squares[:, 1], flagged),
        "recall_by_amount": _ratio(sums[1], squares[1], int(counts[1].sum())),
    }


def _total(of: Metric) -> Metric:
    """Return the total of the outcomes that a mean is of."""
    if of.value is None:
        return NOTHING
    return Metric(of.value * of.n, None if of.standard_error is None else of.standard_error * of.n, of.n)


def _ratio(sums: NDArray[np.float64], squares: NDArray[np.float64], n: int) -> Metric:
    """Return sums[1] / (sums[0] + sums[1]) with Hajek's error; both float64[2]: outside and inside."""
    whole = float(sums.sum())
    if not whole > 0:
        return NOTHING
    share = float(sums[1]) / whole
    variance = float(squares[1]) * (1 - share) ** 2 + float(squares[0]) * share**2
    # As in Wilson's interval: all on one side is no certainty; its effective number of outcomes is whole^2 / squares.
    effective = whole**2 / float(squares.sum())
    error = math.sqrt(variance / whole**2 + 1 / (4 * effective**2)) / (1 + 1 / effective)
    return Metric(share, error, n)
