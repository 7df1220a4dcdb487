"""Where each integer of an outcome vector stands.

An *outcome vector* counts what became of labelled predictions. It holds int64 only, so vectors of panes, partitions
and workers add up exactly, in any order, and every metric is a function of their sum.

Classification with K classes (binary K = 2: class 1 is the positive class, class 0 everything else; multiclass: the
reference's classes in sorted order, then "other")::

    0                        n, the outcomes
    1                        errors (predicted is not actual)
    2 + actual*K + predicted confusion counts
    6 + actual*100 + b       binary only: score histogram, b = min(99, int(score*100)), outcomes with a score only

Regression: ``[n, out_of_range, err_hi, err_lo, abs_hi, abs_lo, sq_hi, sq_lo]`` with error = prediction - label. A sum
is ``hi * 2**32 + lo`` with ``0 <= lo < 2**32`` and counts units of ``2**-20``. An outcome whose error or squared error
would need 2**52 units or more is counted as out of range and is in none of the sums, so that 2**40 outcomes of the
largest size still fit (2**92 units, and a sum holds 2**95).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

N = 0
"""Index of the number of outcomes, for every task."""
ERRORS = 1
"""Index of the number of errors of a classification."""
CONFUSION = 2
"""Index of the first confusion count of a classification."""
SCORE_BINS = 100
"""Bins of a score histogram, each one hundredth wide: the bin error of the AUC is then far below its sampling error."""
OUT_OF_RANGE = 1
"""Index of the number of outcomes of a regression that are in no sum."""
ERROR_SUM, ABSOLUTE_SUM, SQUARE_SUM = 2, 4, 6
"""Indices of the high words of a regression's sums; the low word follows."""
REGRESSION_WIDTH = 8
"""Length of a regression's vector."""
UNIT = 1 << 20
"""Units in one: sums count multiples of 2**-20."""
LIMIT = 1 << 52
"""Scaled values from here on are out of range: below it a float64 holds every whole number of units."""
WORD = 1 << 32
"""What one unit of a high word is worth."""
BINARY_CLASSES = 2
"""Classes of a binary task: everything else (0) and the positive class (1)."""


def width(task: str, n_classes: int) -> int:
    """Return the length of the outcome vector of a task ("binary", "multiclass", "regression") with `n_classes`.

    Raises:
        ValueError: the task is none of the three, or a multiclass task has no class.
    """
    if task == "regression":
        return REGRESSION_WIDTH
    if task == "binary":
        return CONFUSION + BINARY_CLASSES**2 + BINARY_CLASSES * SCORE_BINS
    if task == "multiclass" and n_classes > 0:
        return CONFUSION + n_classes**2
    message = f"no outcome vector for task {task!r} with {n_classes} classes"
    raise ValueError(message)


def confusion_index(actual: int, predicted: int, n_classes: int) -> int:
    """Return the index of the count of outcomes of class `actual` that were predicted as class `predicted`."""
    return CONFUSION + actual * n_classes + predicted


def score_index(actual: int, score: float) -> int:
    """Return the index of the score histogram's count for a score of a binary outcome of class `actual`."""
    first = CONFUSION + BINARY_CLASSES**2 + actual * SCORE_BINS
    return first + min(SCORE_BINS - 1, max(0, int(score * SCORE_BINS)))


def confusion(vector: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Return the confusion counts, int64[actual, predicted], of a classification's vector."""
    return vector[CONFUSION : CONFUSION + n_classes**2].reshape(n_classes, n_classes)


def score_histograms(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the score histograms, int64[2, 100] (class 0, then the positive class), of a binary vector."""
    return vector[CONFUSION + BINARY_CLASSES**2 :].reshape(BINARY_CLASSES, SCORE_BINS)


def total(vector: NDArray[np.int64], at: int) -> float:
    """Return the sum whose high word stands at index `at`, in the label's own unit (the one for squares squared)."""
    return (int(vector[at]) * WORD + int(vector[at + 1])) / UNIT
