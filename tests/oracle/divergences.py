"""Drift statistics written from their formulas, with plain loops."""

from __future__ import annotations

from math import log, log2, sqrt


def psi(reference: list[int], current: list[int]) -> float:
    r, c = [x + 0.5 for x in reference], [x + 0.5 for x in current]
    return sum((b / sum(c) - a / sum(r)) * log((b / sum(c)) / (a / sum(r))) for a, b in zip(r, c, strict=True))


def jensen_shannon(reference: list[int], current: list[int]) -> float:
    total = 0.0
    for a, b in zip(reference, current, strict=True):
        p, q = a / sum(reference), b / sum(current)
        m = (p + q) / 2
        total += (p * log2(p / m) if p else 0) / 2 + (q * log2(q / m) if q else 0) / 2
    return sqrt(max(0.0, total))


def hellinger(reference: list[int], current: list[int]) -> float:
    overlap = sum(sqrt(a / sum(reference) * b / sum(current)) for a, b in zip(reference, current, strict=True))
    return sqrt(max(0.0, 1 - overlap))


def anderson_darling(reference: list[int], current: list[int]) -> float:
    """Return A over the inner boundaries; every reference bin must be positive."""
    n, m = sum(current), sum(reference)
    total = 0.0
    for j in range(len(reference) - 1):
        f, g = sum(reference[: j + 1]) / m, sum(current[: j + 1]) / n
        weight = (reference[j] + reference[j + 1]) / 2 / m
        total += weight * (g - f) ** 2 / (f * (1 - f))
    return total * n * m / (n + m)


def roc_auc(negatives: list[float], positives: list[float]) -> float:
    """Return the share of pairs in which the positive has the higher score, a tie counting half."""
    won = sum((p > q) + (p == q) / 2 for p in positives for q in negatives)
    return won / len(positives) / len(negatives)
