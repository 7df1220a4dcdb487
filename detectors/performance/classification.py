"""Accuracy, precision, recall and F1 from confusion counts, each with its sampling error.

Multiclass figures are macro averages over the classes for which the figure is defined (recall: the class occurred;
precision: it was predicted; F1: either), the class "other" included when it is among them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from detectors.performance import layout
from detectors.performance.auc import roc_auc
from detectors.performance.metric import NOTHING, Metric, rate, wilson_error

if TYPE_CHECKING:
    from numpy.typing import NDArray


def f1_score(true_positives: int, errors: int) -> Metric:
    """Return F1 = 2 TP / (2 TP + FP + FN); `errors` is FP + FN.

    The error is the delta method's from the Jaccard index J = TP / (TP + errors), a plain rate with Wilson's error:
    F1 = 2J / (1 + J), so dF1/dJ = 2 / (1 + J)^2.
    """
    n = true_positives + errors
    if not n:
        return NOTHING
    jaccard = true_positives / n
    return Metric(2 * jaccard / (1 + jaccard), 2 / (1 + jaccard) ** 2 * wilson_error(true_positives, n), n)


def binary(vector: NDArray[np.int64]) -> dict[str, Metric]:
    """Return accuracy, precision, recall, f1 and roc_auc of a binary outcome vector."""
    (_, false_positives), (false_negatives, true_positives) = layout.confusion(vector, layout.BINARY_CLASSES).tolist()
    n, errors = int(vector[layout.N]), int(vector[layout.ERRORS])
    return {
        "accuracy": rate(n - errors, n),
        "precision": rate(true_positives, true_positives + false_positives),
        "recall": rate(true_positives, true_positives + false_negatives),
        "f1": f1_score(true_positives, false_positives + false_negatives),
        "roc_auc": roc_auc(*layout.score_histograms(vector)),
    }


def multiclass(vector: NDArray[np.int64], n_classes: int) -> dict[str, Metric]:
    """Return accuracy and the macro averages of precision, recall and f1 of a multiclass outcome vector."""
    counts = layout.confusion(vector, n_classes)
    n, errors = int(vector[layout.N]), int(vector[layout.ERRORS])
    right = np.diag(counts)
    return {
        "accuracy": rate(n - errors, n),
        "precision": _mean_of_rates(right, counts.sum(axis=0)),
        "recall": _mean_of_rates(right, counts.sum(axis=1)),
        "f1": _macro_f1(counts),
    }


def _mean_of_rates(successes: NDArray[np.int64], totals: NDArray[np.int64]) -> Metric:
    """Return the mean of the defined rates; given their totals they are independent, so variances add."""
    rates = [rate(int(s), int(t)) for s, t in zip(successes, totals, strict=True) if t]
    if not rates:
        return NOTHING
    value = sum(r.value or 0.0 for r in rates) / len(rates)
    error = math.sqrt(sum((r.standard_error or 0.0) ** 2 for r in rates)) / len(rates)
    return Metric(value, error, int(totals.sum()))


def _macro_f1(counts: NDArray[np.int64]) -> Metric:
    """Return the mean F1; its error is the delta method's over the multinomial of the whole confusion matrix."""
    n = int(counts.sum())
    if not n:
        return NOTHING
    right = np.diag(counts)
    denominator = counts.sum(axis=0) + counts.sum(axis=1)
    defined = denominator > 0
    scale = np.where(defined, denominator, 1)
    # F_i = 2 c_ii / D_i: every cell of row i or column i is in D_i once, c_ii twice and in the numerator.
    slope = np.where(defined, -2 * right / scale**2, 0.0)
    gradient = slope[:, None] + slope[None, :] + np.diag(np.where(defined, 2 / scale, 0.0))
    gradient /= defined.sum()
    spread = float((gradient**2 * counts).sum()) - float((gradient * counts).sum()) ** 2 / n
    value = float((2 * right / scale)[defined].mean())
    return Metric(value, math.sqrt(max(0.0, spread) + 1 / (4 * n * n)) / (1 + 1 / n), n)
