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
thumb). delta is not a rate of false alarms: 0.002 gives about 0.04 per 100,000 values.

Fed with panes (`update_many`), one pane is one bucket of any number of elements: order within a pane plays no part, and
a change is seen a pane later. A test is due whenever the number of elements passes a multiple of 32.

Cost: at most 5 log2(updates / 5) buckets of three numbers each, as many split points a test. There is no merge of two
detectors: their windows would interleave in time. Merge the panes instead and feed one.

Sums stay Python numbers: with integers (error counts, or fixed-point sums) they are exact and never overflow; with
floats they carry the rounding of one addition an update, as MOA's do. Values must be finite.

Deviations from MOA: a variance that rounding made negative counts as zero (MOA: no cut at all); buckets carry their own
number of elements. MOA needs more than six elements on each side of a cut (its code says n > 5 + 1), and so do we.

References: Bifet & Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007.

>>> detector = Adwin()
>>> alarms = [i for i in range(2000) if detector.update(i >= 1000)]
>>> alarms[0], detector.direction, detector.mean > 0.9
(1023, 1, True)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.errors import StateCorrupt, StateNewer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = 1
"""Version of the state that `Adwin.to_state` writes."""
_BUCKETS = 5
"""Buckets a row keeps, as in MOA: more would test finer splits at a higher cost."""
_CLOCK = 32
"""Elements between tests, as in MOA."""
_LEAST_WINDOW = 10
"""A window of this size or smaller is not tested, as in MOA."""
_LEAST_SIDE = 6
"""A side of a split needs more elements than this, as in MOA."""
_SIDE_OFFSET = 4
"""What eps takes off each side's size (MOA: minimum length 5, minus 1)."""


class Bucket(NamedTuple):
    """Some consecutive elements: how many, their sum, and the sum of squared deviations from their mean."""

    n: int
    total: float
    spread: float

    def joined(self, newer: Bucket) -> Bucket:
        """Return both as one (Chan, Golub & LeVeque 1979)."""
        return Bucket(self.n + newer.n, self.total + newer.total, self.spread + newer.spread + _between(self, newer))


def _between(one: Bucket, other: Bucket) -> float:
    """Return the squared deviations that two groups have as one, beyond those within each."""
    gap = one.total / one.n - other.total / other.n
    return one.n * other.n * gap * gap / (one.n + other.n)


