"""Whether a score of 0.3 comes true three times in ten: reliability, and the expected calibration error (ECE).

ECE = sum over groups of (share of the outcomes) * |mean score - observed rate|, over 20 equal groups of the score of
the positive class (Naeini, Cooper & Hauskrecht 2015, AAAI, 2901-2907). The mean scores are exact, not middles of bins:
a model whose scores all lie below 0.05 is judged by what it said, not by 0.025.

The plain ECE of a *calibrated* model is above 0 and shrinks like 1/sqrt(n) (on uniform scores 0.08 for 300 outcomes,
0.006 for 50,000), so windows of different size cannot be compared by it (Roelofs et al. 2022, AISTATS, 4036-4054).
`ece` is therefore the plain ECE minus its expectation under calibration: each group's is De Moivre's mean absolute
deviation of a binomial,

    E|X/n - p| = 2 (1-p)^(n-v+1) p^v v C(n, v) / n,   v = floor(np) + 1   (Diaconis & Zabell 1991, Stat. Sci. 6, 284)

so it is 0 on average for a calibrated model and any n, negative half of the time. Where the model is not calibrated the
excess understates the error, by at most that expectation: an error of 0.19 comes out as 0.09 in windows of 100 outcomes
and as 0.14 in windows of 400. So a window is not called worse for being smaller than the reference; from a reference that
is itself far off, a small window shows a further loss late. Where the reference is the smaller one, what it may understate
is allowed for (`understated`): both the plain ECE and the excess must have risen.

Guarantee: for scores that are true and independent outcomes the mean of `ece` is 0 at any n.
Cost: part of all binary metrics, 0.3 ms together. Merge: outcome vectors add up exactly.
References: in the text above.

>>> import numpy as np
>>> from detectors.performance import count_classes
>>> actual = np.array([0] * 70 + [1] * 30)
>>> table = reliability(count_classes(actual, actual, "binary", 2, np.full(100, 0.3)))
>>> [(g.n, round(g.mean_score, 3), g.rate) for g in table.groups]
[(100, 0.3, 0.3)]
>>> round(table.plain, 6), round(table.expected, 3)
(0.0, 0.036)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erf, gammaln, xlog1py, xlogy

from detectors.performance import layout
from detectors.performance.metric import NOTHING, Metric, wilson_error

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Group:
    """The outcomes whose scores lie in [low, high): how many, their mean score, the share of positives, and its error."""

    low: float
    high: float
    n: int
    mean_score: float
    rate: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """The groups that hold outcomes, the plain ECE, what it would be on average if the scores were right, and the excess."""

    groups: tuple[Group, ...]
    plain: float
    expected: float
    excess: Metric


def reliability(vector: NDArray[np.int64]) -> Reliability:
    """Return the reliability of a binary vector's scores; without scores there are no groups and no excess."""
    per_group = layout.score_histograms(vector).reshape(layout.BINARY_CLASSES, layout.GROUPS, -1).sum(axis=2)
    counts = per_group.sum(axis=0)
    held = np.flatnonzero(counts)
    if not len(held):
        return Reliability((), 0.0, 0.0, NOTHING)
    n, positives = counts[held].astype(np.float64), per_group[1, held].astype(np.float64)
    said = layout.score_sums(vector)[held] / n
    groups = tuple(
        Group(
            k / layout.GROUPS,
            (k + 1) / layout.GROUPS,
            int(size),
            float(score),
            float(hits / size),
            wilson_error(float(hits), int(size)),
        )
        for k, size, score, hits in zip(held.tolist(), n, said, positives, strict=True)
    )
    share = n / n.sum()
    gap = np.abs(positives / n - said)
    plain, expected = float(share @ gap), float(share @ mean_deviation(n, said))
    error = _error(share, gap, n, (positives + said) / (n + 1))
    return Reliability(groups, plain, expected, Metric(plain - expected, error, int(n.sum())))


def ece(vector: NDArray[np.int64]) -> Metric:
    """Return the ECE of a binary vector beyond that of a calibrated model; undefined without scores."""
    return reliability(vector).excess


def understated(reference: NDArray[np.int64], current: NDArray[np.int64]) -> float:
    """Return how much more the `ece` of a reference may understate the error than that of a larger window.

    Each understates it by 0 (the scores are right) up to its own expectation (they are far off), a smaller sample by more; and
    so the window's `ece` is higher by up to the difference when nothing changed. 0 where the reference is as large.
    """
    if layout.score_histograms(reference).sum() >= layout.score_histograms(current).sum():
        return 0.0
    return max(0.0, reliability(reference).expected - reliability(current).expected)


def mean_deviation(n: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return E|X/n - p| of binomial X, elementwise, by De Moivre's formula."""
    v = np.minimum(np.floor(n * p) + 1, n)
    log_choose = gammaln(n + 1) - gammaln(v + 1) - gammaln(n - v + 1)
    log_of = log_choose + xlog1py(n - v + 1, -p) + xlogy(v, p)
    return np.where(p < 1, 2 * v * np.exp(np.where(p < 1, log_of, 0.0)) / n, 0.0)


def _error(
    share: NDArray[np.float64],
    gap: NDArray[np.float64],
    n: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> float:
    """Return the standard error of the plain ECE.

    Each |gap| is a folded normal around the gap that is left after its noise is taken off; the groups' shares vary too.
    `rate` is the observed one with one more outcome that did what the scores said: a group of a few without a positive
    is not taken for certain.
    """
    noise = rate * (1 - rate) / n
    true = np.sqrt(np.maximum(0.0, gap * gap - noise))
    sd = np.sqrt(noise)
    z = np.divide(true, sd, out=np.zeros_like(true), where=sd > 0)
    folded = sd * math.sqrt(2 / math.pi) * np.exp(-z * z / 2) + true * erf(z / math.sqrt(2))
    variance = float(share**2 @ (true * true + noise - folded * folded))
    variance += max(0.0, float(share @ true**2) - float(share @ true) ** 2) / float(n.sum())
    return math.sqrt(max(0.0, variance))
