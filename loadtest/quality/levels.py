"""How often the tests of a cell reject without drift, as a multiple of the level: 1 is right, more is too often.

Windows are drawn from the exact shares of the bins, against a reference without sampling error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detectors.drift import Cells, combine
from detectors.drift.cells import ANDERSON, CHI2
from detectors.reference import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = (0.1, 0.01, 0.001, 0.0001)
"""Down to the level of one of 20 features in an hourly window, at one false alarm a month."""
SIZES = (50, 200, 1000, 5000, 50_000)
WINDOWS = 200_000
"""At a level of 1e-4 some 20 windows reject: the multiple is known within 0.45."""
_BLOCK = 20_000
_REFERENCE = 10**9


@dataclass(frozen=True, slots=True)
class Size:
    """Rejections without drift over `level * windows`: of the cell, and of its tests (None where one does not apply)."""

    shape: str
    n: int
    level: float
    simulated: bool
    anderson: float | None
    chi2: float | None
    cell: float


def measure(seed: int = 1, scale: float = 1.0) -> list[Size]:
    """Measure all shapes, sizes and levels; `scale` is the part of the full number of windows."""
    rng = np.random.default_rng(seed)
    blocks = max(1, round(WINDOWS * scale / _BLOCK))
    found = []
    for shape, subject in _shapes().items():
        shares = subject.counts / subject.counts.sum()
        cells = Cells([subject])
        for n in SIZES:
            # Up to 200 rows p-values can come from simulation or from the asymptotic laws: both are measured.
            for draws in (5000, 0) if n <= 200 else (0,):  # noqa: PLR2004  # in the line above
                found += _sizes(shape, n, cells, rng, shares, blocks, draws)
    return found


def _sizes(  # one combination
    shape: str, n: int, cells: Cells, rng: np.random.Generator, shares: NDArray[np.float64], blocks: int, draws: int
) -> list[Size]:
    counts = np.zeros((3, len(LEVELS)))
    applies = [False, False]
    for _ in range(blocks):
        tests = cells.statistics(rng.multinomial(n, shares, _BLOCK), monte_carlo=draws)
        judged, _ = combine(tests)
        for row, p in enumerate((tests.p_value[ANDERSON], tests.p_value[CHI2], judged)):
            counts[row] += [int((p <= level).sum()) for level in LEVELS]
        applies = [a or not np.isnan(tests.p_value[t]).all() for t, a in zip((ANDERSON, CHI2), applies, strict=True)]
    rates = counts / (blocks * _BLOCK * np.array(LEVELS))
    return [
        Size(
            shape,
            n,
            level,
            draws > 0,
            float(rates[0, i]) if applies[0] else None,
            float(rates[1, i]) if applies[1] else None,
            float(rates[2, i]),
        )
        for i, level in enumerate(LEVELS)
    ]


def _shapes() -> dict[str, Subject]:
    poisson = np.array([0.0498, 0.1494, 0.224, 0.224, 0.168, 0.1008, 0.0504, 0.0216, 0.0081, 0.0027, 0.0012])
    classes = 1 / np.arange(1, 201)
    return {
        "continuous": _numeric(np.full(100, 0.01)),
        "counts": _numeric(poisson),
        "zero-inflated": _numeric(np.array([0.9, *np.full(10, 0.01)])),
        "five classes": _categories(np.array([0.5, 0.3, 0.15, 0.04, 0.01])),
        "200 classes": _categories(classes),
    }


def _counts(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.rint(shares / shares.sum() * _REFERENCE).astype(np.int64)
    return counts


def _numeric(shares: NDArray[np.float64]) -> Subject:
    counts = np.concatenate(([0], _counts(shares), [0, 0, 0]))
    return Subject("x", "numeric", np.arange(len(shares) + 1.0), (), (), counts)


def _categories(shares: NDArray[np.float64]) -> Subject:
    counts = np.concatenate((_counts(shares), [0, 0, 0, 0]))
    return Subject("x", "categorical", np.zeros(0), tuple(str(i) for i in range(len(shares))), (), counts)
