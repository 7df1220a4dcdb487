"""Whether scores still mean what they meant: labels as they arrive against the reference's, score bin by score bin.

Idea: if every label turned round, the scores would look as ever; the labels that go with them would not. Among answers of one
score bin, the share of positives must be that of the reference. Compared bin by bin, the test does not mind *which* scores
come in (drift of the inputs), only what comes of them, and so it needs few labels: no window has to be complete.

Statistic (Cochran 1954; Mantel & Haenszel 1959), over the 100 score bins b of both outcome vectors, with n_b, N_b outcomes and
k_b positives in window and reference together: under the null the window's positives x_b are hypergeometric,

    E_b = n_b k_b / (N_b + n_b),   V_b = n_b N_b k_b (N_b + n_b - k_b) / ((N_b + n_b)^2 (N_b + n_b - 1))

- `level`: sum of x_b against sum of E_b: more, or fewer, positives than the scores say at all.
- `slope`: the same sum over the upper bins minus that over the lower bins (cut where half of the variance lies on each
  side): scores that have become too sure of themselves, or too timid, while their mean is right.

Each is two-sided, twice the smaller tail, and exact: the distribution of a sum of hypergeometric numbers is their
convolution. From a variance of 900 on it is the normal law with the exact skewness (Cornish-Fisher). p = twice the smaller of both.

Guarantee: up to a variance of 900 P(p <= a) <= a for independent outcomes, for any mix of scores and any number of labels,
whichever sample is the larger: both tests are exact. Above it, given both samples' totals, that of the level rejects 0.9 a to a
at a = 0.05 to 1e-4 (30,000 labels against 20,000, two mixes of scores; a test computes it from the exact law). p itself, on both
sides of 900, by simulation with a new reference for each window (`python -m loadtest levels --only calibration --scale 0.15`: 3,000
pairs in each of 24 cases, 1,000 to 30,000 labels against 500 to 100,000): at most a at 0.05, 1.1 a (standard error 0.2) at 0.01; at
0.001 it is 0.72 a on average, the highest of 24 figures 2 a (0.8). It is the probability over references: windows against one share
its sampling error, n / (N + n) of their variance. Where the reference has fewer labels than a window, some references reject
several times too often for as long as they are used, and about half of them hardly ever (`tests/loadtest/test_late_levels.py`).

When not to use it: instead of mature windows. It is a **proxy for performance** and rests on the labels that are in: if those
come earlier for one class than for the other (fraud is reported within days, honest payments never are) then the early ones
are no fair sample. `streams.engine.proxy_family` therefore waits for one maturity after a stream's first label. Scores in
bins where the reference has no outcome are left out and counted (`unknown`). A change of the inputs alone is none here.

Cost: 0.2 to 4 ms a window, 2 ms with 300 labels (the command stands in docs/detectors/proxies.md). No state; merge: outcome
vectors add up exactly.

References: Cochran 1954, Biometrics 10, 417-451; Mantel & Haenszel 1959, Journal of the National Cancer Institute 22, 719-748;
Agresti, Categorical Data Analysis, 6.3. The slope and the exact convolution are ours.

>>> import numpy as np
>>> from detectors.performance import count_classes
>>> rng = np.random.default_rng(1)
>>> def outcomes(n, shift):
...     score = rng.random(n)
...     truth = rng.random(n) < np.clip(score + shift, 0, 1)
...     return count_classes(truth.astype(int), (score > 0.5).astype(int), "binary", 2, score)
>>> found = calibration_drift(outcomes(20_000, 0.0), outcomes(300, 0.15))
>>> found.n, found.observed, round(found.expected), found.p_value < 1e-4
(300, 187, 143, True)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import gammaln, ndtr

from detectors.performance import layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT: Final = 900.0
"""Variance of the number of positives up to which the convolution is made: 3 ms there, and its cost grows with the variance.
Beyond it the corrected normal law rejects 0.9 to 1 times the level, at 0.05 to 1e-4 (computed in
`tests/detectors/performance/test_proxies.py`)."""
_REACH: Final = 12.0
"""Standard deviations (and as many units) around its mean that a bin's distribution is kept for: the rest is below 1e-12."""


@dataclass(frozen=True, slots=True)
class CalibrationDrift:
    """Labels of `n` scored outcomes against what the reference makes of their scores.

    `observed` positives, `expected` ones; `upper` and `lower` are the same pairs among the upper and the lower score bins;
    `level` and `slope` are the p-values of both tests, `p_value` that of "calibrated as in the reference"; `unknown` outcomes
    had scores that the reference has no outcome for.
    """

    n: int
    observed: int
    expected: float
    upper: tuple[int, float]
    lower: tuple[int, float]
    level: float
    slope: float
    p_value: float
    unknown: int

    @property
    def excess(self) -> float:
        """By how much the share of positives is above what the scores say (negative: below)."""
        return (self.observed - self.expected) / self.n

    @property
    def tilt(self) -> float:
        """By how much the shares of positives in both halves are off in opposite directions; negative: scores too sure."""
        return ((self.upper[0] - self.upper[1]) - (self.lower[0] - self.lower[1])) / self.n


