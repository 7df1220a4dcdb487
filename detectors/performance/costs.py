"""What the outcomes of a binary model cost, from its confusion counts and a price for each kind of outcome.

    cost per outcome = (sum over the four kinds of count * price) / n

The error is that of a mean: the outcomes are n draws of one of four prices; as in Wilson's interval, a window in which
only one price occurred is not taken for certain: the variance of the mean is (s^2 + range^2 / (4 n)) / n / (1 + 1/n)^2,
with s^2 the variance of the prices and range that between the dearest and the cheapest (for prices 0 and 1: Wilson's).

>>> import numpy as np
>>> from detectors.performance import count_classes
>>> actual, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
>>> found = cost(count_classes(actual, predicted, "binary", 2), CostMatrix(false_positive=5.0, false_negative=100.0))
>>> found.total.value, found.per_outcome.value
(105.0, 17.5)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detectors.performance import layout
from detectors.performance.metric import NOTHING, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CostMatrix:
    """The price of each kind of outcome in one currency; a gain is negative.

    Raises:
        ValueError: a price is not finite.
    """

    false_positive: float
    false_negative: float
    true_positive: float = 0.0
    true_negative: float = 0.0

    def __post_init__(self) -> None:
        """Refuse prices that are no numbers."""
        if not np.isfinite(self.prices()).all():
            message = f"prices must be finite numbers, got {self}"
            raise ValueError(message)

    def prices(self) -> NDArray[np.float64]:
        """Return the prices, float64[actual, predicted]."""
        return np.array([[self.true_negative, self.false_positive], [self.false_negative, self.true_positive]])


@dataclass(frozen=True, slots=True)
class Cost:
    """The mean cost of an outcome, and the cost of all of them; both in the matrix's currency."""

    per_outcome: Metric
    total: Metric


def cost(vector: NDArray[np.int64], matrix: CostMatrix) -> Cost:
    """Return the cost of a binary outcome vector; undefined without outcomes.

    Raises:
        ValueError: the vector is not one of a binary task.
    """
    if len(vector) != layout.width("binary", layout.BINARY_CLASSES):
        message = f"costs need a binary outcome vector of {layout.width('binary', 2)} counts, got {len(vector)}"
        raise ValueError(message)
    n = int(vector[layout.N])
    if not n:
        return Cost(NOTHING, NOTHING)
    counts, prices = layout.confusion(vector, layout.BINARY_CLASSES), matrix.prices()
    value = float((counts * prices).sum()) / n
    variance = float((counts * (prices - value) ** 2).sum()) / n + float(np.ptp(prices)) ** 2 / (4 * n)
    error = math.sqrt(variance / n) / (1 + 1 / n)
    return Cost(Metric(value, error, n), Metric(value * n, error * n, n))
