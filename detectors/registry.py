"""Every detector there is: the one list that the contract tests and the pages follow.

To add a detector, write its file and its page and add a line here (CONTRIBUTING, "Add a detector"). The list is plain
code: nothing is discovered. What a line promises, `tests/contract/test_detectors.py` asks of the code.

>>> [detector.name for detector in TWO_SAMPLE if detector.unordered][:3]
['psi', 'jensen_shannon', 'hellinger']
>>> adwin = next(detector for detector in SEQUENTIAL if detector.name == "adwin").make()
>>> any(adwin.update(0.5) for _ in range(1000))
False
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.drift import anderson_darling, chi2, g_test, hellinger, jensen_shannon, ks, psi, wasserstein
from detectors.sequential import Adwin, Ddm, EDetector, River
from detectors.sketches import Bins, Distinct, HeavyHitters, Histogram, LogHistogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.drift.result import Counts, DriftResult
    from detectors.sequential import SequentialDetector
    from detectors.sketches import Sketch

_HUNDREDTHS: Final = Bins(np.linspace(0.0, 1.0, 101))
"""Bins of the histogram on this list; a real one has those of its reference."""


@dataclass(frozen=True, slots=True)
class Detector:
    """What every entry has: a name, and the module (dotted) whose docstring tells its story."""

    name: str
    module: str

    @property
    def page(self) -> str:
        """Path of its page from the root of the repository."""
        return f"docs/detectors/{self.name}.md"

    @property
    def picture(self) -> str:
        """Path of the picture on its page from the root of the repository."""
        return f"docs/pictures/{self.name}.svg"


@dataclass(frozen=True, slots=True)
class TwoSample(Detector):
    """A statistic of two count vectors.

    `unordered`: bins may be listed in any order (where each expects 10; pooling joins neighbours). `largest`: the
    statistic's upper bound.
    """

    test: Callable[[Counts, Counts], DriftResult]
    unordered: bool
    largest: float = inf


@dataclass(frozen=True, slots=True)
class Sequential(Detector):
    """A detector of change in a stream of values in [0, 1].

    `make` returns a new one, for errors at a rate of 0.2 where it has to know. `false_alarms` is how many it raises at most
    in 100,000 independent errors at that rate, as its page says. `state_bytes` bounds its state as JSON after any stream.
    `panes`: it also takes panes.
    """

    make: Callable[[], SequentialDetector]
    false_alarms: float
    state_bytes: int
    panes: bool


@dataclass(frozen=True, slots=True)
class Summary(Detector):
    """A sketch: `make` returns an empty one, `read` one from its bytes. `rows`: `update` also takes the ids of the rows."""

    make: Callable[[], Any]
    read: Callable[[bytes], Sketch]
    rows: bool = False


TWO_SAMPLE: Final = (
    TwoSample("psi", "detectors.drift.divergence", psi, unordered=True),
    TwoSample("jensen_shannon", "detectors.drift.divergence", jensen_shannon, unordered=True, largest=1.0),
    TwoSample("hellinger", "detectors.drift.divergence", hellinger, unordered=True, largest=1.0),
    TwoSample("ks", "detectors.drift.distance", ks, unordered=False, largest=1.0),
    TwoSample("wasserstein", "detectors.drift.distance", wasserstein, unordered=False),
    TwoSample("anderson_darling", "detectors.drift.anderson", anderson_darling, unordered=False),
    TwoSample("chi2", "detectors.drift.pearson", chi2, unordered=True),
    TwoSample("g_test", "detectors.drift.g_test", g_test, unordered=True),
)
"""Statistics of a window's counts against the reference's."""

SEQUENTIAL: Final = (
    Sequential("adwin", "detectors.sequential.adwin", Adwin, false_alarms=0.1, state_bytes=30_000, panes=True),
    Sequential("ddm", "detectors.sequential.ddm", Ddm, false_alarms=1.0, state_bytes=200, panes=False),
    Sequential(
        "e_detector",
        "detectors.sequential.e_detector",
        partial(EDetector, 0.2, arl=100_000),
        false_alarms=1.0,
        state_bytes=5_000,
        panes=True,
    ),
    # One of river's, on default parameters, stands for all of them.
    Sequential(
        "river",
        "detectors.sequential.river",
        partial(River, "PageHinkley", limit=2_000),
        false_alarms=7.0,
        state_bytes=50_000,
        panes=False,
    ),
)
"""Detectors that look at a stream as it comes."""

SKETCHES: Final = (
    Summary(
        "histogram",
        "detectors.sketches.histogram",
        partial(Histogram, _HUNDREDTHS),
        partial(Histogram.from_bytes, bins=_HUNDREDTHS),
    ),
    Summary("log_histogram", "detectors.sketches.log_histogram", LogHistogram, LogHistogram.from_bytes),
    Summary("distinct", "detectors.sketches.distinct", Distinct, Distinct.from_bytes),
    Summary("heavy_hitters", "detectors.sketches.heavy_hitters", HeavyHitters, HeavyHitters.from_bytes, rows=True),
)
"""Summaries of values that add up exactly."""

OTHERS: Final = (
    Detector("cell", "detectors.drift.cell"),
    Detector("multivariate", "detectors.drift.multivariate"),
    Detector("budget", "detectors.decisions.rule"),
    Detector("quality", "detectors.quality.checks"),
    Detector("freshness", "detectors.quality.freshness"),
    Detector("performance", "detectors.performance.comparison"),
    Detector("calibration", "detectors.performance.calibration"),
    Detector("fairness", "detectors.performance.fairness"),
    Detector("proxies", "detectors.performance.proxies"),
    Detector("worst_segments", "detectors.performance.worst"),
)
"""Detectors with a surface of their own; their tests are in `tests/detectors`."""

DETECTORS: Final[tuple[Detector, ...]] = (*TWO_SAMPLE, *SEQUENTIAL, *SKETCHES, *OTHERS)
"""All of them."""
