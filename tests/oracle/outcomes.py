"""Outcome vectors and performance metrics, one outcome at a time, with exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import isnan


def classes(
    actual: list[int], predicted: list[int], n_classes: int, score: list[float] | None, *, binary: bool
) -> list[int]:
    """Return the outcome vector of a classification."""
    vector = [0] * (2 + n_classes * n_classes + (200 if binary else 0))
    for i, (a, p) in enumerate(zip(actual, predicted, strict=True)):
        vector[0] += 1
        vector[1] += a != p
        vector[2 + a * n_classes + p] += 1
        if binary and score is not None and not isnan(score[i]):
            vector[6 + a * 100 + min(99, max(0, int(score[i] * 100)))] += 1
    return vector


def regression(prediction: list[float], label: list[float]) -> list[int]:
    """Return the outcome vector of a regression."""
    sums = [0, 0, 0]
    out = 0
    for p, y in zip(prediction, label, strict=True):
        error = p - y
        square = error * error
        if abs(error) * 2**20 >= 2**52 or square * 2**20 >= 2**52:
            out += 1
            continue
        for k, value in enumerate((error, abs(error), square)):
            sums[k] += round(Fraction(value) * 2**20)
    words = [w for s in sums for w in divmod(s, 2**32)]
    return [len(label), out, *words]


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
