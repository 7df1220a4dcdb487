"""Exact test of a share that was small in the reference: the values beside a constant, or beside the one bin left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtrc

if TYPE_CHECKING:
    from numpy.typing import NDArray


def share_p_value(reference_hits: int, reference_n: int, hits: int, n: int) -> float:
    """Return the one-sided p-value of "the share of hits has not risen", both samples considered.

    Given the total of hits in both samples, the window's part is binomial with probability n / (n + N) under the null
    (Przyborowski & Wilenski 1940, Biometrika 31): P(X >= hits). Exact for rare hits, on the safe side otherwise.
    """
    if hits <= 0:
        return 1.0
    return float(bdtrc(hits - 1, reference_hits + hits, n / (n + reference_n)))


def others_p_value(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Return the p-value of "no more values outside the reference's commonest bin", for counts float64[bins].

    What the tests of two count vectors fall back on when pooling leaves them one group.
    """
    mode = int(np.argmax(reference))
    reference_n, n = int(reference.sum()), int(current.sum())
    return share_p_value(reference_n - int(reference[mode]), reference_n, n - int(current[mode]), n)
