"""Divergences between two histograms: PSI, Jensen-Shannon, Hellinger.

All three take the bins as unordered. With shares p (reference, N rows) and q (current, n rows):

- PSI = sum (q - p) ln(q / p), each bin with half a count added. Its expectation without drift is
  (B - 1)(1/n + 1/N); `effect_size` has it taken off, so that it does not grow when n shrinks.
- Jensen-Shannon distance = sqrt(JSD), logarithms base 2, in [0, 1].
- Hellinger distance = sqrt(sum (sqrt p - sqrt q)^2 / 2), in [0, 1].

Without drift PSI, 8 JSD (in nats) and 8 H^2 are (1/n + 1/N) times a chi-squared variable with B - 1 degrees of freedom
to first order (all have the same second derivative at p = q), which gives the p-values: good where every bin expects
some 10, too small in sparse bins. The test of a cell does not use them.

Sources: Lin 1991, IEEE Trans. Inf. Theory 37; Yurdakul & Naranjo 2020, J. Risk Model Validation 14.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, xlogy

from detectors.drift.result import NOTHING, Counts, DriftResult, checked, largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = 0.5
"""Added to every count for PSI: a floor on shares instead (1e-4 is common) makes sparse bins worth far too much."""


def psi_terms(reference: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each bin's part of the PSI, half a count added per bin; both float64[bins], not empty."""
    bins = len(reference)
    p = (reference + HALF) / (reference.sum() + HALF * bins)
    q = (current + HALF) / (current.sum() + HALF * bins)
    terms: NDArray[np.float64] = (q - p) * np.log(q / p)
    return terms


def psi_bias(bins: int, n: float, reference_n: float) -> float:
    """Return what the PSI of samples of n and N rows is expected to be without drift: (B - 1)(1/n + 1/N)."""
    return (bins - 1) * (1 / n + 1 / reference_n)


def psi(reference_counts: Counts, current_counts: Counts) -> DriftResult:
    """Return the population stability index; `effect_size` is it minus its expectation (may be below zero).

    Raises:
        ValueError: the counts are no two vectors of equal length (so for the functions below).
    """
    reference, current = checked(reference_counts, current_counts)
    n, reference_n = current.sum(), reference.sum()
    if not n or not reference_n:
        return NOTHING
    terms = psi_terms(reference, current)
    value = float(terms.sum())
    n, reference_n = float(n), float(reference_n)
    corrected = value - psi_bias(len(terms), n, reference_n)
    return DriftResult(value, corrected, _p_value(value, reference, current), int(n), largest(terms))


def jensen_shannon(reference_counts: Counts, current_counts: Counts) -> DriftResult:
    """Return the Jensen-Shannon distance (base 2), which is also the effect size."""
    reference, current = checked(reference_counts, current_counts)
    n, reference_n = current.sum(), reference.sum()
    if not n or not reference_n:
        return NOTHING
    p, q = reference / reference_n, current / n
    middle = (p + q) / 2
    scale = np.where(middle > 0, middle, 1.0)
    terms = (xlogy(p, p / scale) + xlogy(q, q / scale)) / 2
    nats = max(0.0, float(terms.sum()))
    distance = math.sqrt(min(1.0, nats / math.log(2)))
    return DriftResult(distance, distance, _p_value(8 * nats, reference, current), int(n), largest(terms))


def hellinger(reference_counts: Counts, current_counts: Counts) -> DriftResult:
    """Return the Hellinger distance, which is also the effect size."""
    reference, current = checked(reference_counts, current_counts)
    n, reference_n = current.sum(), reference.sum()
    if not n or not reference_n:
        return NOTHING
    terms = (np.sqrt(reference / reference_n) - np.sqrt(current / n)) ** 2 / 2
    square = min(1.0, float(terms.sum()))
    distance = math.sqrt(square)
    return DriftResult(distance, distance, _p_value(8 * square, reference, current), int(n), largest(terms))


def _p_value(scaled: float, reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Return the upper tail of the chi-squared law; bins that are empty in both samples have no freedom."""
    freedom = int(np.count_nonzero(reference + current)) - 1
    if freedom < 1:
        return 1.0
    return float(chdtrc(freedom, max(0.0, scaled) / (1 / current.sum() + 1 / reference.sum())))
