"""Speed of ``detectors.sequential`` on error bits of rate 0.2, one core: many at once, and one call after another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.sequential import Adwin, Ddm, EDetector, River
from loadtest.detectors_bench.case import Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.sequential import PaneDetector, SequentialDetector

VALUES: Final = 1_000_000
"""Values, or panes, of a case that runs compiled: ADWIN's window is then as long as it gets in practice."""
CALLS: Final = 20_000
"""Calls of a case that is called from Python."""
PANE: Final = 100
"""Values in a pane."""
RATE: Final = 0.2
ADWIN_VALUES: Final = 3e6
ADWIN_PANES: Final = 300e3


def _rate(work: Callable[[], object], warm: Callable[[], object], units: int) -> float:
    """Units per CPU-second of `work`, after `warm` has compiled it."""
    warm()
    start = time.process_time()
    work()
    return units / (time.process_time() - start)


def _values(n: int) -> list[float]:
    return [float(bit) for bit in np.random.default_rng(1).random(n) < RATE]


def each(make: Callable[[], SequentialDetector], n: int = VALUES) -> float:
    """Values per second, in one call."""
    detector, values = make(), np.array(_values(n))
    return _rate(lambda: detector.update_each(values), lambda: make().update_each(values[:100]), n)


def one_by_one(make: Callable[[], SequentialDetector]) -> float:
    """Values per second, in one call each."""
    detector, values = make(), _values(CALLS)

    def work() -> None:
        for x in values:
            detector.update(x)

    return _rate(work, lambda: make().update(values[0]), CALLS)


def panes(make: Callable[[], PaneDetector]) -> float:
    """Panes per second, in one call."""
    detector = make()
    n = np.full(VALUES, PANE)
    k = np.random.default_rng(2).binomial(PANE, RATE, VALUES)
    return _rate(lambda: detector.update_panes(n, k, k), lambda: make().update_panes(n[:10], k[:10], k[:10]), VALUES)


def panes_one_by_one(make: Callable[[], PaneDetector]) -> float:
    """Panes per second, in one call each."""
    detector = make()
    counts = np.random.default_rng(2).binomial(PANE, RATE, CALLS).tolist()

    def work() -> None:
        for k in counts:
            detector.update_many(PANE, k, k)

    return _rate(work, lambda: make().update_many(PANE, 20, 20), CALLS)


def restarts(make: Callable[[], SequentialDetector]) -> float:
    """States written and read again, per second, after 100,000 values."""
    detector, times = make(), 500
    detector.update_each(_values(100_000))

    def work() -> None:
        for _ in range(times):
            type(detector).from_state(detector.to_state())

    return _rate(work, detector.to_state, times)


def _e_detector() -> EDetector:
    return EDetector(RATE)


def _river() -> River:
    return River("PageHinkley")


CASES: list[Case] = [
    Case("sequential: ADWIN, values at once", "values", ADWIN_VALUES, lambda: each(Adwin)),
    Case("sequential: ADWIN, panes at once", "panes", ADWIN_PANES, lambda: panes(Adwin)),
    Case("sequential: ADWIN, value by value", "values", None, lambda: one_by_one(Adwin)),
    Case("sequential: ADWIN, pane by pane", "panes", None, lambda: panes_one_by_one(Adwin)),
    Case("sequential: ADWIN, state written and read", "states", None, lambda: restarts(Adwin)),
    Case("sequential: e-detector, values at once", "values", None, lambda: each(_e_detector)),
    Case("sequential: e-detector, panes at once", "panes", None, lambda: panes(_e_detector)),
    Case("sequential: e-detector, value by value", "values", None, lambda: one_by_one(_e_detector)),
    Case("sequential: e-detector, pane by pane", "panes", None, lambda: panes_one_by_one(_e_detector)),
    Case("sequential: e-detector, state written and read", "states", None, lambda: restarts(_e_detector)),
    Case("sequential: DDM, values at once", "values", None, lambda: each(Ddm)),
    Case("sequential: DDM, value by value", "values", None, lambda: one_by_one(Ddm)),
    Case("sequential: river PageHinkley, values at once", "values", None, lambda: each(_river, CALLS)),
]
"""What ``python -m loadtest detectors`` runs."""
