"""Distances between two ordered histograms: Kolmogorov-Smirnov and Wasserstein.

Both read the bins as positions in ascending order and compare cumulative shares F (reference) and G (current).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import kolmogorov

from detectors.drift.result import NOTHING, Counts, DriftResult, checked, largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DRAWS = 1999
"""Simulated samples behind a p-value of Wasserstein's: its resolution is 1/2000, enough to show."""
_SEED = 20_070_426
"""The one seed of those draws, so that the same counts have the same p-value."""


def ks(reference_counts: Counts, current_counts: Counts) -> DriftResult:
    """Return the Kolmogorov-Smirnov distance max |F - G|, which is also the effect size.

    The p-value is Kolmogorov's law at sqrt(nN / (n + N)); on binned data it is an upper bound. `bins` are those with
    the largest difference between the shares.

    Raises:
        ValueError: the counts are no two vectors of equal length (so for `wasserstein`).
    """
    reference, current = checked(reference_counts, current_counts)
    n, reference_n = current.sum(), reference.sum()
    if not n or not reference_n:
        return NOTHING
    p, q = reference / reference_n, current / n
    distance = float(np.abs(np.cumsum(reference) / reference_n - np.cumsum(current) / n).max())
    p_value = float(kolmogorov(math.sqrt(n * reference_n / (n + reference_n)) * distance))
    return DriftResult(distance, distance, p_value, int(n), largest(np.abs(p - q)))


def wasserstein(
    reference_counts: Counts, current_counts: Counts, positions: NDArray[np.float64] | None = None
) -> DriftResult:
    """Return the Wasserstein-1 distance, the area between F and G.

    `positions` are the places of the bins (float64[bins], ascending; their midpoints, say), 0, 1, 2, ... by default.
    `statistic` is in their unit, `effect_size` in standard deviations of the reference (0 when it has none). The
    p-value is simulated from the pooled shares with a fixed seed.
    """
    reference, current = checked(reference_counts, current_counts)
    n, reference_n = int(current.sum()), int(reference.sum())
    if not n or not reference_n:
        return NOTHING
    place = np.arange(len(reference), dtype=np.float64) if positions is None else np.asarray(positions, np.float64)
    if place.shape != reference.shape or not (np.diff(place) >= 0).all():
        message = f"{len(reference)} ascending positions are needed"
        raise ValueError(message)
    step = np.append(np.diff(place), 0.0)
    p, q = reference / reference_n, current / n
    distance = float(np.abs(np.cumsum(q - p)) @ step)
    mean = float(p @ place)
    deviation = math.sqrt(float(p @ (place - mean) ** 2))
    random = np.random.default_rng(_SEED)
    pooled = (reference + current) / (n + reference_n)
    pooled /= pooled.sum()
    drawn = random.multinomial(n, pooled, _DRAWS) / n - random.multinomial(reference_n, pooled, _DRAWS) / reference_n
    simulated = np.abs(np.cumsum(drawn, axis=1)) @ step
    # A draw that ties with the observation must count, also when its sum was rounded differently.
    p_value = (1 + int(np.count_nonzero(simulated >= distance * (1 - 1e-12)))) / (_DRAWS + 1)
    contributions = np.abs(q - p) * np.abs(place - mean)
    return DriftResult(distance, distance / deviation if deviation else 0.0, p_value, n, largest(contributions))
