"""Outcome vectors from whole columns: how a reference, or a notebook, counts performance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.performance import layout
from detectors.performance.counting import count_outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NO_NUMBERS = np.zeros(0)
_NO_CLASSES = np.zeros(0, np.int64)


def count_classes(
    actual: NDArray[np.int64],
    predicted: NDArray[np.int64],
    task: str,
    n_classes: int,
    score: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return the outcome vector of a classification ("binary" or "multiclass") with `n_classes`.

    `actual` and `predicted` are class indices, int64[n]. `score` (float64[n], NaN where there is none) is the
    probability of the positive class; only a binary vector has a place for it. A score outside [0, 1] counts as 0 or 1,
    and is counted as clipped.

    Raises:
        ValueError: the columns have different lengths, a class index is outside [0, n_classes), a binary task has not
            two classes, the task is another.
    """
    if task == "regression":
        message = "the outcomes of a regression are counted by count_errors"
        raise ValueError(message)
    if task == "binary" and n_classes != layout.BINARY_CLASSES:
        message = f"a binary task has two classes, got {n_classes}: a third would be counted among the scores"
        raise ValueError(message)
    vector = np.zeros(layout.width(task, n_classes), np.int64)
    # Contiguous, here and below: numba would compile the loop anew for a column of a table.
    actual, predicted = np.ascontiguousarray(actual, np.int64), np.ascontiguousarray(predicted, np.int64)
    given = np.full(len(actual), np.nan) if score is None else np.ascontiguousarray(score, np.float64)
    _same_length(actual=actual, predicted=predicted, score=given)
    for name, column in (("actual", actual), ("predicted", predicted)):
        if len(column) and (column.min() < 0 or column.max() >= n_classes):
            message = f"{name} has class indices {column.min()} to {column.max()}, needed are 0 to {n_classes - 1}"
            raise ValueError(message)
    begin = np.zeros(len(actual), np.int64)
    count_outcomes(vector, begin, n_classes, task == "binary", predicted, actual, given, _NO_NUMBERS)
    return vector


def count_errors(prediction: NDArray[np.float64], label: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the outcome vector of a regression from predictions and labels, both float64[n].

    A pair whose difference is not finite or reaches 2**32 is counted as out of range.

    Raises:
        ValueError: the columns have different lengths.
    """
    vector = np.zeros(layout.REGRESSION_WIDTH, np.int64)
    answer, truth = np.ascontiguousarray(prediction, np.float64), np.ascontiguousarray(label, np.float64)
    _same_length(prediction=answer, label=truth)
    begin, scored = np.zeros(len(answer), np.int64), False
    count_outcomes(vector, begin, 0, scored, _NO_CLASSES, _NO_CLASSES, answer, truth)
    return vector


def merge(*vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the vector of all outcomes of several vectors of one task: the same integers however they were split.

    A plain sum has the same metrics; this one also spells every sum the one way that counting in one go spells it.

    Raises:
        ValueError: there is no vector, or their lengths differ.
    """
    if len({v.shape for v in vectors}) != 1:
        message = f"one or more vectors of one length are needed, got lengths {[len(v) for v in vectors]}"
        raise ValueError(message)
    vector: NDArray[np.int64] = np.sum(vectors, axis=0, dtype=np.int64)
    for of in layout.sums(len(vector)):
        for at in range(of.at + of.words - 1, of.at, -1):
            vector[at - 1] += vector[at] >> layout.WORD_BITS
            vector[at] &= (1 << layout.WORD_BITS) - 1
    return vector


def reclassify(vector: NDArray[np.int64], classes: Sequence[str], onto: Sequence[str]) -> NDArray[np.int64]:
    """Return a multiclass outcome vector over `classes` as one over `onto`; what `onto` does not have is its last class.

    Errors are what they were: two classes that fall together do not make an error right.

    Raises:
        ValueError: the vector does not have the length of its classes, or `onto` is empty.
    """
    if len(vector) != layout.width("multiclass", len(classes)):
        message = f"an outcome vector of {len(classes)} classes has another length than {len(vector)}"
        raise ValueError(message)
    found = np.zeros(layout.width("multiclass", len(onto)), np.int64)
    found[: layout.CONFUSION] = vector[: layout.CONFUSION]
    index = {name: k for k, name in enumerate(onto)}
    to = np.array([index.get(name, len(onto) - 1) for name in classes], np.int64)
    np.add.at(layout.confusion(found, len(onto)), (to[:, None], to[None, :]), layout.confusion(vector, len(classes)))
    return found


def _same_length(**columns: NDArray[np.int64] | NDArray[np.float64]) -> None:
    """Raise ValueError unless all columns are as long as the first."""
    if len({len(column) for column in columns.values()}) > 1:
        message = "one value per outcome in each column, got " + ", ".join(f"{k}: {len(v)}" for k, v in columns.items())
        raise ValueError(message)
