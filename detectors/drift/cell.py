"""The test of a cell: has one subject's distribution in one window moved away from the reference?

- numeric: p = min(1, 2 min(p_AD, p_chi2)), Anderson-Darling on 20 groups of bins, Pearson's chi-squared on 10; values
  beyond the reference's range count in the first or last group;
- categorical: chi-squared on the 20 commonest categories and everything else together, known or unseen. Where the rest
  expects less than 10, pooling would hide new categories behind a common one: it is then tested apart, exactly, with a
  tenth of the level, p = min(1, p_chi2 / 0.9, p_rest / 0.1);
- constant in the reference, or one group left after pooling: the share of other values, exact, both samples considered.

Groups are pooled until each expects 10. A window of fewer than 50 values is "insufficient"; up to 200 the p-values come
from simulation. With a reference of fewer than 10 n rows the reference's own error, which all windows share, is no
longer small: the windows' tests are then not independent, confirmation over several of them proves little, and the
result says that this window decides alone.

Guarantee: on independent rows from the reference's distribution P(p <= a) is at most about a. Autocorrelated rows break
it (STATISTICS section 1). Cost: about 0.1 ms a cell, after the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc

from detectors.drift.anderson import statistic, tail_probability
from detectors.drift.divergence import psi_bias, psi_terms
from detectors.drift.exact import share_p_value
from detectors.drift.monte_carlo import DRAWS, p_value
from detectors.drift.pearson import chi2_terms
from detectors.drift.pooling import LEAST_EXPECTED, pooled_starts
from detectors.drift.result import largest
from detectors.drift.views import View, drift_vector, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from detectors.reference import Subject

LEAST_N = 50
"""A window with fewer values is not tested."""
SIMULATED_N = 200
"""Up to this many values p-values are simulated."""
REFERENCE_RATIO = 10
"""How many times larger than the window the reference must be."""
_REST_SHARE = 0.1
"""Part of a cell's level that the exact test of rare categories gets: new categories come in floods."""
_NAMED = 3
"""How many bins a result names."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """What the test of one cell found.

    `p_value` is None when there is too little data (`insufficient`). `statistic` is that of the test with the smallest
    p-value, which `method` names. `effect_size` is the corrected PSI over 10 groups and can be slightly below zero,
    `psi` the same clipped at zero. `n` counts the window's values. `decides_alone`: the reference is smaller than 10 n,
    so windows must not confirm each other. `top` names up to three groups that moved most: (label, share in the
    reference, share in the window).
    """

    p_value: float | None
    statistic: float
    effect_size: float
    psi: float
    n: int
    insufficient: bool
    method: str
    top: tuple[tuple[str, float, float], ...]
    decides_alone: bool


def cell_test(subject: Subject, current_counts: NDArray[np.int64], *, monte_carlo: int = DRAWS) -> CellResult:
    """Test a window's slot vector, int64[subject.width], against its subject's reference.

    `monte_carlo` is the number of simulated windows behind a p-value for up to 200 values; 0 uses the asymptotic laws.

    Raises:
        ValueError: the vector does not have the subject's width.
    """
    if len(current_counts) != subject.width:
        message = f"{subject.name!r} has {subject.width} slots, got {len(current_counts)} counts"
        raise ValueError(message)
    seen = view(subject)
    current = drift_vector(subject, current_counts)
    n = int(current.sum())
    if not n:
        return CellResult(None, 0.0, 0.0, 0.0, 0, insufficient=True, method="none", top=(), decides_alone=False)
    coarse = np.add.reduceat(current, seen.coarse)
    terms = psi_terms(seen.reference_coarse, coarse)
    effect = float(terms.sum()) - psi_bias(len(terms), n, seen.n)
    top = tuple(
        (seen.labels[i], float(seen.reference_coarse[i]) / seen.n, float(coarse[i]) / n) for i in largest(terms, _NAMED)
    )
    if n < LEAST_N:
        p: float | None = None
        value, method = 0.0, "none"
    else:
        p, value, method = _test(seen, current, n, monte_carlo if n <= SIMULATED_N else 0)
    alone = seen.n < REFERENCE_RATIO * n
    return CellResult(p, value, effect, max(0.0, effect), n, p is None, method, top, alone)


def _test(seen: View, current: NDArray[np.float64], n: int, draws: int) -> tuple[float, float, str]:
    """Return (p-value, statistic, method) of a window with enough values."""
    found: list[tuple[float, float, str]] = []
    if seen.kind == "ordered":
        found = [
            *_asymptotic("anderson_darling", seen.reference_fine, np.add.reduceat(current, seen.fine), n, draws),
            *_asymptotic("chi2", seen.reference_coarse, np.add.reduceat(current, seen.coarse), n, draws),
        ]
        found = [(p * len(found), value, method) for p, value, method in found]
    elif seen.kind == "categories":
        rest = int(seen.reference_coarse[-1])
        if rest * n >= LEAST_EXPECTED * seen.n:
            found = _asymptotic("chi2", seen.reference_coarse, current, n, draws)
        else:
            kept = n - int(current[-1])
            if kept:
                found = _asymptotic("chi2", seen.reference_coarse[:-1], current[:-1], kept, draws)
            if found:
                new = int(current[-1])
                found = [(p / (1 - _REST_SHARE), value, method) for p, value, method in found]
                p = share_p_value(rest, seen.n, new, n)
                found.append((p / _REST_SHARE, new / n, "exact share of other categories"))
    if not found:
        others = n - int(current[seen.mode])
        return share_p_value(seen.others, seen.n, others, n), others / n, "exact share of other values"
    p, value, method = min(found)
    return min(1.0, p), value, method


def _asymptotic(
    kind: str, reference: NDArray[np.float64], current: NDArray[np.float64], n: int, draws: int
) -> list[tuple[float, float, str]]:
    """Return [(p-value, statistic, method)] of a test on pooled groups, [] when one group is left."""
    starts = pooled_starts(reference, n)
    if len(starts) == 1:
        return []
    expected, found = np.add.reduceat(reference, starts), np.add.reduceat(current, starts)
    tail: Callable[[float], float]
    if kind == "chi2":
        value = float(chi2_terms(expected, found).sum())
        tail = partial(chdtrc, len(starts) - 1)
    else:
        key = tuple(expected.tolist())
        value = statistic(key, found)
        tail = partial(tail_probability, key)
    if draws:
        return [(p_value(kind, expected.tolist(), value, n, tail, draws), value, f"{kind}, simulated")]
    return [(float(tail(value)), value, kind)]
