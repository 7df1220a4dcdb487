"""Counting outcomes, and turning an outcome vector into metrics, as fast as one core does it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance import compare, count_outcomes, layout, metrics
from detectors.performance.delays import DELAY_BINS, count_delays
from loadtest.detectors_bench.case import Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_OUTCOMES: Final = 200_000
"""Outcomes of one pass: some milliseconds, well above the clock's resolution."""
_VECTORS: Final = 64
"""Vectors that they go to, as panes and streams do: together they fit the second-level cache, as in a worker."""
_PASSES: Final = 300
"""Evaluations of one pass."""
_TASKS: Final = {"binary": 2, "multiclass": 5, "regression": 0}


def _arena(task: str) -> tuple[NDArray[np.int64], Callable[[], None]]:
    """Return empty vectors, and what counts the outcomes into them."""
    rng = np.random.default_rng(11)
    classes = _TASKS[task]
    width = layout.width(task, classes)
    arena = np.zeros(_VECTORS * width, np.int64)
    begin = rng.integers(0, _VECTORS, _OUTCOMES) * width
    predicted, actual = rng.integers(0, max(classes, 1), (2, _OUTCOMES))
    answer, truth = rng.random((2, _OUTCOMES))
    scored = task == "binary"
    return arena, lambda: count_outcomes(arena, begin, classes, scored, predicted, actual, answer, truth)


def _rate(work: Callable[[], object], units: int) -> float:
    """Return units per CPU-second of the second call; the first loads what is compiled."""
    work()
    before = time.process_time()
    work()
    return units / (time.process_time() - before)


def _count(task: str) -> float:
    return _rate(_arena(task)[1], _OUTCOMES)


def _count_delays() -> float:
    rng = np.random.default_rng(12)
    arena = np.zeros(_VECTORS * DELAY_BINS, np.int64)
    begin = rng.integers(0, _VECTORS, _OUTCOMES) * DELAY_BINS
    delay = np.exp(rng.uniform(0, 22, _OUTCOMES)).astype(np.int64)  # from milliseconds to weeks
    return _rate(lambda: count_delays(arena, begin, delay), _OUTCOMES)


def _evaluate(task: str, *, against: bool) -> float:
    arena, fill = _arena(task)
    fill()
    names = [str(k) for k in range(_TASKS[task])]
    one, other = arena.reshape(_VECTORS, -1)[:2]

    def work() -> None:
        for _ in range(_PASSES):
            if against:
                compare(one, other, task, names)
            else:
                metrics(one, task, names)

    return _rate(work, _PASSES)


CASES: Final = [
    *(Case(f"performance: count, {task}", "outcomes", None, partial(_count, task)) for task in _TASKS),
    Case("performance: count, delays", "labels", None, _count_delays),
    *(
        Case(f"performance: all metrics, {task}", "vectors", None, partial(_evaluate, task, against=False))
        for task in _TASKS
    ),
    *(
        Case(f"performance: compare all metrics, {task}", "windows", None, partial(_evaluate, task, against=True))
        for task in _TASKS
    ),
]
"""What `python -m loadtest detectors` runs."""
