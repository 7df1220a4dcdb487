"""The upper tail of a weighted sum of independent chi-squared variables with one degree of freedom each.

Lugannani & Rice's saddlepoint approximation (1980) with the cumulant function K(t) = -1/2 sum ln(1 - 2 t w), as in
Kuonen 1999, Biometrika 86, 929-935. Relative error of a few per cent, far into the tail. The arithmetic is
`kernels.tail`; cost: `python -m loadtest detectors`.

>>> import numpy as np
>>> round(upper_tail(np.array([1.0, 0.3, 0.1]), 4.0), 3)
0.061
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.drift.kernels import tail

if TYPE_CHECKING:
    from numpy.typing import NDArray


def upper_tail(weights: NDArray[np.float64], x: float) -> float:
    """Return P(sum of w_i X_i >= x) for X_i chi-squared with one degree of freedom; 1.0 for x <= 0.

    Raises:
        ValueError: `weights` is not float64[k] with k > 0, all positive and finite, or x is NaN.
    """
    weights = np.ascontiguousarray(weights, np.float64)
    if weights.ndim != 1 or not len(weights) or not (np.isfinite(weights).all() and weights.min() > 0) or np.isnan(x):
        message = f"positive weights and a number are needed, got {weights} and {x}"
        raise ValueError(message)
    return float(tail(weights, float(x)))
