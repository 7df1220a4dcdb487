"""Speed of ``detectors.drift``: windows of 200 features x 10 segments, the statistics of two count vectors, rows scored."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from detectors import drift
from detectors.drift import Cells
from detectors.drift.anderson import null_law
from detectors.drift.monte_carlo import _law
from detectors.drift.multivariate import Reconstruction
from detectors.drift.views import view
from detectors.reference import Reference, Subject
from loadtest.detectors_bench.case import Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FEATURES, SEGMENTS, ROWS = 200, 10, 1_000
REFERENCE_ROWS = 20_000
WINDOWS_TARGET = 20.0
"""Windows per second: 200 features x 10 segments in 50 ms."""
REPEATS = 5
"""Best of so many: the least disturbed by whatever else the machine does."""
_ZEROS = 0.9
_VECTORS = {
    "psi": drift.psi,
    "jensen_shannon": drift.jensen_shannon,
    "hellinger": drift.hellinger,
    "ks": drift.ks,
    "wasserstein": drift.wasserstein,
    "chi2": drift.chi2,
    "g_test": drift.g_test,
    "anderson_darling": drift.anderson_darling,
}


@cache
def _subjects() -> tuple[Subject, ...]:
    """Features of six kinds, 104 slots each where they are continuous, under 200 names."""
    rng = np.random.default_rng(0)
    classes = 1 / np.arange(1, 201)
    kinds = Reference.build(
        {
            "normal": rng.normal(size=REFERENCE_ROWS),
            "lognormal": rng.lognormal(size=REFERENCE_ROWS),
            "counts": rng.poisson(3, REFERENCE_ROWS),
            "zero-inflated": np.where(rng.random(REFERENCE_ROWS) < _ZEROS, 0.0, rng.exponential(size=REFERENCE_ROWS)),
            "five classes": rng.choice(list("abcde"), REFERENCE_ROWS),
            "200 classes": rng.choice(200, REFERENCE_ROWS, p=classes / classes.sum()).astype(str),
        }
    ).features
    return tuple(replace(kinds[i % len(kinds)], name=f"feature {i}") for i in range(FEATURES))


@cache
def _window(rows: int) -> NDArray[np.int64]:
    """One window: the slot vectors of all features, one after the other, int64[SEGMENTS, slots]; sizes differ a little."""
    rng = np.random.default_rng(rows)
    sizes = rows + rng.integers(-rows // 20, rows // 20, SEGMENTS)
    parts = [np.array([rng.multinomial(n, s.counts / s.counts.sum()) for n in sizes], np.int64) for s in _subjects()]
    return np.concatenate(parts, axis=1)


def _rate(work: Callable[[], object], units: float, repeats: int = REPEATS) -> float:
    """Units per CPU-second: the best of several calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return units / best


def _windows(rows: int, *, results: bool) -> Callable[[], float]:
    """Test a window again and again; with `results`, make every cell's result as well."""

    def run() -> float:
        cells, window = Cells(_subjects()), _window(rows)

        def work() -> None:
            found = cells.test(window)
            if results:
                for i in range(len(found)):
                    found[i]

        work()
        return _rate(work, 1)

    return run


def cold_windows() -> float:
    """Prepare all features and test the first window: groups, eigenvalues and all; the code is compiled."""
    Cells(_subjects()).test(_window(ROWS))

    def work() -> None:
        view.cache_clear()
        null_law.cache_clear()
        Cells(_subjects()).test(_window(ROWS))

    return _rate(work, 1)


def simulated_cells() -> float:
    """Test cells of some 150 rows whose laws are not known yet: what a window of a new size costs."""
    few = _subjects()[:6]
    cells = Cells(few)
    window = _window(150)[:, : cells.width]

    def work() -> None:
        _law.cache_clear()
        cells.test(window)

    return _rate(work, len(few) * SEGMENTS, 2)


def months() -> float:
    """Windows of one feature, each against the rest of a reference that holds it, as a calibration replays them."""
    subject = _subjects()[0]
    rng = np.random.default_rng(3)
    windows = rng.multinomial(ROWS, subject.counts / subject.counts.sum(), 4_032)
    baselines = windows.reshape(-1, 24, subject.width).sum(axis=0)
    hours = np.arange(len(windows)) % 24
    Cells([subject], [baselines]).statistics(windows[:100], hours[:100], own=True)
    return _rate(lambda: Cells([subject], [baselines]).statistics(windows, hours, own=True), len(windows))


def _vectors(statistic: Callable[..., drift.DriftResult]) -> Callable[[], float]:
    """Compare two vectors of 20 bins."""

    def run() -> float:
        rng = np.random.default_rng(4)
        reference, current = rng.multinomial(50_000, np.full(20, 0.05)), rng.multinomial(ROWS, np.full(20, 0.05))
        calls = 10 if statistic is drift.wasserstein else 500
        statistic(reference, current)
        return _rate(lambda: [statistic(reference, current) for _ in range(calls)], calls)

    return run


def _scores(columns: int) -> Callable[[], float]:
    """Score rows of numeric columns."""

    def run() -> float:
        values = np.random.default_rng(5).normal(size=(5_000, columns))
        table = {f"x{i}": values[:, i] for i in range(columns)}
        model = Reconstruction.fit(table)
        model.scores(table)
        return _rate(lambda: model.scores(table), len(values))

    return run


CASES: list[Case] = [
    Case("drift: 200 features x 10 segments", "windows", WINDOWS_TARGET, _windows(ROWS, results=False)),
    Case("drift: ... with every cell's result", "windows", WINDOWS_TARGET, _windows(ROWS, results=True)),
    Case("drift: ... of 150 rows, laws known", "windows", None, _windows(150, results=False)),
    Case("drift: cells of 150 rows, laws simulated", "cells", None, simulated_cells),
    Case("drift: ... the first one", "windows", None, cold_windows),
    Case("drift: replay of one feature", "windows", None, months),
    *(Case(f"drift: {name}", "comparisons", None, _vectors(function)) for name, function in _VECTORS.items()),
    Case("drift: reconstruction, 20 columns", "rows", None, _scores(20)),
    Case("drift: reconstruction, 200 columns", "rows", None, _scores(200)),
]
"""What ``python -m loadtest detectors`` runs."""
