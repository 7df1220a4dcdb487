"""How many rows of a window may carry a category that the reference does not know, when nothing has changed.

Idea: "unseen" is defined by the reference itself, so the reference has none of them, and a test of "0 of N" against the
window would alarm on every feature with rare categories. What a next row brings anew can be estimated all the same: the
categories that came exactly once are the last ones that were new, and f1 / N is the expected share of rows with a new one
(Good 1953). So the f1 rows with such a category stand in for the reference's hits:

    p = P(X >= x / d),  X ~ binomial(f1 / d + x / d, n / (n + N)),  d = 1 + (n / N) 2 f2 / f1

d is the size of a clump: a category that is new can come several times in one window. 2 f2 / f1 is Good's estimate of how
often the rarest categories are expected among N rows (f2 came twice). The binomial in place of the hypergeometric keeps
the test on the safe side where much is new in both samples.

Guarantee: exact (P(p <= a) <= a) where one category alone is rare. Otherwise by simulation: populations of 100 to 10,000
categories (Zipf, and equally rare ones), N / n from 0.4 to 50, 10,000 windows each: at most a, for a of 0.1, 0.01 and
0.001. `tests/detectors/quality/test_novelty.py` repeats a part of it. A reference keeps
counts of its 200 commonest categories and of all others together: with more categories than that, f1 is the largest
number that these counts allow, so that the test is blunter, never sharper.

References: I. J. Good, The population frequencies of species and the estimation of population parameters, Biometrika 40,
1953. Deviation: f1 / d and x / d are rounded, up and down, to whole numbers.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtrc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detectors.reference import Subject


def singles(subject: Subject) -> tuple[int, float]:
    """Return (rows of the reference that stand for new categories, how often the rarest are expected) of a subject.

    The subject is categorical. The first is f1, or its largest possible value; the second 2 f2 / f1, or the mean count of
    the categories without a bin where there are any. Rows beyond the names that a reference keeps are unknown to
    both sides; what they hold is judged by the rarest names kept.
    """
    known, known_rows = subject.counts[: subject.bins], int(subject.counts[: subject.bins].sum())
    once, twice = int((known == 1).sum()), int((known == 2).sum())  # noqa: PLR2004  # came once, came twice
    others, rows, beyond = len(subject.others), int(subject.counts[subject.bins]), int(subject.counts[subject.bins + 1])
    if not others:
        return min(known_rows, once + beyond), 2 * twice / max(1, once)
    least = int(known.min())  # no other category came more often than this
    bound = others if least <= 1 else min(others, (others * least - rows) // (least - 1))
    mean = rows / others
    hits = once + max(0, bound) + beyond * (1 + ceil(mean))
    return min(known_rows + rows + beyond, hits), mean


def novelty_p_values(
    once: NDArray[np.int64],
    expected: NDArray[np.float64],
    reference_n: NDArray[np.int64],
    hits: NDArray[np.int64],
    n: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the p-values of `hits` unseen among `n` values, all arrays of one shape; 1.0 where there is no hit.

    `once` and `expected` are those of `singles`, `reference_n` counts the reference's values.
    """
    clump = 1 + expected * n / np.maximum(1, reference_n)
    x, before = np.floor(hits / clump), np.ceil(once / clump)
    inside = n / np.maximum(1, n + reference_n)
    tail = bdtrc(np.maximum(x - 1, 0), (before + np.maximum(x, 1)).astype(np.int64), inside)
    return np.where(x > 0, tail, 1.0)
