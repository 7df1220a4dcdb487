"""Mean absolute error, root mean squared error and bias from fixed-point sums, each with its sampling error."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from detectors.performance import layout
from detectors.performance.metric import NOTHING, Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SHAPES = (0.3, 10.0)
"""Range of the generalised normal's shape: far heavier than Laplace (1) to nearly uniform (infinity)."""
_HALVINGS = 40
"""Bisection steps: the shape is then known to 1e-11."""


def regression(vector: NDArray[np.int64]) -> dict[str, Metric]:
    """Return mae, rmse and bias (mean of prediction - label) over the outcomes that are in range.

    mae and bias have the error of a mean. That of rmse needs the fourth moment, which is not kept: it is taken from
    the generalised normal distribution with the same ratio of mae to rmse (normal errors give rmse / sqrt(2 n), heavier
    tails more).
    """
    n = int(vector[layout.N]) - int(vector[layout.OUT_OF_RANGE])
    if n <= 0:
        return {"mae": NOTHING, "rmse": NOTHING, "bias": NOTHING}
    mae = layout.total(vector, layout.ABSOLUTE_SUM) / n
    bias = layout.total(vector, layout.ERROR_SUM) / n
    square = layout.total(vector, layout.SQUARE_SUM) / n
    rmse = math.sqrt(square)
    if n == 1:
        return {"mae": Metric(mae, None, 1), "rmse": Metric(rmse, None, 1), "bias": Metric(bias, None, 1)}
    ratio = mae * mae / square if square > 0 else 1.0
    return {
        "mae": Metric(mae, math.sqrt(max(0.0, square - mae * mae) / (n - 1)), n),
        "rmse": Metric(rmse, rmse * math.sqrt((_kurtosis(round(ratio, 3)) - 1) / (4 * n)), n),
        "bias": Metric(bias, math.sqrt(max(0.0, square - bias * bias) / (n - 1)), n),
    }


@lru_cache(maxsize=1024)
def _kurtosis(ratio: float) -> float:
    """Return E[e^4] / E[e^2]^2 of the generalised normal with E|e|^2 / E[e^2] = `ratio`."""
    low, high = _SHAPES
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = 2 * math.lgamma(2 / middle) - math.lgamma(1 / middle) - math.lgamma(3 / middle)
        low, high = (middle, high) if math.exp(found) < ratio else (low, middle)
    return math.exp(math.lgamma(5 / low) + math.lgamma(1 / low) - 2 * math.lgamma(3 / low))
