"""Pearson's chi-squared test of two samples.

X^2 = sum over bins of (sqrt(N/n) c - sqrt(n/N) r)^2 / (r + c), with B - 1 degrees of freedom, on bins pooled until each
expects 10 in the current sample. It sees changes of shape anywhere, and takes the bins as unordered.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc

from detectors.drift.pooling import LEAST_EXPECTED, pooled_starts
from detectors.drift.result import NOTHING, Counts, DriftResult, checked, largest

if TYPE_CHECKING:
    from numpy.typing import NDArray


def chi2_terms(reference: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each bin's part of Pearson's statistic of two samples; 0 for a bin empty in both."""
    ratio = math.sqrt(float(reference.sum()) / float(current.sum()))
    both = reference + current
    terms: NDArray[np.float64] = (ratio * current - reference / ratio) ** 2 / np.where(both > 0, both, 1.0)
    return terms


def chi2(reference_counts: Counts, current_counts: Counts, least_expected: float = LEAST_EXPECTED) -> DriftResult:
    """Return Pearson's two-sample statistic over neighbours pooled until each expects `least_expected`.

    `effect_size` is Cohen's w, sqrt(X^2 (1/n + 1/N)): the statistic's root per row. `bins` are the first indices of the
    pooled groups that contribute most. The p-value is 1.0 when one group is left.

    Raises:
        ValueError: the counts are no two vectors of equal length.
    """
    reference, current = checked(reference_counts, current_counts)
    n, reference_n = float(current.sum()), float(reference.sum())
    if not n or not reference_n:
        return NOTHING
    starts = pooled_starts(reference, n, least_expected)
    terms = chi2_terms(np.add.reduceat(reference, starts), np.add.reduceat(current, starts))
    value = float(terms.sum())
    p_value = float(chdtrc(len(starts) - 1, value)) if len(starts) > 1 else 1.0
    bins = tuple(starts[i] for i in largest(terms))
    return DriftResult(value, math.sqrt(value * (1 / n + 1 / reference_n)), p_value, int(n), bins)
