"""Speed of ``detectors.sketches`` and of the engine's fold: 100 bins, lognormal values, one core."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from detectors.reference.bins import equal_mass_edges
from detectors.sketches import Bins, Distinct, HeavyHitters, Histogram, LogHistogram
from detectors.sketches.binning import bin_values, count_rows, count_values
from loadtest.detectors_bench.case import Case
from streams.engine.kernels.fold import fold

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ROWS = 50_000
FEATURES = 20
REPEATS = 5
"""Best of so many: the least disturbed by whatever else the machine does."""
BINNING_TARGET = 100e6
"""5 million rows/s x 20 features."""


@cache
def _bins() -> Bins:
    """100 bins of a lognormal feature."""
    return Bins(equal_mass_edges(np.random.default_rng(0).lognormal(size=50_000)))


@cache
def _matrix() -> NDArray[np.float64]:
    """Rows of lognormal features, float64[ROWS, FEATURES], C order."""
    return np.random.default_rng(1).lognormal(size=(ROWS, FEATURES))


def _rate(work: Callable[[], object], units: int) -> float:
    """Units per CPU-second: the best of several calls after one that compiles."""
    work()
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return units / best


def _columns() -> list[NDArray[np.float64]]:
    return [np.ascontiguousarray(column) for column in _matrix().T]


def bin_columns() -> float:
    """Slots of columns, one after the other."""
    bins, columns, slots = _bins(), _columns(), np.empty(ROWS, np.int64)

    def work() -> None:
        for column in columns:
            bin_values(bins.table, len(bins.edges), column, slots)

    return _rate(work, ROWS * FEATURES)


def count_columns() -> float:
    """Counts of columns, one after the other."""
    bins, columns, counts = _bins(), _columns(), np.zeros(_bins().width, np.int64)

    def work() -> None:
        for column in columns:
            count_values(bins.table, len(bins.edges), column, counts)

    return _rate(work, ROWS * FEATURES)


def count_matrix() -> float:
    """Counts of the rows of a matrix."""
    bins, matrix = _bins(), _matrix()
    tables, edges = np.stack([bins.table] * FEATURES), np.full(FEATURES, len(bins.edges))
    counts = np.zeros((FEATURES, bins.width), np.int64)
    return _rate(lambda: count_rows(tables, edges, matrix, counts), ROWS * FEATURES)


def fold_rows() -> float:
    """The engine's fold: rows of a decoded batch into one pane."""
    bins, matrix = _bins(), _matrix()
    size, width = len(bins.edges), bins.width + 1
    subjects = np.arange(FEATURES)
    arena = np.zeros(3 + FEATURES * width, np.int64)
    none = np.zeros(FEATURES, np.int64)
    edges = np.tile(bins.edges, FEATURES)
    rows, begin, offset = np.arange(ROWS), np.zeros(ROWS, np.int64), np.arange(ROWS)
    counted = np.full(FEATURES, len(bins))
    sizes = np.full(FEATURES, size)

    def work() -> None:
        fold(
            matrix, rows, begin, offset, arena, subjects, none, 3 + subjects * width, counted, subjects * size, sizes,
            edges, none,
        )  # fmt: skip

    return _rate(work, ROWS * FEATURES)


def histogram() -> float:
    """A histogram's update: slots, counts and moments."""
    sketch, values = Histogram(_bins()), _matrix().ravel()
    return _rate(lambda: sketch.update(values), ROWS * FEATURES)


def log_histogram() -> float:
    """A log histogram's update."""
    sketch, values = LogHistogram(), _matrix().ravel()
    return _rate(lambda: sketch.update(values), ROWS * FEATURES)


def _hashes() -> NDArray[np.uint64]:
    return np.random.default_rng(2).integers(0, 2**64, ROWS * FEATURES, np.uint64)


def distinct() -> float:
    """A distinct count's update with hashes."""
    sketch, hashes = Distinct(), _hashes()
    return _rate(lambda: sketch.update(hashes), ROWS * FEATURES)


def heavy_hitters() -> float:
    """A heavy hitter's update with hashes, its sample being full."""
    sketch, hashes = HeavyHitters(), _hashes()
    rows = np.arange(ROWS * FEATURES)
    return _rate(lambda: sketch.update(hashes, rows=rows), ROWS * FEATURES)


def merge_histograms() -> float:
    """Merges of two histograms of 100 bins."""
    one, other, merges = Histogram(_bins()), Histogram(_bins()), 2_000
    one.update(_matrix()[:, 0])
    other.update(_matrix()[:, 1])

    def work() -> None:
        for _ in range(merges):
            one.merge(other)

    return _rate(work, merges)


CASES: list[Case] = [
    Case("sketches: bin columns", "values", BINNING_TARGET, bin_columns),
    Case("sketches: bin and count columns", "values", BINNING_TARGET, count_columns),
    Case("sketches: bin and count rows", "values", BINNING_TARGET, count_matrix),
    Case("sketches: fold of the engine", "values", None, fold_rows),
    Case("sketches: histogram", "values", None, histogram),
    Case("sketches: log histogram", "values", None, log_histogram),
    Case("sketches: distinct", "values", None, distinct),
    Case("sketches: heavy hitters", "values", None, heavy_hitters),
    Case("sketches: merge of histograms", "merges", None, merge_histograms),
]
"""What ``python -m loadtest detectors`` runs."""
