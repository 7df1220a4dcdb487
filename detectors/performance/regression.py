"""Mean absolute error, root mean squared error, bias and residual quantiles, each with its sampling error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from detectors.performance import layout
from detectors.performance.metric import NOTHING, Metric, mean
from detectors.performance.residuals import QUANTILES, kurtosis, quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEAST = 2  # a variance needs two values


def regression(vector: NDArray[np.int64]) -> dict[str, Metric]:
    """Return mae, rmse, bias (mean of prediction - label) and the residual's quantiles, over the outcomes in range.

    mae and bias have the error of a mean. That of rmse is sqrt((kurtosis - 1) / (4 n)) times rmse, the delta method's,
    with the kurtosis of the residual histogram.
    """
    n = int(vector[layout.N]) - int(vector[layout.OUT_OF_RANGE])
    square = layout.total(vector, layout.SQUARE_SUM)
    return {
        "mae": mean(layout.total(vector, layout.ABSOLUTE_SUM), square, n),
        "rmse": _rmse(vector, square, n),
        "bias": mean(layout.total(vector, layout.ERROR_SUM), square, n),
        **{name: quantile(vector, name) for name in QUANTILES},
    }


def _rmse(vector: NDArray[np.int64], square: float, n: int) -> Metric:
    if n <= 0:
        return NOTHING
    value = math.sqrt(square / n)
    if n < _LEAST:
        return Metric(value, None, n)
    return Metric(value, value * math.sqrt((kurtosis(vector) - 1) / (4 * n)), n)
