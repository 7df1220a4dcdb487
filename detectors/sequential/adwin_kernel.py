"""The compiled step of ADWIN: buckets in arrays, one row per size, oldest first within a row.

`buckets[row, column]` is [n, sum, sum of squared deviations from the mean] of one bucket; `fill[row]` says how many columns
of a row are in use. `window` is about the whole window and the stream. Counts are floats here: they are exact up to 2**53,
and each array less is an array that no call has to count references of. The order of the operations is that of MOA:
floating-point numbers come out the same to the last bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray  # noqa: TC002  # numba reads the annotations' names when it compiles

from detectors.compiled import compiled

BUCKETS = 5
"""Buckets a row keeps, as in MOA: more would test finer splits at a higher cost."""
WIDTH = BUCKETS + 1
"""Columns of a row: it holds one more bucket for a moment, before its two oldest merge."""
ROWS = 50
"""Rows there can be; they are full after 5 * 2**50 updates."""
N, TOTAL, SPREAD, ELEMENTS, DIRECTION = 0, 1, 2, 3, 4
"""Entries of `window`, the first three also of a bucket: its elements, their sum and squared deviations; the elements of
the stream so far, and the direction of the latest change."""
_CLOCK = 32
"""Elements between tests, as in MOA."""
_LEAST_WINDOW = 10
"""A window of this size or smaller is not tested, as in MOA."""
_LEAST_SIDE = 6
"""A side of a split needs more elements than this, as in MOA."""
_SIDE_OFFSET = 4
"""What eps takes off each side's size (MOA: minimum length 5, minus 1)."""


@compiled
def _between(n0: float, total0: float, n1: float, total1: float) -> float:
    """Return the squared deviations that two groups have as one, beyond those within each (Chan et al. 1979)."""
    gap = total0 / n0 - total1 / n1
    return n0 * n1 * gap * gap / (n0 + n1)


@compiled
def _insert(
    window: NDArray[np.float64],
    fill: NDArray[np.int64],
    buckets: NDArray[np.float64],
    n: float,
    total: float,
    spread: float,
) -> None:
    """Add a bucket to row 0 and merge until no row holds more than `BUCKETS`."""
    if window[N] > 0:
        window[SPREAD] = window[SPREAD] + spread + _between(window[N], window[TOTAL], n, total)
    else:
        window[TOTAL], window[SPREAD] = 0.0, spread
    window[N] += n
    window[TOTAL] += total
    for row in range(ROWS):
        at = fill[row]
        buckets[row, at, N], buckets[row, at, TOTAL], buckets[row, at, SPREAD] = n, total, spread
        fill[row] = at + 1
        if at < BUCKETS:
            return
        n0, total0, spread0 = buckets[row, 0, N], buckets[row, 0, TOTAL], buckets[row, 0, SPREAD]
        n1, total1, spread1 = buckets[row, 1, N], buckets[row, 1, TOTAL], buckets[row, 1, SPREAD]
        n, total, spread = n0 + n1, total0 + total1, spread0 + spread1 + _between(n0, total0, n1, total1)
        for i in range(2, WIDTH):
            for j in range(3):
                buckets[row, i - 2, j] = buckets[row, i, j]
        fill[row] -= 2


@compiled
def _top(fill: NDArray[np.int64]) -> int:
    """Return the row that holds the oldest bucket, -1 when there is none."""
    row = ROWS - 1
    while row >= 0 and fill[row] == 0:
        row -= 1
    return row


@compiled
def _cut(delta: float, window: NDArray[np.float64], fill: NDArray[np.int64], buckets: NDArray[np.float64]) -> int:
    """Return the sign of the change of mean at the oldest split that is a cut, 0 when there is none."""
    whole = window[N]
    d = math.log(2 * math.log(whole) / delta)
    variance = max(0.0, window[SPREAD] / whole)
    n0, u0, u1 = 0.0, 0.0, window[TOTAL]
    for row in range(_top(fill), -1, -1):
        for i in range(fill[row]):
            n0 += buckets[row, i, N]
            u0 += buckets[row, i, TOTAL]
            u1 -= buckets[row, i, TOTAL]
            n1 = whole - n0
            if n1 <= _LEAST_SIDE:
                return 0
            if n0 <= _LEAST_SIDE:
                continue
            gap = u1 / n1 - u0 / n0
            m = 1 / (n0 - _SIDE_OFFSET) + 1 / (n1 - _SIDE_OFFSET)
            if abs(gap) > math.sqrt(2 * m * variance * d) + 2 / 3 * d * m:
                return 1 if gap > 0 else -1
    return 0


@compiled
def _drop_oldest(window: NDArray[np.float64], fill: NDArray[np.int64], buckets: NDArray[np.float64]) -> None:
    row = _top(fill)
    n, total, spread = buckets[row, 0, N], buckets[row, 0, TOTAL], buckets[row, 0, SPREAD]
    for i in range(1, fill[row]):
        for j in range(3):
            buckets[row, i - 1, j] = buckets[row, i, j]
    fill[row] -= 1
    window[N] -= n
    window[TOTAL] -= total
    window[SPREAD] -= spread + _between(window[N], window[TOTAL], n, total)


@compiled
def add(
    delta: float,
    window: NDArray[np.float64],
    fill: NDArray[np.int64],
    buckets: NDArray[np.float64],
    n: float,
    total: float,
    total_sq: float,
) -> bool:
    """Add `n` > 0 values with sum `total` and sum of squares `total_sq` as one bucket; return whether the mean has changed."""
    # (n * squares - total^2) / n, not squares - total^2 / n: with integers nothing is rounded before the division.
    spread = max(0.0, (n * total_sq - total * total) / n) if n > 1 else 0.0
    _insert(window, fill, buckets, n, total, spread)
    before = window[ELEMENTS]
    window[ELEMENTS] += n
    if int(before) // _CLOCK == int(window[ELEMENTS]) // _CLOCK or window[N] <= _LEAST_WINDOW:
        return False
    changed = False
    while True:
        sign = _cut(delta, window, fill, buckets)
        if sign == 0:
            return changed
        if not changed:
            window[DIRECTION] = sign
        changed = True
        _drop_oldest(window, fill, buckets)


@compiled
def add_each(
    delta: float,
    window: NDArray[np.float64],
    fill: NDArray[np.int64],
    buckets: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Add values one by one; return at which the mean has changed."""
    changed = np.zeros(len(values), np.bool_)
    for i in range(len(values)):
        changed[i] = add(delta, window, fill, buckets, 1.0, values[i], 0.0)
    return changed


@compiled
def add_panes(
    delta: float,
    window: NDArray[np.float64],
    fill: NDArray[np.int64],
    buckets: NDArray[np.float64],
    n: NDArray[np.int64],
    total: NDArray[np.float64],
    total_sq: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Add panes one by one; return at which the mean has changed. A pane without values changes nothing."""
    changed = np.zeros(len(n), np.bool_)
    for i in range(len(n)):
        if n[i] > 0:
            changed[i] = add(delta, window, fill, buckets, float(n[i]), total[i], total_sq[i])
    return changed
