"""The engine's fold counts like the oracle, one value after the other, and like `bin_values`, whose search it repeats."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.sketches.binning import bin_values, search_table
from streams.engine.kernels.fold import fold
from tests.oracle.sketches import slot

FEATURES = [
    np.array([0.0, 5e-324, 1.0]),
    np.linspace(-2, 2, 101),
    np.linspace(-2, 2, 255),
    np.linspace(-2, 2, 256),
    np.linspace(-2, 2, 700),
]
CODES = np.array([2, 0, 1, 1])
"""The slot of each category's code, for a feature of two categories, others and unseen."""


def drawn(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Numbers, edges, missing values, wrong types (-inf), infinities; codes in the last column."""
    matrix = rng.normal(size=(rows, len(FEATURES) + 1))
    for j, edges in enumerate(FEATURES):
        exact = rng.random(rows) < 0.3
        matrix[exact, j] = rng.choice(edges, exact.sum())
    matrix[:, -1] = rng.integers(-1, 6, rows)
    for special in (math.nan, math.inf, -math.inf):
        matrix[rng.random(matrix.shape) < 0.05] = special
    matrix[matrix[:, -1] == math.inf, -1] = 0  # a code is a whole number
    return matrix


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 255, 256, 257, 259, 260, 1_000])
def test_rows_of_several_panes_are_counted_where_the_oracle_counts_them(rows: int) -> None:
    rng = np.random.default_rng(rows)
    matrix = drawn(rng, 2 * rows)
    chosen = np.sort(rng.choice(2 * rows, rows, replace=False)) if rows else np.zeros(0, np.int64)
    widths = [len(edges) + 3 for edges in FEATURES] + [6]
    base = 3 + np.cumsum([0, *widths[:-1]])
    width = 3 + sum(widths)
    # Two streams a row; some rows have only the first.
    pane = rng.integers(0, 3, (2, rows)) * width
    pane[1, rng.random(rows) < 0.3] = -1
    offset = rng.permutation(rows) + 10
    arena = np.tile(np.concatenate([[0, 2**62, -1], np.zeros(width - 3)]).astype(np.int64), 3)
    expected = arena.copy()

    sizes = [len(edges) for edges in FEATURES]
    fold(
        matrix,
        chosen,
        pane,
        offset,
        arena,
        np.arange(len(widths)),
        np.array([0] * len(FEATURES) + [1]),
        base,
        np.array([n - 1 for n in sizes] + [2]),
        np.array([sum(sizes[:j]) for j in range(len(sizes))] + [0]),
        np.array([*sizes, len(CODES)]),
        np.concatenate(FEATURES),
        CODES,
    )

    pairs = [
        (r, at, order) for d in pane.tolist() for r, at, order in zip(chosen.tolist(), d, offset.tolist(), strict=True)
    ]
    for row, at, order in ((r, at, order) for r, at, order in pairs if at >= 0):
        expected[at] += 1
        expected[at + 1] = min(expected[at + 1], order)
        expected[at + 2] = max(expected[at + 2], order)
        for j, value in enumerate(matrix[row].tolist()):
            if value == -math.inf:
                found = widths[j] - 1
            elif j < len(FEATURES):
                found = slot(FEATURES[j].tolist(), value)
            elif math.isnan(value):
                found = 4
            else:
                found = int(CODES[int(value)]) if 0 <= value < len(CODES) else 3
            expected[at + int(base[j]) + found] += 1
    assert arena.tolist() == expected.tolist()


@pytest.mark.parametrize("edges", FEATURES, ids=len)
def test_its_search_is_that_of_the_sketches(edges: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        values = np.concatenate(
            [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), [0.0, -0.0, math.inf]]
        )
    slots = np.empty(len(values), np.int64)
    bin_values(search_table(edges), len(edges), values, slots)
    arena = np.zeros(3 + len(edges) + 3, np.int64)
    one = np.zeros(1, np.int64)
    everything, nowhere = np.arange(len(values)), np.zeros((1, len(values)), np.int64)
    table = (np.array([3]), np.array([len(edges) - 1]), one, np.array([len(edges)]), edges, one)
    fold(values[:, None], everything, nowhere, everything, arena, one, one, *table)
    assert arena[3:].tolist() == np.bincount(slots, minlength=len(edges) + 3).tolist()
