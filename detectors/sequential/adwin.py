"""ADWIN: a window over the latest values that shrinks when the means of its older and newer part differ.

Idea: keep as much of the past as is consistent with one mean. The window is an exponential histogram, rows of at most
five buckets, a bucket of row i standing for 2**i updates; when a row holds six, its two oldest merge into the next row.
Every 32 elements each boundary between buckets is tried as a split into an older part (n0, mean u0) and a newer one
(n1, mean u1), oldest boundary first. A split is a cut when |u0 - u1| > eps,

    m = 1/(n0 - 4) + 1/(n1 - 4),  d = ln(2 ln(n) / delta),  eps = sqrt(2 m v d) + 2 m d / 3

with v the population variance of the window. On a cut the oldest bucket is dropped and the scan starts again, until no
split is a cut. This is the algorithm of MOA 2021.07 (`moa.classifiers.core.driftdetection.ADWIN`).

Guarantee: for independent values in [0, 1], with probability 1 - delta at each test no cut happens while the mean stays
the same (Bifet & Gavaldà 2007, theorem 3.1; MOA's normal approximation of v and its bucket grid weaken it to a rule of
thumb). delta is not a rate of false alarms: 0.002 gives 0.02 per 100,000 error bits of rate 0.2
(`python -m loadtest quality`).

Fed with panes (`update_many`), one pane is one bucket of any number of elements: order within a pane plays no part, and
a change is seen a pane later. A test is due whenever the number of elements passes a multiple of 32.

Cost: at most 5 log2(updates / 5) buckets of three numbers each, as many split points a test; 8 kB of arrays. 0.12 us a value
and 0.6 us a pane in `update_each` and `update_panes`, 0.8 and 1.4 us in a call of their own (`python -m loadtest detectors`).
There is no merge of two detectors: their windows would interleave in time. Merge the panes instead and feed one.

Counts are 64-bit integers, sums are 64-bit floats: sums of integers (error counts, fixed-point values) are exact while
the window's sum and a pane's n * total_sq stay below 2**53; others carry the rounding of one addition an update, as MOA's
do. Values must be finite and no larger than 1e100, so that their squares are finite too.

State: format 1; see `Adwin.to_state`.

Deviations from MOA: a variance that rounding made negative counts as zero (MOA: no cut at all); buckets carry their own
number of elements. MOA needs more than six elements on each side of a cut (its code says n > 5 + 1), and so do we.

References: Bifet & Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007.

>>> detector = Adwin()
>>> alarms = [i for i in range(2000) if detector.update(i >= 1000)]
>>> alarms[0], detector.direction, detector.mean > 0.9
(1023, 1, True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.sequential import adwin_kernel as kernel
from detectors.sequential.state import count, items, number, reading, sign
from detectors.sequential.values import as_panes, as_values, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

FORMAT: Final = 1
"""Version of the state that `Adwin.to_state` writes."""
_LARGEST = 1e100
"""Values, and sums of panes, are no larger; sums of squares no larger than its square."""
_LARGEST_PANE = 1 << 40
"""Values in one pane: with it, 64-bit counts last for eight million of the largest panes."""


class Adwin:
    """The detector. `delta` in (0, 1) is the confidence of one test; smaller is more cautious.

    `direction` is +1 when the mean rose at the latest change, -1 when it fell, 0 before the first change.
    """

    __slots__ = ("_buckets", "_fill", "_window", "delta")

    def __init__(self, delta: float = 0.002) -> None:
        """Start with an empty window.

        Raises:
            ValueError: delta is not between 0 and 1.
        """
        if not 0 < delta < 1:
            message = f"delta must lie between 0 and 1, got {delta}"
            raise ValueError(message)
        self.delta = float(delta)
        self._window = np.zeros(5)
        self._fill = np.zeros(kernel.ROWS, np.int64)
        self._buckets = np.zeros((kernel.ROWS, kernel.WIDTH, 3))

    @property
    def direction(self) -> int:
        """+1 when the mean rose at the latest change, -1 when it fell, 0 before the first change."""
        return int(self._window[kernel.DIRECTION])

    @property
    def elements(self) -> int:
        """Number of elements so far, in the window or not."""
        return int(self._window[kernel.ELEMENTS])

    @property
    def n(self) -> int:
        """Number of elements in the window."""
        return int(self._window[kernel.N])

    @property
    def mean(self) -> float:
        """Mean of the window; 0.0 while it is empty."""
        return float(self._window[kernel.TOTAL]) / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Population variance of the window; 0.0 while it is empty."""
        return max(0.0, float(self._window[kernel.SPREAD]) / self.n) if self.n else 0.0

    @property
    def window_start(self) -> int:
        """How many updates ago the window began: 1 when it holds the latest update only, 0 while it is empty."""
        return sum(int(used) << i for i, used in enumerate(self._fill))

    def update(self, x: float) -> bool:
        """Add one value; return whether the mean has changed.

        Raises:
            ValueError: the value is not finite, or larger than 1e100.
        """
        x = plain(x)
        if not -_LARGEST <= x <= _LARGEST:
            message = f"ADWIN takes finite values up to {_LARGEST:g}, got {x}"
            raise ValueError(message)
        return bool(kernel.add(*self._arguments(), 1.0, float(x), 0.0))

    def update_each(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Add values one by one in one compiled loop; return for each what `update` would.

        Raises:
            ValueError: not one dimension, or a value that is not finite or larger than 1e100; none was added.
        """
        return kernel.add_each(*self._arguments(), as_values(values, -_LARGEST, _LARGEST))

    def update_many(self, n: int, total: float, total_sq: float) -> bool:
        """Add a pane of `n` values with sum `total` and sum of squares `total_sq` as one bucket; return as `update`.

        n = 0 changes nothing. A pane of one value is that value.

        Raises:
            ValueError: n is negative or beyond 2**40, or a sum is not finite or too large.
        """
        total, total_sq = plain(total), plain(total_sq)
        if not (0 <= n <= _LARGEST_PANE and abs(total) <= _LARGEST and abs(total_sq) <= _LARGEST * _LARGEST):
            message = f"a pane needs n >= 0 and finite sums, got n={n}, total={total}, total_sq={total_sq}"
            raise ValueError(message)
        return n > 0 and bool(kernel.add(*self._arguments(), float(n), float(total), float(total_sq)))

    def update_panes(self, n: ArrayLike, total: ArrayLike, total_sq: ArrayLike) -> NDArray[np.bool_]:
        """Add panes one by one in one compiled loop; return for each what `update_many` would.

        Raises:
            ValueError: the arrays differ in length, or one of the panes is none; none was added.
        """
        counts, sums, squares = as_panes(n, total, total_sq)
        if (counts > _LARGEST_PANE).any() or (np.abs(sums) > _LARGEST).any() or (squares > _LARGEST * _LARGEST).any():
            message = f"a pane holds at most 2**40 values, and its sum is at most {_LARGEST:g}"
            raise ValueError(message)
        return kernel.add_panes(*self._arguments(), counts, sums, squares)

    def _arguments(self) -> tuple[float, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Return what every kernel takes first."""
        return self.delta, self._window, self._fill, self._buckets

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next, as numbers and lists; `from_state` is its inverse.

        Keys: `format`, `delta`, `direction`, `elements`, `window` [n, sum, sum of squared deviations from the mean], and
        `rows`: row i lists its buckets of 2**i updates, oldest first, each like the window.
        """
        used = np.flatnonzero(self._fill)
        top = int(used[-1]) + 1 if len(used) else 1
        rows = [_plain(self._buckets[i, : int(self._fill[i])]) for i in range(top)]
        return {
            "format": FORMAT,
            "delta": self.delta,
            "direction": self.direction,
            "elements": self.elements,
            "window": _plain(self._window[np.newaxis, :3])[0],
            "rows": rows,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Adwin:
        """Return the detector whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of an ADWIN.
        """
        with reading("an ADWIN", state, FORMAT):
            detector = cls(number(state["delta"]))
            n, total, spread = items(state["window"], 3)
            held = 0
            for i, row in enumerate(items(state["rows"], most=kernel.ROWS)):
                detector._fill[i] = len(items(row, most=kernel.BUCKETS))
                for j, bucket in enumerate(row):
                    size, part, part_spread = items(bucket, 3)
                    detector._buckets[i, j] = count(size, 1), number(part), number(part_spread, 0)
                    held += size
            elements = count(state["elements"])
            if held != count(n) or held > elements:
                message = f"its buckets hold {held} elements, its window {n}, the stream {elements}"
                raise ValueError(message)
            detector._window[:] = n, number(total), number(spread), elements, sign(state["direction"])
        return detector


def _plain(buckets: NDArray[np.float64]) -> list[list[int | float]]:
    """Return buckets as lists, their counts as integers."""
    return [[int(n), total, spread] for n, total, spread in buckets.tolist()]
