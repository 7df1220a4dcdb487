"""Outcome vectors and performance metrics, one outcome at a time, with exact arithmetic."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import copysign, inf, isfinite, isnan
from struct import pack, unpack

CLIP = 2.0**-20


def classes(
    actual: list[int], predicted: list[int], n_classes: int, score: list[float] | None, *, binary: bool
) -> list[int]:
    """Return the outcome vector of a classification."""
    counts = [0] * (2 + n_classes * n_classes + (200 if binary else 0))
    clipped = 0
    losses = [0, 0, 0, 0]
    groups = [0] * 20
    for i, (a, p) in enumerate(zip(actual, predicted, strict=True)):
        counts[0] += 1
        counts[1] += a != p
        counts[2 + a * n_classes + p] += 1
        if not binary or score is None or isnan(score[i]):
            continue
        given = single(score[i])
        s = min(1.0, max(0.0, given))
        clipped += not isfinite(given) or abs(Fraction(given) - Fraction(s)) * 2**20 > Fraction(1, 2)
        b = min(99, int(single(s * 100)))
        counts[6 + a * 100 + b] += 1
        groups[b // 5] += round(Fraction(s) * 2**20)
        square = (s - a) * (s - a)  # the two float64 operations are part of the definition
        for k, value in enumerate((*log_loss(a, s), Fraction(square), Fraction(square * square))):
            losses[k] += round(value * 2**30)
    if not binary:
        return counts
    return [*counts, clipped, *(w for s in losses for w in divmod(s, 2**32)), *groups]


def single(x: float) -> float:
    """Return the float32 next to x, infinite beyond their range: what of a score is counted."""
    return unpack("<f", pack("<f", x))[0] if abs(x) < 2.0**128 else copysign(inf, x)


def log_loss(actual: int, score: float) -> tuple[Fraction, Fraction]:
    """Return -ln of the (clipped) probability that was given to what happened, and its square, to 40 digits."""
    p = min(1.0 - CLIP, max(CLIP, score))
    with localcontext(prec=40):
        loss = -Decimal(p if actual else 1.0 - p).ln()
        return Fraction(loss), Fraction(loss * loss)


def regression(prediction: list[float], label: list[float]) -> list[int]:
    """Return the outcome vector of a regression."""
    sums = [0, 0, 0]
    out = 0
    histogram = [0] * 1025
    for p, y in zip(prediction, label, strict=True):
        error = p - y
        if not isfinite(error) or abs(error) >= 2**32:
            out += 1
            continue
        units = round(Fraction(error) * 2**32)
        for k, value in enumerate((units, abs(units), round(Fraction(error * error) * 2**64))):
            sums[k] += value
        histogram[residual_bin(error)] += 1
    return [len(label), out, *words(sums[0], 3), *words(sums[1], 3), *words(sums[2], 5), *histogram]


def residual_bin(error: float) -> int:
    """Return the bin of a residual by walking up the edges, with fractions."""
    size = Fraction(abs(error))
    if size < Fraction(1, 2**32):
        return 512
    low = Fraction(1, 2**32)
    k = 0
    while size >= 2 * low:
        low, k = 2 * low, k + 8
    k += int((size / low - 1) * 8)
    return 513 + k if error > 0 else 511 - k


def words(units: int, n: int) -> list[int]:
    """Return a number in n words of 32 bits, highest first; the highest takes the sign."""
    found = []
    for _ in range(n - 1):
        units, low = divmod(units, 2**32)
        found.append(low)
    return [units, *reversed(found)]


def rates(actual: list[int], predicted: list[int], n_classes: int) -> dict[str, float]:
    """Return accuracy and macro precision, recall and F1 over the classes for which each is defined."""
    pairs = list(zip(actual, predicted, strict=True))
    precision, recall, f1 = [], [], []
    for k in range(n_classes):
        right = sum(a == p == k for a, p in pairs)
        said, was = predicted.count(k), actual.count(k)
        if said:
            precision.append(right / said)
        if was:
            recall.append(right / was)
        if said or was:
            f1.append(2 * right / (said + was))
    return {
        "accuracy": sum(a == p for a, p in pairs) / len(pairs),
        "precision": sum(precision) / len(precision),
        "recall": sum(recall) / len(recall),
        "f1": sum(f1) / len(f1),
    }
