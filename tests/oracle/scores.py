"""Figures of scores and residuals from the values themselves: by sorting, by pairs, by the formula, one value at a time."""

from __future__ import annotations

from fractions import Fraction
from math import comb, log


def auc(actual: list[int], score: list[float]) -> float:
    """Return P(positive above negative) + P(tie) / 2, over all pairs."""
    positives = [s for a, s in zip(actual, score, strict=True) if a]
    negatives = [s for a, s in zip(actual, score, strict=True) if not a]
    wins = sum((p > q) + 0.5 * (p == q) for p in positives for q in negatives)
    return wins / (len(positives) * len(negatives))


def average_precision(actual: list[int], score: list[float]) -> float:
    """Return the sum of precision times gained recall over the distinct scores, highest first."""
    total, found, previous = sum(actual), 0.0, 0
    for threshold in sorted(set(score), reverse=True):
        taken = [a for a, s in zip(actual, score, strict=True) if s >= threshold]
        hits = sum(taken)
        found += (hits - previous) / total * hits / len(taken)
        previous = hits
    return found


def log_loss(actual: list[int], score: list[float]) -> float:
    """Return the mean of -ln of the probability given to what happened, clipped to [2^-20, 1 - 2^-20]."""
    clip = 2.0**-20
    claimed = [min(1 - clip, max(clip, s)) for s in score]
    return -sum(log(p if a else 1 - p) for a, p in zip(actual, claimed, strict=True)) / len(actual)


def brier(actual: list[int], score: list[float]) -> float:
    """Return the mean squared distance of the score from what happened."""
    return sum((s - a) ** 2 for a, s in zip(actual, score, strict=True)) / len(actual)


def plain_ece(actual: list[int], score: list[float], groups: int) -> float:
    """Return sum over equal groups of the score of (share) * |mean score - observed rate|."""
    found = 0.0
    for k in range(groups):
        rows = [(a, s) for a, s in zip(actual, score, strict=True) if min(groups - 1, int(s * groups)) == k]
        found += abs(sum(a - s for a, s in rows)) / len(actual)
    return found


def mean_deviation(n: int, p: Fraction) -> Fraction:
    """Return E|X/n - p| of a binomial X, by its definition."""
    return sum(
        (comb(n, k) * p**k * (1 - p) ** (n - k) * abs(Fraction(k, n) - p) for k in range(n + 1)), start=Fraction(0)
    )


def fisher(hits: int, n: int, other_hits: int, other_n: int) -> tuple[float, float, float]:
    """Return P(this few or fewer), P(this many or more), P(as unlikely or more) given both totals: hypergeometric."""
    total = hits + other_hits
    ways = {
        k: Fraction(comb(n, k) * comb(other_n, total - k), comb(n + other_n, total))
        for k in range(max(0, total - other_n), min(n, total) + 1)
    }
    fewer = sum((w for k, w in ways.items() if k <= hits), start=Fraction(0))
    more = sum((w for k, w in ways.items() if k >= hits), start=Fraction(0))
    both = sum((w for w in ways.values() if w <= ways[hits]), start=Fraction(0))
    return float(fewer), float(more), float(both)
