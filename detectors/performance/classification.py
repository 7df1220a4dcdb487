"""Rates from confusion counts and the figures of scores, each with its sampling error.

Multiclass figures are macro averages over the classes for which the figure is defined (recall: the class occurred;
precision: it was predicted; F1: either), the class "other" included when it is among them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance import layout
from detectors.performance.auc import roc_auc
from detectors.performance.average_precision import pr_auc
from detectors.performance.calibration import ece
from detectors.performance.metric import NOTHING, Metric, mean, rate, wilson_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

MACRO: Final = ("precision", "recall", "f1")
"""The metrics of a multiclass task that average over classes."""
MOST_CLIPPED: Final = 0.01
"""Share of scores outside [0, 1] above which they are no probabilities (a margin, a log-odds): a stray one is an error of
its own, one in a hundred is a habit."""


def f1_score(true_positives: int, errors: int) -> Metric:
    """Return F1 = 2 TP / (2 TP + FP + FN); `errors` is FP + FN.

    The error is the delta method's from the Jaccard index J = TP / (TP + errors), a plain rate with Wilson's error:
    F1 = 2J / (1 + J), so dF1/dJ = 2 / (1 + J)^2.
    """
    n = true_positives + errors
    if not n:
        return NOTHING
    jaccard = true_positives / n
    error = 2 / (1 + jaccard) ** 2 * wilson_error(true_positives, n)
    return Metric(2 * jaccard / (1 + jaccard), error, n, successes=true_positives)


def binary(vector: NDArray[np.int64]) -> dict[str, Metric]:
    """Return the metrics of a binary outcome vector; those of scores are undefined where there are none."""
    (true_negatives, false_positives), (false_negatives, true_positives) = layout.confusion(
        vector, layout.BINARY_CLASSES
    ).tolist()
    n, errors = int(vector[layout.N]), int(vector[layout.ERRORS])
    histograms = layout.score_histograms(vector)
    return {
        "accuracy": rate(n - errors, n),
        "precision": rate(true_positives, true_positives + false_positives),
        "recall": rate(true_positives, true_positives + false_negatives),
        "f1": f1_score(true_positives, false_positives + false_negatives),
        "specificity": rate(true_negatives, true_negatives + false_positives),
        "roc_auc": roc_auc(*histograms),
        "pr_auc": pr_auc(*histograms),
        **probability(vector),
    }


def probability(vector: NDArray[np.int64]) -> dict[str, Metric]:
    """Return log_loss, brier and ece: the metrics that take the score for a probability.

    Undefined when more than 1 % of the scores lie outside [0, 1]; up to there, they count as 0 or 1.
    """
    scored = int(layout.score_histograms(vector).sum())
    if int(vector[layout.CLIPPED]) > MOST_CLIPPED * scored:
        return dict.fromkeys(("log_loss", "brier", "ece"), NOTHING)
    pairs = {"log_loss": (layout.LOG_LOSS, layout.LOG_LOSS_SQUARE), "brier": (layout.BRIER, layout.BRIER_SQUARE)}
    found = {name: mean(layout.total(vector, a), layout.total(vector, b), scored) for name, (a, b) in pairs.items()}
    return {**found, "ece": ece(vector)}


def multiclass(vector: NDArray[np.int64], n_classes: int) -> dict[str, Metric]:
    """Return accuracy and the macro averages of precision, recall and f1 of a multiclass outcome vector."""
    counts = layout.confusion(vector, n_classes)
    n, errors = int(vector[layout.N]), int(vector[layout.ERRORS])
    everyone = np.ones(n_classes, bool)
    return {"accuracy": rate(n - errors, n), **{name: macro(counts, name, everyone) for name in MACRO}}


def macro(counts: NDArray[np.int64], name: str, among: NDArray[np.bool_]) -> Metric:
    """Return the macro average `name` (one of `MACRO`) over the classes `among`; confusion counts int64[K, K], bool[K]."""
    if name == "f1":
        return _macro_f1(counts, among)
    totals = counts.sum(axis=0 if name == "precision" else 1)
    return _mean_of_rates(np.diag(counts)[among], totals[among])


def support(counts: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Return how many outcomes each class's part of a macro average rests on, int64[K]."""
    predicted, actual = counts.sum(axis=0), counts.sum(axis=1)
    found: NDArray[np.int64] = {"precision": predicted, "recall": actual, "f1": predicted + actual - np.diag(counts)}[
        name
    ]
    return found


def _mean_of_rates(successes: NDArray[np.int64], totals: NDArray[np.int64]) -> Metric:
    """Return the mean of the defined rates; given their totals they are independent, so variances add."""
    rates = [rate(int(s), int(t)) for s, t in zip(successes, totals, strict=True) if t]
    if not rates:
        return NOTHING
    value = sum(r.value or 0.0 for r in rates) / len(rates)
    error = math.sqrt(sum((r.standard_error or 0.0) ** 2 for r in rates)) / len(rates)
    return Metric(value, error, int(totals.sum()))


def _macro_f1(counts: NDArray[np.int64], among: NDArray[np.bool_]) -> Metric:
    """Return the mean F1; its error is the delta method's over the multinomial of the whole confusion matrix."""
    n = int(counts.sum())
    right = np.diag(counts)
    denominator = counts.sum(axis=0) + counts.sum(axis=1)
    defined = (denominator > 0) & among
    if not defined.any():
        return NOTHING
    scale = np.where(defined, denominator, 1)
    # F_i = 2 c_ii / D_i: every cell of row i or column i is in D_i once, c_ii twice and in the numerator.
    slope = np.where(defined, -2 * right / scale**2, 0.0)
    gradient = slope[:, None] + slope[None, :] + np.diag(np.where(defined, 2 / scale, 0.0))
    gradient /= defined.sum()
    spread = float((gradient**2 * counts).sum()) - float((gradient * counts).sum()) ** 2 / n
    value = float((2 * right / scale)[defined].mean())
    return Metric(value, math.sqrt(max(0.0, spread) + 1 / (4 * n * n)) / (1 + 1 / n), n)