class Adwin:
    """The detector. `delta` in (0, 1) is the confidence of one test; smaller is more cautious.

    `direction` is +1 when the mean rose at the latest change, -1 when it fell, 0 before the first change.
    """

    __slots__ = ("_rows", "_window", "delta", "direction", "elements")

    def __init__(self, delta: float = 0.002) -> None:
        """Start with an empty window.

        Raises:
            ValueError: delta is not between 0 and 1.
        """
        if not 0 < delta < 1:
            message = f"delta must lie between 0 and 1, got {delta}"
            raise ValueError(message)
        self.delta = delta
        self.direction = 0
        self.elements = 0
        self._rows: list[list[Bucket]] = [[]]
        self._window = Bucket(0, 0, 0.0)

    @property
    def n(self) -> int:
        """Number of elements in the window."""
        return self._window.n

    @property
    def mean(self) -> float:
        """Mean of the window; 0.0 while it is empty."""
        return self._window.total / self._window.n if self._window.n else 0.0

    @property
    def variance(self) -> float:
        """Population variance of the window; 0.0 while it is empty."""
        return max(0.0, self._window.spread / self._window.n) if self._window.n else 0.0

    @property
    def window_start(self) -> int:
        """How many updates ago the window began: 1 when it holds the latest update only, 0 while it is empty."""
        return sum(len(row) << i for i, row in enumerate(self._rows))

    def update(self, x: float) -> bool:
        """Add one value; return whether the mean has changed.

        Raises:
            ValueError: the value is not finite.
        """
        if not math.isfinite(x):
            message = f"ADWIN takes finite values, got {x}"
            raise ValueError(message)
        return self._add(Bucket(1, +x, 0.0))

    def update_many(self, n: int, total: float, total_sq: float) -> bool:
        """Add a pane of `n` values with sum `total` and sum of squares `total_sq` as one bucket; return as `update`.

        n = 0 changes nothing. A pane of one value is that value.

        Raises:
            ValueError: n is negative, or a sum is not finite.
        """
        if n < 0 or not (math.isfinite(total) and math.isfinite(total_sq)):
            message = f"a pane needs n >= 0 and finite sums, got n={n}, total={total}, total_sq={total_sq}"
            raise ValueError(message)
        if n == 0:
            return False
        # (n * squares - total^2) / n, not squares - total^2 / n: with integers nothing is rounded before the division.
        spread = max(0.0, (n * total_sq - total * total) / n) if n > 1 else 0.0
        return self._add(Bucket(n, total, spread))

    def _add(self, bucket: Bucket) -> bool:
        self._window = self._window.joined(bucket) if self._window.n else bucket
        self._rows[0].append(bucket)
        for i, row in enumerate(self._rows):
            if len(row) <= _BUCKETS:
                break
            if i + 1 == len(self._rows):
                self._rows.append([])
            self._rows[i + 1].append(row[0].joined(row[1]))
            del row[:2]
        before = self.elements
        self.elements += bucket.n
        if before // _CLOCK == self.elements // _CLOCK or self.n <= _LEAST_WINDOW:
            return False
        changed = False
        while (step := self._cut()) != 0:
            if not changed:
                self.direction = step
            changed = True
            self._drop_oldest()
        return changed

    def _oldest_first(self) -> Iterator[Bucket]:
        for row in reversed(self._rows):
            yield from row

    def _cut(self) -> int:
        """Return the sign of the change of mean at the oldest split that is a cut, 0 when there is none."""
        n, u1 = self._window.n, self._window.total
        d = math.log(2 * math.log(n) / self.delta)
        variance = self.variance
        n0: int = 0
        u0: float = 0
        for bucket in self._oldest_first():
            n0 += bucket.n
            u0 += bucket.total
            n1 = n - n0
            u1 -= bucket.total
            if n1 <= _LEAST_SIDE:
                return 0
            if n0 <= _LEAST_SIDE:
                continue
            gap = u1 / n1 - u0 / n0
            m = 1 / (n0 - _SIDE_OFFSET) + 1 / (n1 - _SIDE_OFFSET)
            if abs(gap) > math.sqrt(2 * m * variance * d) + 2 / 3 * d * m:
                return 1 if gap > 0 else -1
        return 0

    def _drop_oldest(self) -> None:
        oldest = self._rows[-1].pop(0)
        if not self._rows[-1] and len(self._rows) > 1:
            self._rows.pop()
        rest = Bucket(self._window.n - oldest.n, self._window.total - oldest.total, 0.0)
        spread = self._window.spread - (oldest.spread + _between(rest, oldest))
        self._window = rest._replace(spread=spread)

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next, as numbers and lists; `from_state` is its inverse."""
        return {
            "format": FORMAT,
            "delta": self.delta,
            "direction": self.direction,
            "elements": self.elements,
            "window": list(self._window),
            "rows": [[list(bucket) for bucket in row] for row in self._rows],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Adwin:
        """Return the detector whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of an ADWIN.
        """
        version = state.get("format")
        if isinstance(version, int) and version > FORMAT:
            what = f"the state of an ADWIN has format {version}, this driftline reads up to {FORMAT}"
            raise StateNewer(what, "run the driftline version that wrote it, or a later one")
        try:
            detector = cls(state["delta"])
            detector.direction, detector.elements = state["direction"], state["elements"]
            detector._window = Bucket(*state["window"])
            detector._rows = [[Bucket(*bucket) for bucket in row] for row in state["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            what = f"the state of an ADWIN cannot be read ({type(error).__name__}: {error})"
            raise StateCorrupt(what, "restore it from a backup, or reset the detector on purpose") from error
        if version != FORMAT or sum(b.n for b in detector._oldest_first()) != detector.n:
            what = "the state of an ADWIN contradicts itself"
            raise StateCorrupt(what, "restore it from a backup, or reset the detector on purpose")
        return detector
