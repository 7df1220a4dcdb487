"""Where each integer of an outcome vector stands.

An *outcome vector* counts what became of labelled predictions. It holds int64 only, so vectors of panes, partitions
and workers add up exactly, in any order, and every metric is a function of their sum.

Classification with K classes (binary K = 2: class 1 is the positive class, class 0 everything else; multiclass: the
reference's classes in sorted order, then "other")::

    0                        n, the outcomes
    1                        errors (predicted is not actual)
    2 + actual*K + predicted confusion counts

Binary only, of outcomes with a score s, taken as float32; p is s clipped to [0, 1], y the actual class (0 or 1)::

    6 + y*100 + b            score histogram, b = min(99, int(p*100)), the product rounded to float32
    206                      scores that were clipped: 2**-21 or more outside [0, 1]
    207, 209                 log loss -ln(p) or -ln(1-p), p clipped to [2**-20, 1 - 2**-20], and its square: no single
                             outcome costs more than 13.87 nats
    211, 213                 Brier score (p - y)**2, and its square
    215 + b // 5             sum of p over the outcomes of five neighbouring bins, in units of 2**-20

Regression, with error = prediction - label::

    0, 1                     n, the outcomes; those out of range, which are in nothing below
    2, 5, 8                  error, absolute error, squared error
    13 + b                   residual histogram: 1,025 bins from most negative to most positive (`residual_edges`)

A sum (`Sum`) is kept in words of 32 bits, highest first, each in an int64 of its own: ``word * 2**(32*i)`` with every
word but the highest in [0, 2**32), so that one number has one spelling. It counts whole units of ``2**-exponent``; each
outcome is rounded to a unit, half to even. 2**40 outcomes of the largest size leave the highest word below 2**62, and
vectors of any 2**31 panes may be added. |error| reaches from 2**-32 (below half of it: 0) to 2**32 (from there on: out
of range; so is NaN).

Size: binary 235 counters (1,880 bytes in memory), multiclass 2 + K*K, regression 1,038 (8,304 bytes; most are 0, and
a stored vector is compressed).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sum:
    """Where a fixed-point sum stands: index of its highest word, number of words, and units of 2**-`exponent`."""

    at: int
    words: int
    exponent: int


N: Final = 0
"""Index of the number of outcomes, for every task."""
ERRORS: Final = 1
"""Index of the number of errors of a classification."""
CONFUSION: Final = 2
"""Index of the first confusion count of a classification."""
BINARY_CLASSES: Final = 2
"""Classes of a binary task: everything else (0) and the positive class (1)."""

SCORE_BINS: Final = 100
"""Bins of a score histogram, each one hundredth wide; what binning may do to an area is stated with it (`bin_error`)."""
SCORES: Final = CONFUSION + BINARY_CLASSES**2
"""Index of the first count of the score histograms."""
CLIPPED: Final = SCORES + BINARY_CLASSES * SCORE_BINS
"""Index of the number of scores outside [0, 1]."""
LOG_LOSS: Final = Sum(CLIPPED + 1, 2, 30)
"""Sum of the log loss, in nats."""
LOG_LOSS_SQUARE: Final = Sum(CLIPPED + 3, 2, 30)
"""Sum of its square."""
BRIER: Final = Sum(CLIPPED + 5, 2, 30)
"""Sum of the Brier score."""
BRIER_SQUARE: Final = Sum(CLIPPED + 7, 2, 30)
"""Sum of its square."""
GROUPS: Final = 20
"""Groups of neighbouring score bins for the calibration error: more groups, more noise in each; 10 to 20 are usual."""
SCORE_SUMS: Final = CLIPPED + 9
"""Index of the first of the groups' sums of scores; a sum is one word, for 2**40 scores are 2**60 units at most."""
SCORE_UNIT: Final = 1 << 20
"""Units in a score of 1 in these sums."""

