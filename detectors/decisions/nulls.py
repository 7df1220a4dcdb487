"""How much a statistic varies when nothing is wrong: laws fitted to a reference's own windows.

Rows of a real stream are not independent: they come in runs, the day has a shape, the level breathes. A test that
assumes independence then alarms in every window (STATISTICS section 1). What a statistic does on ordinary windows is in
the reference, if its rows have times: each of its windows is compared with the rest of the reference, and the statistics
S_w are set against the mean m_w and the variance v_w that independent rows would give:

    phi = max(1, sum S_w / sum m_w)        psi = max(1, sum (S_w - phi m_w)^2 / sum v_w)

The calibrated p-value is the larger of the independent one and the tail of a X_1 + b X_nu, chi-squared variables with one and
nu degrees of freedom, whose mean is phi m and whose variance is psi v, a >= b: what is common to many rows (a run, a level)
moves a distribution in few directions, so one weight grows far more than the others. A gamma with the same two moments has
too light a tail: on autocorrelated rows it rejects 0.9 to 2.6 times too often at a level of 0.006, this law 0.5 to 1.4 times.
nu is 6.3 for Anderson-Darling (the weights 1/(j(j+1)) after the first) and one less than its own for chi-squared.

What is still too heavy in the tail (clumps of a rare value) is seen in the reference's scores s = -ln p above 3, which
should exceed 3 by 1 on average: where they do by `tail` > 1, a score above 3 becomes 3 + (s - 3) / tail.

A live window with more rows than the reference's windows had (ratio r > 1) sees a moving level more sharply: phi - 1 is
then taken times r and psi - 1 times r^2. The exact test of a share has no such statistic; its score, exponential with
mean 1 at most, is divided by the mean score of the reference's windows when that is above 1.

Guarantee: none by itself; `detectors.decisions.replay` checks the rule on the reference. Cost: 1 microsecond a test.
Merge: none; it is fitted once, when a reference is built.

>>> law = Dispersion(anderson=(12.0, 300.0), chi2=(4.0, 50.0))  # rows that come in runs of some twenty
>>> one = np.ones(1)
>>> moments = [(phi * one, psi * 0.6 * one) for phi, psi in [(1, 1), law.anderson]]
>>> [f"{float(spiked_tail(15 * one, one, 0.6 * one, *wider, NU_ANDERSON * one)[0]):.0e}" for wider in moments]
['1e-07', '2e-01']

Source: matching moments of quadratic forms, Satterthwaite 1946 (Biometrics 2) for the gamma; the saddlepoint of the
two-weight form is the root of a quadratic, its tail Lugannani & Rice 1980 (Advances in Applied Probability 12).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from detectors.drift.cells import ANDERSON, CHI2, SHARE, combine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detectors.drift.cells import CellStatistics

_DIGITS = 4
"""Decimals that are stored: far finer than the sampling error of a month of windows (some per cent)."""
_SMALLEST = 1e-300
"""Below this a p-value is rounding; its logarithm stays finite."""
NU_ANDERSON = 6.3
"""(sum w)^2 / sum w^2 of the weights 1/(j(j+1)), j = 2, 3, ..."""
TAIL_FROM = 3.0
"""Scores above this make the tail: 5 % of the windows, 33 of a month of hours."""
LEAST_TAIL = 10
"""With fewer scores in the tail its mean excess would be known worse than within a third, and is left alone."""
_NEAR_MEAN = 1e-4
"""Below this |w| the saddlepoint formula divides zero by zero; its limit at the mean is used instead."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How much wider than on independent rows a subject's statistics spread: each number at least 1.

    `anderson` and `chi2` are (phi, psi) of the module's docstring, `share` the mean score of the exact test, `tail` the mean
    excess of calibrated scores over 3.
    """

    anderson: tuple[float, float] = (1.0, 1.0)
    chi2: tuple[float, float] = (1.0, 1.0)
    share: float = 1.0
    tail: float = 1.0

    @classmethod
    def fit(cls, found: CellStatistics, usual_n: float) -> Dispersion:
        """Return the dispersion of windows that were compared with the rest of their own reference (`own`)."""
        shares = scores(found.p_value[SHARE])
        shares = shares[~np.isnan(shares)]
        share = round(max(1.0, float(shares.mean())), _DIGITS) if len(shares) else 1.0
        made = cls(_moments(found, ANDERSON), _moments(found, CHI2), share)
        found_scores = scores(made.p_values(found, usual_n))
        beyond = found_scores[found_scores > TAIL_FROM] - TAIL_FROM
        if len(beyond) < LEAST_TAIL:
            return made
        return replace(made, tail=round(max(1.0, float(beyond.mean())), _DIGITS))

    def p_values(self, found: CellStatistics, usual_n: float) -> NDArray[np.float64]:
        """Return the calibrated p-value of each cell, as `calibrated` does, all cells being of one subject."""
        numbers = np.repeat(np.array(self.to_list())[:, None], len(found.n), axis=1)
        return calibrated(found, numbers, np.full(len(found.n), usual_n))[0]

    def to_list(self) -> list[float]:
        """Return it as six numbers for JSON."""
        return [*self.anderson, *self.chi2, self.share, self.tail]

    @classmethod
    def from_list(cls, numbers: list[Any]) -> Dispersion:
        """Return what `to_list` wrote; raises ValueError when it is not six numbers of at least 1."""
        a, b, c, d, e, f = (float(x) for x in numbers)
        if not all(np.isfinite(x) and x >= 1 for x in (a, b, c, d, e, f)):
            message = f"a dispersion is six numbers of at least 1, got {numbers}"
            raise ValueError(message)
        return cls((a, b), (c, d), e, f)


def calibrated(
    found: CellStatistics, dispersions: NDArray[np.float64], usual_n: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (p-values of cells, float64[R]; p-values of their tests, float64[3, R]); NaN where no test applies.

    `dispersions` is float64[6, R], `Dispersion.to_list` of each cell's subject; `usual_n` float64[R] the mean number of values
    of the windows that were fitted. The tail's correction is in the cells' p-values only.
    """
    ratio = np.maximum(1.0, found.n / usual_n)
    p = found.p_value.copy()
    for test, (phi, psi) in ((ANDERSON, dispersions[:2]), (CHI2, dispersions[2:4])):
        at = np.flatnonzero(~np.isnan(p[test]) & ((phi > 1) | (psi > 1)))
        mean, variance, r = found.mean[test, at], found.variance[test, at], ratio[at]
        nu = np.full(len(at), NU_ANDERSON) if test == ANDERSON else np.maximum(1.0, mean - 1)
        wider = mean * (1 + (phi[at] - 1) * r), variance * (1 + (psi[at] - 1) * r * r)
        p[test, at] = np.maximum(p[test, at], spiked_tail(found.statistic[test, at], mean, variance, *wider, nu))
    p[SHARE] **= 1 / (1 + (dispersions[4] - 1) * ratio)
    combined = combine(found, *p)[0]
    start = np.exp(-TAIL_FROM)
    beyond = (combined < start) & (dispersions[5] > 1)
    combined[beyond] = start * (combined[beyond] / start) ** (1 / dispersions[5, beyond])
    return combined, p


