"""Area under the ROC curve from two score histograms.

AUC = P(score of a positive > score of a negative) + P(equal) / 2 on the binned scores. It differs from the AUC of the
exact scores by at most half the probability that a positive and a negative share a bin (`bin_error`).

The error is DeLong's: the variance of the placement of each positive among the negatives, over the positives, plus the
same the other way round (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, 837-845), with Wilson's 1/(4 n^2) so that
a perfect separation of few outcomes is not taken for certainty.

>>> import numpy as np
>>> found = roc_auc(np.array([3, 1]), np.array([1, 3]))
>>> found.value, found.bin_error
(0.75, 0.1875)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from detectors.performance.metric import NOTHING, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 2  # a variance needs two values


def roc_auc(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> Metric:
    """Return the AUC of the score histograms of the negatives and the positives, int64[bins] each, ascending scores.

    `n` is the size of the smaller class. Undefined when a class is empty; no error when it has a single outcome.
    """
    m, n = int(positives.sum()), int(negatives.sum())
    if not m or not n:
        return NOTHING
    below = (np.cumsum(negatives) - negatives / 2) / n  # placement of a positive of each bin among the negatives
    above = 1 - (np.cumsum(positives) - positives / 2) / m
    area = float(positives @ below) / m
    shared = float((positives / m) @ (negatives / n)) / 2
    if min(m, n) < _LEAST:
        return Metric(area, None, min(m, n), shared)
    spread_positives = float(positives @ (below - area) ** 2) / (m - 1)
    spread_negatives = float(negatives @ (above - area) ** 2) / (n - 1)
    smaller = min(m, n)
    variance = spread_positives / m + spread_negatives / n + 1 / (4 * smaller**2)
    return Metric(area, math.sqrt(variance) / (1 + 1 / smaller), smaller, shared)
