"""Which frozen bin a value falls into: a binary search without branches, eight comparisons for up to 254 bins.

The edges are laid into a table of 255 places, the rest NaN. The search descends in steps of 128, 64, ..., 1 and adds
`step * (edge <= value)`, so it never branches, costs the same for every distribution, and is vectorised by the compiler
where the processor can gather. It compares floats and computes none: it is right for every float64 (denormals, -0.0,
infinities, bins one ulp wide) by IEEE 754 alone. NaN compares with nothing, neither as value nor as filling.

An affine grid of guesses is faster on normal data and slower on lognormal data.

Guarantee: equal to `numpy.searchsorted(edges, values, side="right")`, NaN in a slot of its own. More than 254 bins take
the plain binary search, which is slower.

Cost: 6 ns a value on one core with 100 bins, 8 ns, counted, from the rows of a matrix of 20 features
(`python -m loadtest detectors`, cases "sketches: bin ..."; a processor with AVX-512).

References: Khuong & Morin, Array layouts for comparison-based searching, ACM J. Exp. Algorithmics 22 (2017), for
branch-free search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE: Final = 255
"""Places of a table that the search without branches takes: all steps of eight comparisons."""
_BLOCK = 256
"""Values searched before they are counted: separate loops can be vectorised, and 2 KiB stay in the first cache."""
_u64: Any = np.uint64
"""Unsigned, or numba adds a test for negative indices, which stops the compiler from vectorising."""


def search_table(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the table of ascending edges (float64[B + 1]): float64[max(255, B + 1)], filled up with NaN."""
    table = np.full(max(TABLE, len(edges)), np.nan)
    table[: len(edges)] = edges
    return table


@compiled
def _search(table: NDArray[np.float64], x: float) -> Any:  # noqa: ANN401  # an unsigned integer, which numba infers
    """Return how many of the 255 places are <= x."""
    low = _u64(128) * _u64(table[127] <= x)
    low += _u64(64) * _u64(table[low + _u64(63)] <= x)
    low += _u64(32) * _u64(table[low + _u64(31)] <= x)
    low += _u64(16) * _u64(table[low + _u64(15)] <= x)
    low += _u64(8) * _u64(table[low + _u64(7)] <= x)
    low += _u64(4) * _u64(table[low + _u64(3)] <= x)
    low += _u64(2) * _u64(table[low + _u64(1)] <= x)
    return low + _u64(table[low] <= x)


@compiled
def _search_long(table: NDArray[np.float64], edges: int, x: float) -> int:
    """Return how many of the first `edges` places are <= x, for tables of any length."""
    low, size = 0, edges
    while size > 0:
        half = size >> 1
        if table[low + half] <= x:
            low += half + 1
            size -= half + 1
        else:
            size = half
    return low


@compiled
def bin_values(table: NDArray[np.float64], edges: int, values: NDArray[np.float64], slots: NDArray[np.int64]) -> None:
    """Set `slots[i]` to the slot of `values[i]`: 0 below, 1..B the bins, B + 1 above, B + 2 NaN, with B = edges - 1.

    `table` is `search_table` of `edges` edges.
    """
    missing = edges + 1
    if edges <= TABLE:
        for i in range(len(values)):
            x = values[i]
            slot = _search(table, x)
            slots[i] = slot if x == x else missing  # noqa: PLR0124  # how a compiled loop asks for NaN
    else:
        for i in range(len(values)):
            x = values[i]
            slots[i] = _search_long(table, edges, x) if x == x else missing  # noqa: PLR0124  # as above


@compiled
def count_values(
    table: NDArray[np.float64], edges: int, values: NDArray[np.float64], counts: NDArray[np.int64]
) -> None:
    """Add one to `counts[slot]` for each value; slots as in `bin_values`, `counts` is int64[edges + 2] or longer."""
    missing = edges + 1
    slots = np.empty(_BLOCK, np.int64)
    for first in range(0, len(values), _BLOCK):
        block = values[first : first + _BLOCK]
        if edges <= TABLE:
            for i in range(len(block)):
                x = block[i]
                slot = _search(table, x)
                slots[i] = slot if x == x else missing  # noqa: PLR0124  # as above
        else:
            for i in range(len(block)):
                x = block[i]
                slots[i] = _search_long(table, edges, x) if x == x else missing  # noqa: PLR0124  # as above
        for i in range(len(block)):
            counts[slots[i]] += 1


@compiled
def count_rows(
    tables: NDArray[np.float64],
    edges: NDArray[np.int64],
    rows: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Add one to `counts[j, slot]` for each value `rows[i, j]` of a matrix of rows, float64[n, features].

    Column j has the table `tables[j]` (float64[features, 255]) of `edges[j]` edges, at most 255; slots as in
    `bin_values`; `counts` is int64[features, at least max(edges) + 2].
    """
    slots = np.empty(_BLOCK, np.int64)
    for first in range(0, len(rows), _BLOCK):
        size = min(_BLOCK, len(rows) - first)
        for j in range(rows.shape[1]):
            table, missing = tables[j], edges[j] + 1
            for i in range(size):
                x = rows[first + i, j]
                slot = _search(table, x)
                slots[i] = slot if x == x else missing  # noqa: PLR0124  # as above
            for i in range(size):
                counts[j, slots[i]] += 1
