"""Distances between two ordered histograms: Kolmogorov-Smirnov and Wasserstein.

Both read the bins as positions in ascending order and compare cumulative shares F (reference) and G (current).

Guarantee: both p-values are valid at every n, that is P(p <= a) <= a on independent rows: Kolmogorov's law is an upper
bound for binned data (on 20 equal bins half of nominal, on few bins far less), Wasserstein's comes from
dealing the rows of both samples out at random (1,999 times; so it is a multiple of 1/2000 and never below it: do not
compare it with the level of a budget, use the test of a cell for that).
Cost: 20 microseconds, and some milliseconds. Merge: counts add up, distances do not.
Sources: Smirnov 1939; Kantorovich 1942 (earth mover's distance); Fisher 1935, The Design of Experiments, for permutation.

>>> import numpy as np
>>> round(ks(np.array([500, 300, 200]), np.array([20, 30, 50])).statistic, 3)
0.3
>>> round(wasserstein(np.array([500, 300, 200]), np.array([20, 30, 50])).statistic, 3)
0.6
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
_MOST_ROWS = 1_000_000_000
"""Limit of numpy's hypergeometric draws; beyond it multinomial ones, which differ by 1e-4, take their place."""
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
    p-value comes from 1,999 random deals of both samples' rows with a fixed seed.
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
    simulated = np.abs(np.cumsum(_gaps(reference + current, n, reference_n), axis=1)) @ step
    # A draw that ties with the observation must count, also when its sum was rounded differently.
    p_value = (1 + int(np.count_nonzero(simulated >= distance * (1 - 1e-12)))) / (_DRAWS + 1)
    contributions = np.abs(q - p) * np.abs(place - mean)
    return DriftResult(distance, distance / deviation if deviation else 0.0, p_value, n, largest(contributions))


def _gaps(both: NDArray[np.float64], n: int, reference_n: int) -> NDArray[np.float64]:
    """Return differences q - p of shares when the rows of both samples are dealt out at random, float64[draws, bins]."""
    random = np.random.default_rng(_SEED)
    if n + reference_n < _MOST_ROWS:
        drawn = random.multivariate_hypergeometric(both.astype(np.int64), n, _DRAWS, method="marginals")
        return drawn / n - (both - drawn) / reference_n
    shares = both / both.sum()
    return random.multinomial(n, shares, _DRAWS) / n - random.multinomial(reference_n, shares, _DRAWS) / reference_n
