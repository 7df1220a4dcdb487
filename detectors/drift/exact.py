"""Exact test of a share that was small in the reference: the values beside a constant, or beside the one bin left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtrc

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def share_p_values(
    reference_hits: ArrayLike, reference_n: ArrayLike, hits: ArrayLike, n: ArrayLike
) -> NDArray[np.float64]:
    """Return the one-sided p-value of "the share of hits has not risen" of each test, both samples considered.

    Whole numbers that broadcast against each other; float64 in their common shape, 1.0 where the window has no hit.

    Given the total of hits in both samples, the window's part is binomial with probability n / (n + N) under the null
    (Przyborowski & Wilenski 1940, Biometrika 31): P(X >= hits). Exact for rare hits, on the safe side otherwise.
    """
    known, against, found, rows = (np.asarray(v, np.int64) for v in (reference_hits, reference_n, hits, n))
    part = rows / np.maximum(rows + against, 1)  # without any row there is no hit either
    return np.where(found > 0, bdtrc(found - 1, known + found, part), 1.0)


def share_p_value(reference_hits: int, reference_n: int, hits: int, n: int) -> float:
    """Return `share_p_values` of one test."""
    return float(share_p_values(reference_hits, reference_n, hits, n))


def others_p_value(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Return the p-value of "no more values outside the reference's commonest bin", for counts float64[bins].

    What the tests of two count vectors fall back on when pooling leaves them one group.
    """
    mode = int(np.argmax(reference))
    reference_n, n = int(reference.sum()), int(current.sum())
    return share_p_value(reference_n - int(reference[mode]), reference_n, n - int(current[mode]), n)
