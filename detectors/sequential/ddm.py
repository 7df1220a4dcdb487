"""DDM: the drift detection method on a stream of error bits.

Idea: while nothing changes the error rate p only falls as the model learns; remember where p + s was lowest
(s = sqrt(p (1 - p) / i)) and alarm when p + s exceeds that p plus three of its s, warn at two.

With MOA's start: p = 1 and n = 1 before the first element, the minimum is tracked from element 29 on, alarms are
possible from element 30 on, and the element after an alarm starts anew.

Guarantee: none; about 0.7 false alarms per 100,000 at an error rate of 0.2, and slow or small changes are missed
(STATISTICS section 3). Use ADWIN or the e-detector where there is a choice. Cost: constant time and five numbers.
There is no merge: the rule depends on the order of single errors.

References: Gama, Medas, Castillo & Rodrigues, Learning with Drift Detection, SBIA 2004; MOA 2021.07, class DDM.

>>> detector = Ddm()
>>> errors = [i % 10 == 0 for i in range(500)] + [i % 2 == 0 for i in range(500)]
>>> next(i for i, error in enumerate(errors) if detector.update(error))
534
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from schemas.errors import StateCorrupt, StateNewer

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""Version of the state that `Ddm.to_state` writes."""
_LEAST = 30
"""MOA's minNumInstances; its counter starts at 1, so the minimum is tracked from element 29 on."""
_WARNING, _ALARM = 2.0, 3.0
"""Standard deviations above the minimum (Gama et al. 2004)."""


class Ddm:
    """The detector. `mean` is the error rate since the start or the latest alarm, `warning` whether it looks high."""

    __slots__ = ("_count", "_least_p", "_least_s", "_over", "mean", "warning")

    def __init__(self) -> None:
        """Start before the first element."""
        self._reset()

    def _reset(self) -> None:
        self._count = 1
        self.mean = 1.0
        self._least_p = math.inf
        self._least_s = math.inf
        self.warning = False
        self._over = False

    def update(self, error: bool | float) -> bool:  # noqa: FBT001  # the one value that a detector of errors takes
        """Add one outcome, 1 for an error and 0 for a right answer; return whether the error rate has risen.

        Raises:
            ValueError: the value does not lie between 0 and 1.
        """
        if not 0 <= error <= 1:
            message = f"DDM takes errors between 0 and 1, got {error}"
            raise ValueError(message)
        if self._over:
            self._reset()
        self.mean += (error - self.mean) / self._count
        # A mean that rounding carried past 0 or 1 must not reach the square root.
        s = math.sqrt(max(0.0, self.mean * (1 - self.mean)) / self._count)
        self._count += 1
        self.warning = False
        if self._count < _LEAST:
            return False
        if self.mean + s <= self._least_p + self._least_s:
            self._least_p, self._least_s = self.mean, s
        self._over = self._count > _LEAST and self.mean + s > self._least_p + _ALARM * self._least_s
        self.warning = not self._over and self.mean + s > self._least_p + _WARNING * self._least_s
        return self._over

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next, as numbers; `from_state` is its inverse."""
        known = math.isfinite(self._least_p)
        least = [self._least_p, self._least_s] if known else None  # JSON has no infinity
        return {
            "format": FORMAT,
            "count": self._count,
            "mean": self.mean,
            "least": least,
            "over": self._over,
            "warning": self.warning,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Ddm:
        """Return the detector whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of a DDM.
        """
        version = state.get("format")
        if isinstance(version, int) and version > FORMAT:
            what = f"the state of a DDM has format {version}, this driftline reads up to {FORMAT}"
            raise StateNewer(what, "run the driftline version that wrote it, or a later one")
        detector = cls()
        try:
            detector._count, detector.mean = int(state["count"]), float(state["mean"])
            detector._least_p, detector._least_s = state["least"] or (math.inf, math.inf)
            detector._over, detector.warning = bool(state["over"]), bool(state["warning"])
        except (KeyError, TypeError, ValueError) as error:
            what = f"the state of a DDM cannot be read ({type(error).__name__}: {error})"
            raise StateCorrupt(what, "restore it from a backup, or reset the detector on purpose") from error
        return detector