def calibration_drift(reference: NDArray[np.int64], outcomes: NDArray[np.int64]) -> CalibrationDrift | None:
    """Return the calibration of a window's binary outcome vector against the reference's; None where they share no score bin.

    Raises:
        ValueError: a vector is not one of a binary task.
    """
    width = layout.width("binary", layout.BINARY_CLASSES)
    if len(reference) != width or len(outcomes) != width:
        message = f"binary outcome vectors have {width} counts, got {len(reference)} and {len(outcomes)}"
        raise ValueError(message)
    was, now = layout.score_histograms(reference), layout.score_histograms(outcomes)
    known, n = was.sum(axis=0), now.sum(axis=0)
    both = (known > 0) & (n > 0)
    unknown = int(n[known == 0].sum())
    if not both.any():
        return None
    known, n, x = known[both], n[both], now[1, both]
    positives = was[1, both] + x
    mean, variance, third = _moments(known, n, positives)
    low = np.cumsum(variance) - variance / 2 < variance.sum() / 2
    level = slope = 1.0
    if variance.sum() >= EXACT:
        level = _normal(int(x.sum()), float(mean.sum()), float(variance.sum()), float(third.sum()))
        sign = np.where(low, -1, 1)
        slope = _normal(int(sign @ x), float(sign @ mean), float(variance.sum()), float(sign @ third))
    elif variance.sum() > 0:
        down, first = _distribution(known[low], n[low], positives[low], mean[low], variance[low])
        up, start = _distribution(known[~low], n[~low], positives[~low], mean[~low], variance[~low])
        level = _exact(np.convolve(down, up), int(x.sum()) - first - start)
        lowest = start - (first + len(down) - 1)
        slope = _exact(np.convolve(up, down[::-1]), int(x[~low].sum() - x[low].sum()) - lowest)
    return CalibrationDrift(
        n=int(n.sum()),
        observed=int(x.sum()),
        expected=float(mean.sum()),
        upper=(int(x[~low].sum()), float(mean[~low].sum())),
        lower=(int(x[low].sum()), float(mean[low].sum())),
        level=level,
        slope=slope,
        p_value=min(1.0, 2 * min(level, slope)),
        unknown=unknown,
    )


def _moments(
    known: NDArray[np.int64], n: NDArray[np.int64], positives: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, variance and third central moment of each bin's hypergeometric number."""
    big, small = (known + n).astype(np.float64), n.astype(np.float64)
    share, part = positives / big, small / big
    mean = small * share
    variance = mean * (1 - share) * (1 - part) * big / (big - 1)  # both samples have one outcome or more
    third = variance * (1 - 2 * share) * (1 - 2 * part) * big / np.maximum(big - 2, 1)
    return mean, variance, third


def _distribution(
    known: NDArray[np.int64],
    n: NDArray[np.int64],
    positives: NDArray[np.int64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], int]:
    """Return the distribution of the sum of independent hypergeometric numbers, and the sum that it begins with."""
    reach = _REACH * (np.sqrt(variance) + 1)
    first = np.maximum(np.maximum(0, positives - known), np.floor(mean - reach).astype(np.int64))
    last = np.minimum(np.minimum(n, positives), np.ceil(mean + reach).astype(np.int64))
    found = np.ones(1)
    # Narrow ones first: the sum stays short for longer.
    for i in np.argsort(last - first, kind="stable").tolist():
        if last[i] > first[i]:
            x = np.arange(first[i], last[i] + 1)
            weights = _log_choose(n[i], x) + _log_choose(known[i], positives[i] - x)
            chances = np.exp(weights - weights.max())
            found = np.convolve(found, chances / chances.sum())
    return found, int(first.sum())


def _log_choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return found


def _exact(chances: NDArray[np.float64], at: int) -> float:
    """Return twice the smaller tail that includes index `at`; beyond what is kept, 0 stands for less than 1e-12."""
    below, above = float(chances[: max(0, at + 1)].sum()), float(chances[max(0, at) :].sum())
    return min(1.0, 2 * min(below, above))


def _normal(x: int, mean: float, variance: float, third: float) -> float:
    """Return twice the smaller tail by the normal law, with half a unit and the skewness taken into account."""
    sd = math.sqrt(variance)
    z = max(0.0, abs(x - mean) - 0.5) / sd
    skew = third / sd**3 * (1 if x > mean else -1)
    return min(1.0, 2 * float(ndtr(-(z - skew * (z * z - 1) / 6))))