OUT_OF_RANGE: Final = 1
"""Index of the number of outcomes of a regression that are in no sum and no bin."""
ERROR_SUM: Final = Sum(2, 3, 32)
"""Sum of the errors of a regression."""
ABSOLUTE_SUM: Final = Sum(5, 3, 32)
"""Sum of the absolute errors."""
SQUARE_SUM: Final = Sum(8, 5, 64)
"""Sum of the squared errors; its unit is the square of the errors' own, so that small errors keep theirs."""
RESIDUALS: Final = 13
"""Index of the first count of the residual histogram."""
OCTAVES: Final = 64
"""Powers of two that the bins of one sign cover, from 2**-32 to 2**32: labels come in any unit."""
BINS_PER_OCTAVE: Final = 8
"""Equal bins between two powers of two, so each is at most 1/8 of its smaller edge wide; 16 would double the state."""
RESIDUAL_BINS: Final = 2 * OCTAVES * BINS_PER_OCTAVE + 1
"""Bins of the residual histogram: both signs, and one around 0."""
REGRESSION_WIDTH: Final = RESIDUALS + RESIDUAL_BINS
"""Length of a regression's vector."""
LIMIT: Final = 2.0**32
"""Errors from here on are out of range."""

WORD_BITS: Final = 32
"""Bits of every word of a sum but the highest."""


def width(task: str, n_classes: int) -> int:
    """Return the length of the outcome vector of a task ("binary", "multiclass", "regression") with `n_classes`.

    Raises:
        ValueError: the task is none of the three, or a multiclass task has no class.
    """
    if task == "regression":
        return REGRESSION_WIDTH
    if task == "binary":
        return SCORE_SUMS + GROUPS
    if task == "multiclass" and n_classes > 0:
        return CONFUSION + n_classes**2
    message = f"no outcome vector for task {task!r} with {n_classes} classes"
    raise ValueError(message)


def sums(length: int) -> tuple[Sum, ...]:
    """Return the sums in an outcome vector of this length; binary and regression have lengths that no other task has."""
    if length == REGRESSION_WIDTH:
        return ERROR_SUM, ABSOLUTE_SUM, SQUARE_SUM
    return (LOG_LOSS, LOG_LOSS_SQUARE, BRIER, BRIER_SQUARE) if length == SCORE_SUMS + GROUPS else ()


def confusion(vector: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Return the confusion counts, int64[actual, predicted], of a classification's vector."""
    return vector[CONFUSION : CONFUSION + n_classes**2].reshape(n_classes, n_classes)


def score_histograms(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the score histograms, int64[2, 100] (class 0, then the positive class), of a binary vector."""
    return vector[SCORES:CLIPPED].reshape(BINARY_CLASSES, SCORE_BINS)


def score_sums(vector: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of the (clipped) scores of each group of five bins, float64[20], of a binary vector."""
    return vector[SCORE_SUMS : SCORE_SUMS + GROUPS] / SCORE_UNIT


def residuals(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the residual histogram, int64[1025], of a regression's vector."""
    return vector[RESIDUALS:REGRESSION_WIDTH]


@cache
def residual_edges() -> NDArray[np.float64]:
    """Return the edges of the residual bins, float64[1026], ascending.

    Bin 512 holds the errors below 2**-32 in size. Bin 513 + k holds ``low <= error < high``, bin 511 - k the same sizes
    with a minus sign, where low = 2**(k // 8 - 32) * (1 + k % 8 / 8). A power of two in equal parts, the linearly
    interpolated mapping of DDSketch (Masson, Rim & Lee 2019, PVLDB 12, 2195), needs no logarithm: the bin is the
    exponent and the first three bits of the mantissa, the same on every machine.
    """
    k = np.arange(OCTAVES * BINS_PER_OCTAVE)
    low = np.ldexp(1 + k % BINS_PER_OCTAVE / BINS_PER_OCTAVE, k // BINS_PER_OCTAVE - OCTAVES // 2)
    sizes = np.append(low, LIMIT)
    edges = np.concatenate([-sizes[::-1], sizes])
    edges.flags.writeable = False
    return edges


def total(vector: NDArray[np.int64], of: Sum) -> float:
    """Return a sum in its own unit (nats, the label's unit, its square), correctly rounded."""
    units = 0
    for word in vector[of.at : of.at + of.words].tolist():
        units = (units << WORD_BITS) + word
    return units / (1 << of.exponent)
