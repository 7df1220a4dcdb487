"""What a drift statistic returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""Counts per bin, int64[bins]."""

TOP = 5
"""How many bins a result names at most."""


@dataclass(frozen=True, slots=True)
class DriftResult:
    """A statistic of two count vectors.

    `statistic` as the function defines it, `effect_size` a size that does not depend on n, `p_value` the probability of
    a statistic at least as large when both samples come from one distribution, `n` the size of the current sample,
    `bins` the indices of the bins that contribute most, largest first. With an empty sample there is nothing to
    compare: statistic and effect 0.0, p-value 1.0, no bins.
    """

    statistic: float
    effect_size: float
    p_value: float
    n: int
    bins: tuple[int, ...]


NOTHING = DriftResult(0.0, 0.0, 1.0, 0, ())
"""The result when a sample is empty."""


def checked(reference_counts: Counts, current_counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both count vectors as float64[bins].

    Raises:
        ValueError: they differ in length, have no bins, or hold negative, fractional or non-finite counts.
    """
    reference = np.asarray(reference_counts, np.float64)
    current = np.asarray(current_counts, np.float64)
    if reference.ndim != 1 or reference.shape != current.shape or not len(reference):
        message = f"two count vectors of equal length are needed, got shapes {reference.shape} and {current.shape}"
        raise ValueError(message)
    both = np.concatenate((reference, current))
    if not (np.isfinite(both).all() and both.min() >= 0 and (both == np.floor(both)).all()):
        message = "counts must be whole numbers, finite and not negative; bin raw values first (`Subject.slots_of`)"
        raise ValueError(message)
    return reference, current


def largest(contributions: NDArray[np.float64], limit: int = TOP) -> tuple[int, ...]:
    """Return the indices of the largest positive contributions, largest first, ties by index."""
    order = np.argsort(-contributions, kind="stable")[:limit]
    return tuple(int(i) for i in order if contributions[i] > 0)
