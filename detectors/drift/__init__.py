"""Has a distribution moved? Statistics of two count vectors, and the test that decides about a feature in a window.

Every statistic takes (reference_counts, current_counts), int64 of equal length, and returns a `DriftResult` with
`statistic`, `effect_size`, `p_value`, `n` and the `bins` that contribute most.

>>> import numpy as np
>>> from detectors.drift import psi
>>> found = psi(np.array([500, 300, 200]), np.array([20, 30, 50]))
>>> round(found.effect_size, 2), found.p_value < 0.001, found.bins
(0.52, True, (2, 0, 1))
"""

from detectors.drift.anderson import anderson_darling
from detectors.drift.cell import CellResult, cell_test
from detectors.drift.cells import CellResults, Cells, CellStatistics, combine
from detectors.drift.distance import ks, wasserstein
from detectors.drift.divergence import hellinger, jensen_shannon, psi
from detectors.drift.g_test import g_test
from detectors.drift.pearson import chi2
from detectors.drift.result import DriftResult

__all__ = [
    "CellResult",
    "CellResults",
    "CellStatistics",
    "Cells",
    "DriftResult",
    "anderson_darling",
    "cell_test",
    "chi2",
    "combine",
    "g_test",
    "hellinger",
    "jensen_shannon",
    "ks",
    "psi",
    "wasserstein",
]
