"""Histogram: counts over the frozen bins of a reference, with exact moments.

Idea: the bins are fixed when the reference is built, so a window is a vector of counts, and counts of windows,
partitions and workers add up. Mean and variance come from sums kept in whole units of a power of two chosen from the
reference's range (`fixed_point`), because float sums depend on how a batch is cut.

Statistic: slot counts c_0..c_{B+2} (below, the bins, above, missing); m = sum of d_i, q = sum of d_i^2 over the values
in range, d = round((x - centre) * 2^k). mean = centre + m / (n 2^k), variance = (n q - m^2) / (n^2 4^k).

Guarantee: counts are exact. Each value enters the moments with an error of at most half a unit, which is at most 2^-37
of the distance from the centre that the reference reached, plus one float64 rounding of x - centre. Values eight times
as far out still enter; from 8 to 16 times on (the next power of two) they are counted (`outside`) and in no sum, and so
are infinities.

Cost: 7 ns a value, a merge 4.5 us (`python -m loadtest detectors`, cases "sketches: histogram" and "merge of histograms").
State of 100 bins: 872 bytes in memory (int64[B + 9]); `len(to_bytes())` is 158 after 1,000 lognormal values, 258 after a
million, since counts have varying length.

Merge: addition of the vectors; associative, commutative, an empty histogram is the identity. No overflow for 2^40
values.

State format (`envelope`, kind `hist`): fingerprint of the bins (8 bytes) | sum of d, 16 bytes signed | sum of d^2, 16
bytes | counts, then `outside`, as LEB128. The edges stay with the reference: they alone would be 808 bytes.

References: STATISTICS section 5 of the design; for updating formulas that this replaces, Chan, Golub & LeVeque,
Algorithms for computing the sample variance, The American Statistician 37 (1983).

>>> from detectors.reference.bins import equal_mass_edges
>>> from detectors.sketches import Bins
>>> bins = Bins(equal_mass_edges(np.arange(1000.0), 10))
>>> monday, tuesday = Histogram(bins), Histogram(bins)
>>> monday.update([1.0, 500.0, None])
>>> tuesday.update([999.0, 1500.0])
>>> both = monday.merge(tuesday)
>>> both.counts.tolist(), both.mean
([0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1], 750.0)
>>> Histogram.from_bytes(both.to_bytes(), bins) == both
True
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from detectors.sketches.binning import count_values
from detectors.sketches.envelope import pack_counts, seal, unpack_counts, unseal
from detectors.sketches.fixed_point import SUM_WORDS, WORDS, add_moments, add_words, read_words, write_words
from detectors.sketches.sketch import as_float64
from schemas.errors import StateMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.sketches.bins import Bins

_KIND = b"hist"
_NAME = 8  # bytes of the fingerprint
_SUM = 16  # bytes of a sum: 128 bits, signed


class Histogram:
    """Counts of values over `bins`, with their exact mean and variance. See the module for formulas and guarantees."""

    __slots__ = ("_state", "bins")
    __hash__ = None  # type: ignore[assignment]  # it changes with every update

    def __init__(self, bins: Bins) -> None:
        """Start with nothing counted."""
        self.bins = bins
        self._state = np.zeros(bins.width + WORDS, np.int64)

    def update(self, values: Sequence[float | None] | NDArray[Any]) -> None:
        """Count a batch of numbers; None and NaN are missing.

        Raises:
            ValueError: the values are no numbers in one dimension; nothing is counted then.
        """
        numbers = as_float64(values)
        scale = self.bins.scale
        count_values(self.bins.table, len(self.bins.edges), numbers, self._state)
        add_moments(self._state, self.bins.width, scale.centre, math.ldexp(1.0, scale.exponent), numbers)

    @property
    def counts(self) -> NDArray[np.int64]:
        """The slot counts, int64[B + 3] (below, the bins, above, missing): a copy."""
        return self._state[: self.bins.width].copy()

    @property
    def n(self) -> int:
        """Number of values that are not missing."""
        return int(self._state[: self.bins.width - 1].sum())

    @property
    def outside(self) -> int:
        """Number of values, of the n, that are in no moment because they lie out of range (`Bins.scale`)."""
        return int(self._state[self.bins.width])

    @property
    def mean(self) -> float:
        """Mean of the values in range; NaN when there are none."""
        n = self.n - self.outside
        if n == 0:
            return math.nan
        scale = self.bins.scale
        return float(Fraction(scale.centre) + Fraction(self._sums()[0], n) / Fraction(2) ** scale.exponent)

    @property
    def variance(self) -> float:
        """Population variance (division by n) of the values in range; NaN when there are none."""
        n = self.n - self.outside
        if n == 0:
            return math.nan
        total, squares = self._sums()
        spread = Fraction(n * squares - total * total, n * n) / Fraction(4) ** self.bins.scale.exponent
        try:
            return float(spread)
        except OverflowError:  # values near the largest float: their variance is none
            return math.inf

    def merge(self, other: Self) -> Self:
        """Return the histogram of the values of both.

        Raises:
            ValueError: the bins differ.
        """
        if self.bins != other.bins:
            raise ValueError("histograms over different bins do not add up: count both over the bins of one reference")
        merged = type(self)(self.bins)
        width = self.bins.width
        merged._state[:] = self._state  # noqa: SLF001  # another object of this class
        merged._state[:width] += other._state[:width]  # noqa: SLF001  # as above
        add_words(merged._state, width, other._state, width)  # noqa: SLF001  # as above
        return merged

    def to_bytes(self) -> bytes:
        """Return the state as bytes, without the edges."""
        sums = b"".join(s.to_bytes(_SUM, "little", signed=True) for s in self._sums())
        return seal(_KIND, self.bins.fingerprint + sums + pack_counts(self._state[: self.bins.width + 1]))

    @classmethod
    def from_bytes(cls, data: bytes, bins: Bins) -> Self:
        """Return the histogram whose `to_bytes` this was; `bins` are those it was counted over.

        Raises:
            StateMismatch: it was counted over other bins.
            StateNewer: a newer driftline wrote the bytes.
            StateCorrupt: the bytes are damaged or no histogram.
        """
        return unseal(_KIND, data, partial(cls._read, bins))

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same bins and the same state."""
        return isinstance(other, Histogram) and self.bins == other.bins and np.array_equal(self._state, other._state)

    def __repr__(self) -> str:
        """Return what it holds in one line."""
        return f"Histogram({len(self.bins)} bins, n={self.n})"

    def _sums(self) -> tuple[int, int]:
        """Return the sum of the units and of their squares."""
        words = self._state[self.bins.width + 1 :]
        return read_words(words[:SUM_WORDS]), read_words(words[SUM_WORDS:])

    @classmethod
    def _read(cls, bins: Bins, payload: bytes) -> Self:
        """Return the histogram of a payload; raises ValueError when it is none, StateMismatch when of other bins."""
        name, sums, counts = payload[:_NAME], payload[_NAME : _NAME + 2 * _SUM], payload[_NAME + 2 * _SUM :]
        if len(sums) < 2 * _SUM:
            raise ValueError("the sums are cut short")
        if name != bins.fingerprint:
            what = f"the histogram was counted over bins {name.hex()}, not over {bins.fingerprint.hex()}"
            raise StateMismatch(what, "give the bins of the reference that it was counted with")
        histogram = cls(bins)
        histogram._fill(unpack_counts(counts), sums)
        return histogram

    def _fill(self, counts: NDArray[np.int64], sums: bytes) -> None:
        """Take over what was read; raises ValueError when it contradicts itself."""
        width = self.bins.width
        if len(counts) != width + 1:
            raise ValueError(f"{len(counts)} counts do not fit {width} slots")
        present = sum(counts[: width - 1].tolist())
        inside = present - int(counts[width])
        total = int.from_bytes(sums[:_SUM], "little", signed=True)
        squares = int.from_bytes(sums[_SUM:], "little", signed=True)
        if present >= 1 << 63 or inside < 0 or inside * squares < total * total or (inside == 0 and squares):
            raise ValueError("its counts and sums contradict each other")
        self._state[: width + 1] = counts
        write_words(total, self._state[width + 1 : width + 1 + SUM_WORDS])
        write_words(squares, self._state[width + 1 + SUM_WORDS :])
