"""Adding rows to the int64 vectors of panes: feature values to their bins, outcomes to their counters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

_i64: Any = np.int64
"""An explicit int64: numba makes a float of int64 + uint64."""

_HEADER = 3
_SCORE_BINS = 100
_UNIT = 1 << 20
_LIMIT = float(1 << 52)
_HALF = 32
_LOW = (1 << 32) - 1


@compiled
def fold(
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    pane: NDArray[np.int64],
    offset: NDArray[np.int64],
    arena: NDArray[np.int64],
    column: NDArray[np.int64],
    categorical: NDArray[np.int64],
    base: NDArray[np.int64],
    bins: NDArray[np.int64],
    table: NDArray[np.int64],
    table_size: NDArray[np.int64],
    edges: NDArray[np.float64],
    slots: NDArray[np.int64],
) -> None:
    """Count each of ``rows`` (indices into values[n, columns]) in its pane; ``pane[i]`` is where its vector begins in the arena."""
    for i in range(len(rows)):
        row = rows[i]
        at = pane[i]
        arena[at] += 1
        arena[at + 1] = min(arena[at + 1], offset[i])
        arena[at + 2] = max(arena[at + 2], offset[i])
        for j in range(len(column)):
            x = values[row, column[j]]
            first = at + base[j]
            if x == -np.inf:
                slot = bins[j] + 3
            elif x != x:  # NaN: missing
                slot = bins[j] + 2
            elif categorical[j]:
                code = np.int64(x)
                slot = slots[table[j] + code] if 0 <= code < table_size[j] else bins[j] + 1
            else:
                low = table[j]
                size = table_size[j]
                while size > 0:  # branch-light lower bound: the number of edges that are <= x
                    half = size >> 1
                    if edges[low + half] <= x:
                        low += half + 1
                        size -= half + 1
                    else:
                        size = half
                slot = low - table[j]
            arena[first + slot] += 1


@compiled
def add_outcomes(
    begin: NDArray[np.int64],
    order: NDArray[np.int64],
    header: NDArray[np.int64],
    arena: NDArray[np.int64],
    classes: int,
    predicted: NDArray[np.int64],
    actual: NDArray[np.int64],
    answer: NDArray[np.float64],
    truth: NDArray[np.float64],
) -> None:
    """Count outcomes: ``begin[i]`` is where the outcome vector lies, ``header[i]`` where its pane's header does.

    Classification (``classes`` >= 2): ``answer`` is the score or NaN. Regression (0): ``answer`` and ``truth`` are the values.
    """
    for i in range(len(begin)):
        top, at = header[i], begin[i]
        arena[top] += 1
        arena[top + 1] = min(arena[top + 1], order[i])
        arena[top + 2] = max(arena[top + 2], order[i])
        arena[at] += 1
        if classes:
            arena[at + 1] += predicted[i] != actual[i]
            arena[at + 2 + actual[i] * classes + predicted[i]] += 1
            if classes == 2 and answer[i] == answer[i]:
                b = min(_SCORE_BINS - 1, max(0, np.int64(answer[i] * _SCORE_BINS)))
                arena[at + 2 + classes * classes + actual[i] * _SCORE_BINS + b] += 1
        else:
            error = answer[i] - truth[i]
            square = error * error
            if not (square * _UNIT < _LIMIT and abs(error) * _UNIT < _LIMIT):
                arena[at + 1] += 1
                continue
            _add(arena, at + 2, _i64(np.rint(error * _UNIT)))
            _add(arena, at + 4, _i64(np.rint(abs(error) * _UNIT)))
            _add(arena, at + 6, _i64(np.rint(square * _UNIT)))


@compiled
def _add(arena: NDArray[np.int64], at: int, amount: int) -> None:
    """Add to a sum kept as high * 2^32 + low, low in [0, 2^32): one spelling for one number, whatever the order."""
    low = arena[at + 1] + (amount & _LOW)
    arena[at] += (amount >> _HALF) + (low >> _HALF)
    arena[at + 1] = low & _LOW
