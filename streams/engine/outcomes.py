"""Where labelled outcomes lie in the vectors of the join, and how they are read.

A *block* counts labelled predictions: the detectors' outcome vector (`detectors.performance.layout`), then the histogram of
their labels' delays (`detectors.performance.delays`). All of it is integers that add up.

- by arrival of the label (``store.ARRIVALS``): ``HEADER | block``
- by time of the prediction (``store.PERFORMANCE``): ``HEADER | remembered | block | block``. `remembered` is the number of the
  window's predictions that wait for a label, or had one; the first block counts those whose label's time lies before the
  window's maturity, the second the rest up to the horizon.

Labels that count are of remembered predictions, so labels / remembered is the *coverage*, at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detectors.performance import layout
from detectors.performance.delays import DELAY_BINS, QUANTILES, delay_quantile
from schemas.errors import StateMismatch
from streams.engine.shape import HEADER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streams.engine.plan import Model

REMEMBERED = HEADER
"""Index of the number of predictions that wait for a label, in a vector by time of the prediction."""
FIRST_BLOCK = HEADER + 1
"""Where the block up to maturity begins in it; the other follows."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One block: ``counts`` is the detectors' outcome vector, ``delays`` the histogram of `delays.DELAY_BINS` counters."""

    counts: NDArray[np.int64]
    delays: NDArray[np.int64]

    @property
    def labels(self) -> int:
        """How many labelled predictions it counts."""
        return int(self.counts[layout.N])

    def delay_quantiles(self) -> tuple[int | None, int | None, int | None]:
        """The delays in ms that half, nine in ten and 99 in 100 of the labels do not exceed; None without labels."""
        p50, p90, p99 = (delay_quantile(self.delays, q) for q in QUANTILES)
        return p50, p90, p99


def block_width(outcome_width: int) -> int:
    """The length of a block whose outcome vector has this length; 0 for what has no outcomes (a feature set)."""
    return outcome_width + DELAY_BINS if outcome_width else 0


def arrival(model: Model, vector: NDArray[np.int64]) -> Outcomes:
    """The labels that arrived in a pane. Raises StateMismatch when the vector was laid out otherwise."""
    _refuse_other_width(model, vector, model.arrival_width, "pane of labels")
    return _block(model, vector[HEADER:])


def remembered(model: Model, vector: NDArray[np.int64]) -> int:
    """How many predictions of a window wait for a label, or had one. Raises StateMismatch as `mature`."""
    _refuse_other_width(model, vector, model.performance_width, "window")
    return int(vector[REMEMBERED])


def mature(model: Model, vector: NDArray[np.int64]) -> Outcomes:
    """A window's outcomes up to maturity (revision 1). Raises StateMismatch when the vector was laid out otherwise."""
    _refuse_other_width(model, vector, model.performance_width, "window")
    return _block(model, vector[FIRST_BLOCK : FIRST_BLOCK + model.block_width])


def final(model: Model, vector: NDArray[np.int64]) -> Outcomes:
    """A window's outcomes up to the horizon (revision 2): both blocks. Raises StateMismatch as `mature`."""
    _refuse_other_width(model, vector, model.performance_width, "window")
    early = vector[FIRST_BLOCK : FIRST_BLOCK + model.block_width]
    return _block(model, early + vector[FIRST_BLOCK + model.block_width :])


def _block(model: Model, block: NDArray[np.int64]) -> Outcomes:
    return Outcomes(block[: model.outcome_width], block[model.outcome_width :])


def _refuse_other_width(model: Model, vector: NDArray[np.int64], width: int, what: str) -> None:
    if len(vector) != width:
        found = f"a stored {what} of {model.name!r} has {len(vector)} counters, this driftline needs {width}"
        raise StateMismatch(found, "run the driftline that wrote it, or monitor under a new model name or group")
