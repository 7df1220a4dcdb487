"""Adding rows to the int64 vectors of panes: feature values to their bins; outcomes are counted by `detectors.performance`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

_i64: Any = np.int64
_u64: Any = np.uint64
"""Unsigned indices: numba's test for negative ones would stop the compiler from vectorising."""

_TABLE = 255
"""Places of the table that the search without branches takes."""
_BLOCK = 256
"""Rows searched before they are counted: separate loops can be vectorised."""
_FEW = 4
"""From so many rows on filling the table costs less than the search saves (45 against 60 ns a value)."""


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
    """Count each of ``rows`` (indices into values[n, columns]) in its panes.

    ``pane[d, i]`` is where the vector of its d-th stream begins in the arena: all traffic first, then its segments; -1 where
    the row has fewer.

    Numeric features go column by column through the search without branches that ``detectors.sketches.binning`` explains.
    It stands here again because numba's cache does not see a changed import; a test compares the two.
    """
    for i in range(len(rows)):
        for d in range(len(pane)):
            at = pane[d, i]
            if at < 0:
                continue
            arena[at] += 1
            arena[at + 1] = min(arena[at + 1], offset[i])
            arena[at + 2] = max(arena[at + 2], offset[i])
    search = np.full(_TABLE, np.nan)
    slot = np.empty(_BLOCK, np.int64)
    for first in range(0, len(rows), _BLOCK):
        count = min(_BLOCK, len(rows) - first)
        for j in range(len(column)):
            source, size = column[j], table_size[j]
            wrong, missing = bins[j] + 3, bins[j] + 2
            if categorical[j]:
                for i in range(count):
                    x = values[rows[first + i], source]
                    slot[i] = bins[j] + 1
                    if x == -np.inf:
                        slot[i] = wrong
                    elif x != x:  # NaN: missing
                        slot[i] = missing
                    elif 0 <= x < size:
                        slot[i] = slots[table[j] + np.int64(x)]
            elif size <= _TABLE and count >= _FEW:
                search[:size] = edges[table[j] : table[j] + size]
                search[size:] = np.nan
                for i in range(count):
                    x = values[rows[first + i], source]
                    s = _i64(_search(search, x))
                    slot[i] = wrong if x == -np.inf else (s if x == x else missing)
            else:
                for i in range(count):
                    x = values[rows[first + i], source]
                    slot[i] = wrong if x == -np.inf else missing
                    if x > -np.inf:
                        slot[i] = _search_any(edges, table[j], size, x)
            for i in range(count):
                arena[pane[0, first + i] + base[j] + slot[i]] += 1
            for d in range(1, len(pane)):
                for i in range(count):
                    if pane[d, first + i] >= 0:
                        arena[pane[d, first + i] + base[j] + slot[i]] += 1


@compiled
def _search(table: NDArray[np.float64], x: float) -> Any:  # noqa: ANN401  # an unsigned integer, which numba infers
    """How many of the 255 places are <= x."""
    low = _u64(128) * _u64(table[127] <= x)
    low += _u64(64) * _u64(table[low + _u64(63)] <= x)
    low += _u64(32) * _u64(table[low + _u64(31)] <= x)
    low += _u64(16) * _u64(table[low + _u64(15)] <= x)
    low += _u64(8) * _u64(table[low + _u64(7)] <= x)
    low += _u64(4) * _u64(table[low + _u64(3)] <= x)
    low += _u64(2) * _u64(table[low + _u64(1)] <= x)
    return low + _u64(table[low] <= x)


@compiled
def _search_any(edges: NDArray[np.float64], first: int, size: int, x: float) -> int:
    """How many of ``size`` edges from ``first`` on are <= x: for few rows, where no table pays, and for many edges."""
    low = first
    while size > 0:
        half = size >> 1
        if edges[low + half] <= x:
            low += half + 1
            size -= half + 1
        else:
            size = half
    return low - first


@compiled
def touch(arena: NDArray[np.int64], header: NDArray[np.int64], order: NDArray[np.int64]) -> None:
    """Note one more record, at offset ``order[i]``, in the header that begins at ``arena[header[i]]``."""
    for i in range(len(header)):
        top = header[i]
        arena[top] += 1
        arena[top + 1] = min(arena[top + 1], order[i])
        arena[top + 2] = max(arena[top + 2], order[i])
