"""DDM: the drift detection method on a stream of error bits.

Idea: while nothing changes the error rate p only falls as the model learns; remember where p + s was lowest
(s = sqrt(p (1 - p) / i)) and alarm when p + s exceeds that p plus three of its s, warn at two.

With MOA's start: p = 1 and n = 1 before the first element, the minimum is tracked from element 29 on, alarms are
possible from element 30 on, and the element after an alarm starts anew.

Guarantee: none; 0.43 false alarms per 100,000 at an error rate of 0.2, and 0.2 -> 0.3 is seen after 2,265 labels on average, or not
within 20,000 in 6.5 % of the streams (`python -m loadtest quality`). Use ADWIN or the e-detector where there is a choice.

Cost: seven numbers; 22 ns a value in `update_each`, 0.4 us in `update` (`python -m loadtest detectors`). There is no merge
and there are no panes: the rule depends on the order of single errors.

State: format 2; format 1, without a direction, is read too.

References: Gama, Medas, Castillo & Rodrigues, Learning with Drift Detection, SBIA 2004; MOA 2021.07, class DDM.

>>> detector = Ddm()
>>> errors = [i % 10 == 0 for i in range(500)] + [i % 2 == 0 for i in range(500)]
>>> next(i for i, error in enumerate(errors) if detector.update(error))
534
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray  # noqa: TC002  # numba reads the annotations' names when it compiles

from detectors.compiled import compiled
from detectors.sequential.state import count, flag, items, number, reading, sign
from detectors.sequential.values import as_values

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 2
"""Version of the state that `Ddm.to_state` writes."""
_LEAST = 30
"""MOA's minNumInstances; its counter starts at 1, so the minimum is tracked from element 29 on."""
_WARNING, _ALARM = 2.0, 3.0
"""Standard deviations above the minimum (Gama et al. 2004)."""
_COUNT, _MEAN, _LEAST_P, _LEAST_S, _OVER, _WARNS, _DIRECTION = range(7)
"""Entries of the state of the compiled loop; the count is one more than the number of elements, as MOA's."""


class Ddm:
    """The detector. `mean` is the error rate since the start or the latest alarm, `warning` whether it looks high."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        """Start before the first element."""
        self._state = np.zeros(7)
        _reset(self._state)

    @property
    def n(self) -> int:
        """Number of elements since the start, or since the latest alarm when it is not the latest element."""
        return int(self._state[_COUNT]) - 1

    @property
    def mean(self) -> float:
        """Error rate of these elements; 0.0 while there are none."""
        return float(self._state[_MEAN]) if self.n else 0.0

    @property
    def warning(self) -> bool:
        """Whether the error rate is high, but not high enough for an alarm."""
        return bool(self._state[_WARNS])

    @property
    def direction(self) -> int:
        """+1 from the first alarm on: an alarm is always a rise; 0 before."""
        return int(self._state[_DIRECTION])

    def update(self, error: bool | float) -> bool:  # noqa: FBT001  # the one value that a detector of errors takes
        """Add one outcome, 1 for an error and 0 for a right answer; return whether the error rate has risen.

        Raises:
            ValueError: the value does not lie between 0 and 1.
        """
        if not 0 <= error <= 1:
            message = f"DDM takes errors between 0 and 1, got {error}"
            raise ValueError(message)
        return bool(_add(self._state, float(error)))

    def update_each(self, errors: ArrayLike) -> NDArray[np.bool_]:
        """Add outcomes one by one in one compiled loop; return for each what `update` would.

        Raises:
            ValueError: not one dimension, or a value that does not lie between 0 and 1; none was added.
        """
        return _add_each(self._state, as_values(errors, 0, 1))

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next, as numbers; `from_state` is its inverse.

        Keys: `format`, `count` (one more than elements), `mean`, `least` [p, s] or null while there is none, `over` (the
        latest element was an alarm), `warning`, `direction`.
        """
        least = self._state[_LEAST_P : _LEAST_S + 1]
        return {
            "format": FORMAT,
            "count": int(self._state[_COUNT]),
            "mean": float(self._state[_MEAN]),
            "least": least.tolist() if math.isfinite(least[0]) else None,  # JSON has no infinity
            "over": bool(self._state[_OVER]),
            "warning": self.warning,
            "direction": self.direction,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Ddm:
        """Return the detector whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of a DDM.
        """
        detector = cls()
        with reading("a DDM", state, FORMAT):
            least_p, least_s = (
                (math.inf, math.inf) if state["least"] is None else (number(v, 0) for v in items(state["least"], 2))
            )
            detector._state[:] = (
                count(state["count"], 1),
                number(state["mean"]),
                least_p,
                least_s,
                flag(state["over"]),
                flag(state["warning"]),
                sign(state["direction"]) if state["format"] > 1 else 0,
            )
        return detector


@compiled
def _reset(state: NDArray[np.float64]) -> None:
    state[_COUNT], state[_MEAN] = 1, 1
    state[_LEAST_P], state[_LEAST_S] = math.inf, math.inf
    state[_OVER], state[_WARNS] = 0, 0


@compiled
def _add(state: NDArray[np.float64], error: float) -> bool:
    if state[_OVER]:
        _reset(state)
    state[_MEAN] += (error - state[_MEAN]) / state[_COUNT]
    # A mean that rounding carried past 0 or 1 must not reach the square root.
    s = math.sqrt(max(0.0, state[_MEAN] * (1 - state[_MEAN])) / state[_COUNT])
    state[_COUNT] += 1
    state[_WARNS] = 0
    if state[_COUNT] < _LEAST:
        return False
    high = state[_MEAN] + s
    if high <= state[_LEAST_P] + state[_LEAST_S]:
        state[_LEAST_P], state[_LEAST_S] = state[_MEAN], s
    over = state[_COUNT] > _LEAST and high > state[_LEAST_P] + _ALARM * state[_LEAST_S]
    state[_OVER] = over
    state[_WARNS] = not over and high > state[_LEAST_P] + _WARNING * state[_LEAST_S]
    if over:
        state[_DIRECTION] = 1
    return bool(over)


@compiled
def _add_each(state: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
    alarms = np.zeros(len(errors), np.bool_)
    for i in range(len(errors)):
        alarms[i] = _add(state, errors[i])
    return alarms