def spiked_tail(
    x: NDArray[np.float64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    wider_mean: NDArray[np.float64],
    wider_variance: NDArray[np.float64],
    nu: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return P(a X_1 + b X_nu >= x) for the law with the wider moments; all float64[R].

    `mean` and `variance` are those of independent rows: b is never below what fits them. Where that, or a variance too small
    for two weights, leaves no exact match, the mean is met or exceeded and a >= b.
    """
    least = _lesser_weight(mean, variance / 2, nu)
    b = np.maximum(_lesser_weight(wider_mean, wider_variance / 2, nu), least)
    a = np.maximum(np.maximum(wider_mean - b * nu, np.sqrt(np.maximum(0.0, wider_variance / 2 - b * b * nu))), b)
    b = np.maximum(b, a * 1e-9)
    x = np.maximum(x, _NEAR_MEAN * (a + b * nu))
    # The saddlepoint solves a / (1 - 2at) + b nu / (1 - 2bt) = x: the smaller root of A t^2 - B t + C.
    first, second, third = 4 * a * b * x, 2 * (a + b) * x - 2 * a * b * (1 + nu), x - a - b * nu
    root = np.sqrt(np.maximum(0.0, second * second - 4 * first * third))
    upper = second > 0
    t = np.where(upper, 2 * third / np.where(upper, second + root, 1.0), (second - root) / (2 * first))
    one, rest = 1 - 2 * a * t, 1 - 2 * b * t
    cumulant = -0.5 * (np.log(one) + nu * np.log(rest))
    curvature = 2 * ((a / one) ** 2 + nu * (b / rest) ** 2)
    w = np.copysign(np.sqrt(np.maximum(0.0, 2 * (t * x - cumulant))), t)
    near = np.abs(w) < _NEAR_MEAN
    safe_w, v = np.where(near, 1.0, w), np.where(near, 1.0, t * np.sqrt(curvature))
    density = np.exp(-w * w / 2) / np.sqrt(2 * np.pi)
    skewness = 8 * (a**3 + b**3 * nu) / (2 * (a * a + b * b * nu)) ** 1.5
    at_mean = 0.5 - skewness / (6 * np.sqrt(2 * np.pi))
    tail = np.where(near, at_mean, ndtr(-w) + density * (1 / v - 1 / safe_w))
    clipped: NDArray[np.float64] = np.clip(tail, 0.0, 1.0)
    return clipped


def _lesser_weight(
    mean: NDArray[np.float64], half: NDArray[np.float64], nu: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the smaller b with a + b nu = mean and a^2 + b^2 nu = half, at least 0; a = b where there is none."""
    both = nu * nu + nu
    root = np.sqrt(np.maximum(0.0, both * half - nu * mean * mean))
    return np.maximum(0.0, (mean * nu - root) / both)


def _moments(found: CellStatistics, test: int) -> tuple[float, float]:
    statistic, mean, variance = found.statistic[test], found.mean[test], found.variance[test]
    known = np.isfinite(statistic)
    if not known.any():
        return 1.0, 1.0
    statistic, mean, variance = statistic[known], mean[known], variance[known]
    phi = max(1.0, float(statistic.sum() / mean.sum()))
    psi = max(1.0, float(((statistic - phi * mean) ** 2).sum() / variance.sum()))
    return round(phi, _DIGITS), round(psi, _DIGITS)


def scores(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -ln p, finite; NaN stays NaN."""
    return np.maximum(0.0, -np.log(np.maximum(p, _SMALLEST)))
