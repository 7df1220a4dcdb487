"""The compiled loop that counts outcomes: the only place that writes an outcome vector.

Reference and stream both count here, so that the same outcome is the same integers in both, and on every machine: the
loop uses nothing but additions, multiplications, divisions, roundings and exponents of float64, which IEEE 754 defines
to the last bit; a library's logarithm may differ between machines. Layout: `detectors.performance.layout`, whose
numbers stand here again because numba's cache does not see a changed import (a test compares them).

Cost: binary 39 ns with a score, multiclass 2 ns, regression 33 ns an outcome
(`python -m loadtest detectors`, cases "performance: count, ...").
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_i64: Any = np.int64
"""An explicit int64: numba makes a float of int64 + uint64."""

SCORE_BINS, BINS_PER_GROUP = 100, 5
SCORES, CLIPPED, LOG_LOSS, LOG_LOSS_SQUARE, BRIER, BRIER_SQUARE, SCORE_SUMS = 6, 206, 207, 209, 211, 213, 215
LOSS_UNIT, SCORE_UNIT = 2.0**30, 2.0**20
CLIP = 2.0**-20
ERROR_SUM, ABSOLUTE_SUM, SQUARE_SUM, RESIDUALS = 2, 5, 8, 13
ERROR_WORDS, SQUARE_WORDS = 3, 5
ERROR_UNIT, SQUARE_UNIT = 2.0**32, 2.0**64
LIMIT, LEAST = 2.0**32, 2.0**-32
BINS_PER_OCTAVE, LEAST_EXPONENT, ZERO_BIN = 8, -32, 512
AMOUNT_CELLS, AMOUNT_CELL = 2, 9

_HALF = 32
_LOW = (1 << 32) - 1
_WORD = 2.0**32
_LN2 = 0.6931471805599453
_ROOT_HALF = 0.7071067811865476


@compiled
def natural_log(x: float) -> float:
    """Return ln(x) of a positive, normal float64, within 4e-16 * max(1, |ln x|), from IEEE 754 operations alone.

    x = 2^e * m with m in [0.7, 1.42), ln m = 2 artanh(s) with s = (m-1)/(m+1), |s| < 0.172, eleven terms of its series.
    """
    m, e = math.frexp(x)
    if m < _ROOT_HALF:
        m, e = m * 2.0, e - 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1.0 / 21.0
    for k in range(9, 0, -1):
        series = series * z + 1.0 / (2 * k + 1)
    return e * _LN2 + 2.0 * s * (1.0 + z * series)


@compiled
def _add(arena: NDArray[np.int64], at: int, amount: int) -> None:
    """Add whole units to a sum of two words."""
    low = arena[at + 1] + (amount & _LOW)
    arena[at] += (amount >> _HALF) + (low >> _HALF)
    arena[at + 1] = low & _LOW


@compiled
def _add_wide(arena: NDArray[np.int64], at: int, words: int, units: float, sign: int) -> None:
    """Add ``sign * units`` to a sum of several words; ``units`` is a whole, non-negative float64 of any size that fits."""
    place, per_place = 1.0, 1.0
    for _ in range(1, words):
        place, per_place = place * _WORD, per_place / _WORD
    carry = 0
    for i in range(words):  # highest word first: taking leading bits away from a float is exact
        part = math.floor(units * per_place)
        units -= part * place
        place, per_place = place / _WORD, per_place * _WORD
        arena[at + i] += sign * _i64(part)
    for i in range(words - 1, 0, -1):
        low = arena[at + i] + carry
        carry = low >> _HALF
        arena[at + i] = low & _LOW
    arena[at] += carry


@compiled
def _score(arena: NDArray[np.int64], at: int, actual: int, score: float) -> None:
    """Count the score of one binary outcome, as float32: so much of it waits for the label on the stream."""
    score = np.float64(np.float32(score))
    p = min(1.0, max(0.0, score))
    arena[at + CLIPPED] += np.rint((score - p) * SCORE_UNIT) != 0.0
    b = min(SCORE_BINS - 1, _i64(np.float32(p * SCORE_BINS)))  # rounded as float32: 0.9 is in bin 90
    arena[at + SCORES + actual * SCORE_BINS + b] += 1
    arena[at + SCORE_SUMS + b // BINS_PER_GROUP] += _i64(np.rint(p * SCORE_UNIT))
    claimed = min(1.0 - CLIP, max(CLIP, p))
    loss = -natural_log(claimed if actual else 1.0 - claimed)
    miss = p - actual
    square = miss * miss
    _add(arena, at + LOG_LOSS, _i64(np.rint(loss * LOSS_UNIT)))
    _add(arena, at + LOG_LOSS_SQUARE, _i64(np.rint(loss * loss * LOSS_UNIT)))
    _add(arena, at + BRIER, _i64(np.rint(square * LOSS_UNIT)))
    _add(arena, at + BRIER_SQUARE, _i64(np.rint(square * square * LOSS_UNIT)))


@compiled
def _residual(arena: NDArray[np.int64], at: int, error: float) -> None:
    """Count one residual that is in range."""
    size, sign = abs(error), 1 if error > 0.0 else -1
    units = np.rint(size * ERROR_UNIT)
    _add_wide(arena, at + ERROR_SUM, ERROR_WORDS, units, sign)
    _add_wide(arena, at + ABSOLUTE_SUM, ERROR_WORDS, units, 1)
    _add_wide(arena, at + SQUARE_SUM, SQUARE_WORDS, np.rint(size * size * SQUARE_UNIT), 1)
    b = ZERO_BIN
    if size >= LEAST:
        m, e = math.frexp(size)  # size = m * 2^e, m in [0.5, 1)
        k = (e - 1 - LEAST_EXPONENT) * BINS_PER_OCTAVE + _i64(m * (2 * BINS_PER_OCTAVE)) - BINS_PER_OCTAVE
        b += sign * (k + 1)
    arena[at + RESIDUALS + b] += 1


@compiled
def count_outcomes(
    arena: NDArray[np.int64],
    begin: NDArray[np.int64],
    classes: int,
    scored: bool,  # noqa: FBT001  # the loop is called with positions only
    predicted: NDArray[np.int64],
    actual: NDArray[np.int64],
    answer: NDArray[np.float64],
    truth: NDArray[np.float64],
) -> None:
    """Add each outcome i to the vector that begins at ``arena[begin[i]]``.

    Classification (``classes`` >= 1): class indices int64[n]; ``scored`` says that the vectors are those of a binary
    task, and then ``answer`` is the score or NaN. Regression (0): ``answer`` and ``truth`` are the values, float64[n];
    what is not finite is out of range.
    """
    for i in range(len(begin)):
        at = begin[i]
        arena[at] += 1
        if classes:
            arena[at + 1] += predicted[i] != actual[i]
            arena[at + 2 + actual[i] * classes + predicted[i]] += 1
            if scored and not math.isnan(answer[i]):
                _score(arena, at, actual[i], answer[i])
        else:
            error = answer[i] - truth[i]
            if abs(error) < LIMIT:
                _residual(arena, at, error)
            else:
                arena[at + 1] += 1


@compiled
def count_values(vector: NDArray[np.int64], which: NDArray[np.int64], amount: NDArray[np.float64]) -> None:
    """Add each amount to cell ``which[i]`` (2 * actual + predicted) of an amount vector (`detectors.performance.amounts`)."""
    for i in range(len(which)):
        vector[0] += 1
        x = amount[i]
        if not 0.0 <= x < LIMIT:
            vector[1] += 1
            continue
        at = AMOUNT_CELLS + AMOUNT_CELL * which[i]
        vector[at] += 1
        _add_wide(vector, at + 1, ERROR_WORDS, np.rint(x * ERROR_UNIT), 1)
        _add_wide(vector, at + 4, SQUARE_WORDS, np.rint(x * x * SQUARE_UNIT), 1)
