"""Area under the precision-recall curve (average precision) from two score histograms.

AP = sum over the bins, from the highest score down, of (share of the positives in the bin) * precision(T, F), where
T and F are the positives and negatives in this bin and above it and precision = T / (T + F). That is the step-wise sum
of the curve, without interpolation, which would flatter (Davis & Goadrich 2006, ICML, 233-240).

Scores within a bin count as tied. Without bins the positives of a bin could stand before all its negatives, as one tie,
or behind them, one by one: ``bin_error`` is the larger distance to these two.

The error is the delta method's over the multinomial counts of positives and negatives in each bin, so the number of
positives is random too; with Wilson's 1/(4 m^2) for m positives. AP depends on the share of positives: a change of that
share alone moves it.

>>> import numpy as np
>>> round(pr_auc(np.array([3, 1]), np.array([1, 3])).value, 3)
0.688
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma

from detectors.performance.metric import NOTHING, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 2  # a variance needs two values


def pr_auc(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> Metric:
    """Return the average precision of the score histograms, int64[bins] each, ascending scores.

    `n` is the number of positives. Undefined without positives; no error when there is a single one.
    """
    m = int(positives.sum())
    if not m:
        return NOTHING
    p, q = positives[::-1].astype(np.float64), negatives[::-1].astype(np.float64)
    true, false = np.cumsum(p), np.cumsum(q)
    seen = np.maximum(true + false, 1.0)
    precision = true / seen
    value = float(p @ precision) / m
    error = bin_error(p, q)
    if m < _LEAST:
        return Metric(value, None, m, error)
    # A positive in bin j adds 1/m at its own precision, and raises the precision of every bin from j down.
    share = p / m
    raise_true = np.cumsum((share * false / seen**2)[::-1])[::-1]
    lower_false = np.cumsum((share * true / seen**2)[::-1])[::-1]
    gradient_p = (precision - value) / m + raise_true
    variance = float(p @ gradient_p**2) + float(q @ lower_false**2)
    return Metric(value, math.sqrt(variance + 1 / (4 * m * m)) / (1 + 1 / m), m, error)


def bin_error(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
    """Return how far the average precision can be from that of the unbinned scores; descending scores, float64[bins].

    With T, F before a bin of p positives and q negatives, no positive has a precision above (T+p)/(T+F+p), and the j-th
    has at least (T+j)/(T+F+q+j); the sum of these is p - (F+q) * (digamma(T+F+q+p+1) - digamma(T+F+q+1)).
    """
    true, false = np.cumsum(positives) - positives, np.cumsum(negatives) - negatives
    m = float(positives.sum())
    tied = positives * (true + positives) / np.maximum(true + false + positives + negatives, 1.0)
    best = positives * (true + positives) / np.maximum(true + false + positives, 1.0)
    before = false + negatives
    worst = positives - before * (digamma(true + before + positives + 1) - digamma(true + before + 1))
    return max(float((best - tied).sum()), float((tied - worst).sum()), 0.0) / m
