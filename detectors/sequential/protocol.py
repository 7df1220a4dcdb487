"""What all sequential detectors have in common, so that code can take any of them.

A detector takes one value after another and says at each whether the mean has changed. `to_state` and `from_state` carry
it over a restart as JSON; the restarted detector answers as the old one would have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray


@runtime_checkable
class SequentialDetector(Protocol):
    """A detector of change in a stream of values."""

    @property
    def n(self) -> int:
        """Number of values since the (estimated) latest change or the restart after it, the latest value included."""
        ...

    @property
    def mean(self) -> float:
        """Mean of these values; 0.0 while there are none."""
        ...

    @property
    def direction(self) -> int:
        """+1 when the mean rose at the latest alarm, -1 when it fell, 0 before the first, or when the method cannot say."""
        ...

    def update(self, x: float, /) -> bool:
        """Add one value; return whether this is an alarm.

        Raises:
            ValueError: the method does not take such a value.
        """
        ...

    def update_each(self, values: ArrayLike, /) -> NDArray[np.bool_]:
        """Add values one by one, in order; return for each what `update` would.

        Raises:
            ValueError: the method does not take one of the values; none was added.
        """
        ...

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next: numbers, texts and lists, ready for JSON."""
        ...

    @classmethod
    def from_state(cls, state: Mapping[str, Any], /) -> Self:
        """Return the detector whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of this detector.
        """
        ...


@runtime_checkable
class PaneDetector(SequentialDetector, Protocol):
    """A detector that also takes panes: many values as one update, in any order, known by their sums alone."""

    def update_many(self, n: int, total: float, total_sq: float, /) -> bool:
        """Add `n` values with sum `total` and sum of squares `total_sq` as one update; n = 0 changes nothing.

        Raises:
            ValueError: there are no values with such sums.
        """
        ...

    def update_panes(self, n: ArrayLike, total: ArrayLike, total_sq: ArrayLike, /) -> NDArray[np.bool_]:
        """Add panes one by one, in order; return for each what `update_many` would.

        Raises:
            ValueError: one of the panes is none; none was added.
        """
        ...
