"""Outcome vectors from whole columns: how a reference counts its own performance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.performance import layout

if TYPE_CHECKING:
    from numpy.typing import NDArray


def count_classes(
    actual: NDArray[np.int64],
    predicted: NDArray[np.int64],
    task: str,
    n_classes: int,
    score: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return the outcome vector of a classification ("binary" or "multiclass") with `n_classes`.

    `actual` and `predicted` are class indices, int64[n]. `score` (float64[n], NaN where there is none) is the
    probability of the positive class; only a binary vector has a place for it.
    """
    vector = np.zeros(layout.width(task, n_classes), np.int64)
    vector[layout.N] = len(actual)
    vector[layout.ERRORS] = np.count_nonzero(actual != predicted)
    pairs = np.bincount(actual * n_classes + predicted, minlength=n_classes**2)
    vector[layout.CONFUSION : layout.CONFUSION + n_classes**2] = pairs
    if task == "binary" and score is not None:
        given = ~np.isnan(score)
        # Clipped before the cast: what a float outside int64 becomes is undefined.
        bins = np.clip(score[given], 0.0, 1.0) * layout.SCORE_BINS
        at = actual[given] * layout.SCORE_BINS + np.minimum(layout.SCORE_BINS - 1, bins.astype(np.int64))
        vector[layout.CONFUSION + n_classes**2 :] = np.bincount(at, minlength=n_classes * layout.SCORE_BINS)
    return vector


def count_errors(prediction: NDArray[np.float64], label: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the outcome vector of a regression from predictions and labels, both float64[n] and finite."""
    vector = np.zeros(layout.REGRESSION_WIDTH, np.int64)
    vector[layout.N] = len(label)
    with np.errstate(over="ignore"):
        error = prediction - label
        square = error * error
        scaled = [error * layout.UNIT, np.abs(error) * layout.UNIT, square * layout.UNIT]
    inside = (scaled[1] < layout.LIMIT) & (scaled[2] < layout.LIMIT)
    vector[layout.OUT_OF_RANGE] = np.count_nonzero(~inside)
    for at, values in zip((layout.ERROR_SUM, layout.ABSOLUTE_SUM, layout.SQUARE_SUM), scaled, strict=True):
        units = np.rint(values[inside]).astype(np.int64)
        # Words are added apart: the sum of the units themselves may need more than 64 bits.
        low = int(np.sum(units & (layout.WORD - 1)))
        vector[at] = int(np.sum(units >> 32)) + (low >> 32)
        vector[at + 1] = low & (layout.WORD - 1)
    return vector
