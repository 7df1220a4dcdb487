"""LogHistogram: quantiles with a stated relative error for values that have no reference, such as latencies.

Idea (DDSketch): bins whose width is a fixed share of the values in them. A quantile is then known to that share,
whatever the distribution, and counts of bins add up. Three parts: the mapping from value to bin (`log_mapping`), the
store of the counts (`log_store`), and here the policy: signs, zero, and what lies beyond the range covered.

Statistic: counts of the bins 2^(k/n) <= |x| < 2^((k+1)/n) by sign; of |x| < lowest; of x <= -highest and x >= highest;
of NaN. `quantile(q)` is the answer of the bin that holds the value of rank floor(q (N - 1)), counted from 0 (numpy's
method "lower").

Guarantee: with x_q that value, lowest <= |x_q| < highest, |quantile(q) - x_q| <= relative_error * |x_q|, rounding
included. |x_q| < lowest is answered with 0, so its error is below `lowest`. Beyond the range the answer is an infinity:
at least `highest`. No condition on the distribution, and none on the order of the values.

Cost: 3 ns a value (`python -m loadtest detectors`, case "sketches: log histogram"). State: 8 bytes for
each bin between the first and the last occupied one, by sign; at the default error of 0.01 a factor of ten takes 117
bins, the whole range from 1e-6 to 1e12 2,100 bins (16.8 KB) a sign, which is the bound. As bytes, mostly one to three a bin.

Merge: counts add up; associative, commutative, an empty one is the identity.

State format (`envelope`, kind `logh`): n, u16 | exponents of lowest and highest, i16 | then as LEB128: below, zero, above,
missing, number of negative bins, first negative bin - least bin, counts, first positive bin - least bin, counts.

References: Masson, Rim & Lee, DDSketch, PVLDB 12 (2019), 2195. Deviations: the range is fixed instead of collapsing the
lowest bins when there are too many (collapsing makes the result depend on the order of merging); a NaN is missing
rather than zero.

>>> latency_ms = LogHistogram()
>>> latency_ms.update([3.1, 4.0, 4.2, 5.5, 90.0])
>>> round(latency_ms.quantile(0.5), 1), latency_ms.n
(4.2, 5)
>>> LogHistogram.from_bytes(latency_ms.to_bytes()) == latency_ms
True
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from detectors.sketches.envelope import pack_counts, seal, unpack_counts, unseal
from detectors.sketches.log_mapping import (
    LEAST_EXPONENT,
    MOST_EXPONENT,
    MOST_PER_OCTAVE,
    bins_per_octave,
    count_logs,
    log_mapping,
)
from detectors.sketches.log_store import EMPTY, LogStore
from detectors.sketches.sketch import as_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_KIND = b"logh"
_LAYOUT = struct.Struct("<Hhh")
_BELOW, _ZERO, _ABOVE, _MISSING, _NEGATIVE_SIZE, _NEGATIVE_FIRST = range(6)


class LogHistogram:
    """Counts in logarithmic bins. See the module for guarantees.

    `relative_error` is at most the one asked for (a whole number of bins per power of two). `lowest` and `highest` bound
    the sizes covered; they are rounded outwards to powers of two. The defaults suit milliseconds: a nanosecond to 31
    years.

    Raises:
        ValueError: the error lies outside [0.001, 0.2], or not 2.3e-308 <= lowest < highest <= 8.9e307.
    """

    __slots__ = ("_exponents", "_mapping", "_negative", "_positive", "_sides")
    __hash__ = None  # type: ignore[assignment]  # it changes with every update

    def __init__(self, relative_error: float = 0.01, *, lowest: float = 1e-6, highest: float = 1e12) -> None:
        """Start with nothing counted."""
        if not 2.0**LEAST_EXPONENT <= lowest < highest <= 2.0**MOST_EXPONENT:
            raise ValueError(f"needed is 2.3e-308 <= lowest < highest <= 8.9e307, got {lowest} and {highest}")
        down, up = math.frexp(lowest)[1] - 1, math.frexp(highest)
        self._start(bins_per_octave(relative_error), (down, up[1] - 1 if up[0] == 0.5 else up[1]))  # noqa: PLR2004  # a power of two

    def _start(self, per_octave: int, exponents: tuple[int, int]) -> None:
        self._mapping = log_mapping(per_octave)
        self._exponents = exponents
        self._sides = np.zeros(4, np.int64)
        self._negative = self._positive = EMPTY

    @property
    def relative_error(self) -> float:
        """The relative error of a quantile whose size is covered."""
        return self._mapping.relative_error

    @property
    def lowest(self) -> float:
        """Sizes below this one are answered with 0."""
        return math.ldexp(1.0, self._exponents[0])

    @property
    def highest(self) -> float:
        """Sizes from this one on are answered with an infinity."""
        return math.ldexp(1.0, self._exponents[1])

    @property
    def n(self) -> int:
        """Number of values that are not missing."""
        return self._negative.n + self._positive.n + int(self._sides[:_MISSING].sum())

    @property
    def missing(self) -> int:
        """Number of values that were None or NaN."""
        return int(self._sides[_MISSING])

    @property
    def beyond(self) -> tuple[int, int]:
        """Numbers of values at or below -highest, and at or above highest."""
        return int(self._sides[_BELOW]), int(self._sides[_ABOVE])

    def update(self, values: Sequence[float | None] | NDArray[Any]) -> None:
        """Count a batch of numbers; None and NaN are missing.

        Raises:
            ValueError: the values are no numbers in one dimension; nothing is counted then.
        """
        numbers = as_float64(values)
        mapping, (low, high) = self._mapping, self._exponents
        bins = mapping.per_octave * (high - low)
        counts = np.zeros(2 * bins + 4, np.int64)
        sizes = self.lowest, self.highest
        count_logs(mapping.boundaries, mapping.guide, mapping.shift, self._exponents, sizes, numbers, counts)
        first = low * mapping.per_octave
        self._sides += counts[[0, bins + 1, 2 * bins + 2, 2 * bins + 3]]
        self._negative = self._negative.merge(LogStore.of(first, counts[bins:0:-1]))
        self._positive = self._positive.merge(LogStore.of(first, counts[bins + 2 : 2 * bins + 2]))

    def quantile(self, q: float) -> float:
        """Return the quantile of `q` in [0, 1]; NaN when nothing but missing values was counted.

        Raises:
            ValueError: `q` lies outside [0, 1].
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, got {q}")
        n = self.n
        if n == 0:
            return math.nan
        rank = min(n - 1, int(q * (n - 1)))
        below, negative, zero, positive = (
            int(self._sides[_BELOW]),
            self._negative.n,
            int(self._sides[_ZERO]),
            self._positive.n,
        )
        if rank < below:
            return -math.inf
        rank -= below
        if rank < negative:
            return -self._mapping.answer(self._negative.at_rank(negative - 1 - rank))
        rank -= negative
        if rank < zero:
            return 0.0
        rank -= zero
        return self._mapping.answer(self._positive.at_rank(rank)) if rank < positive else math.inf

    def merge(self, other: Self) -> Self:
        """Return the histogram of the values of both.

        Raises:
            ValueError: their relative errors or ranges differ.
        """
        mine, theirs = self._layout(), other._layout()
        if mine != theirs:
            what = f"got {mine} and {theirs} (bins per power of two, exponents of lowest and highest)"
            raise ValueError(f"log histograms add up when relative error and range are the same, {what}")
        merged = self._blank(*mine)
        merged._sides = self._sides + other._sides  # noqa: SLF001  # another object of this class
        merged._negative = self._negative.merge(other._negative)  # noqa: SLF001  # as above
        merged._positive = self._positive.merge(other._positive)  # noqa: SLF001  # as above
        return merged

    def to_bytes(self) -> bytes:
        """Return the state as bytes."""
        negative, positive = self._negative, self._positive
        numbers = np.concatenate([
            self._sides,
            [len(negative.counts), self._offset(negative)],
            negative.counts,
            [self._offset(positive)],
            positive.counts,
        ])  # fmt: skip
        return seal(_KIND, _LAYOUT.pack(*self._layout()) + pack_counts(numbers))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the histogram whose `to_bytes` this was.

        Raises:
            StateNewer: a newer driftline wrote the bytes.
            StateCorrupt: the bytes are damaged or no log histogram.
        """
        return unseal(_KIND, data, cls._read)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same layout and the same counts."""
        return (
            isinstance(other, LogHistogram)
            and self._layout() == other._layout()
            and np.array_equal(self._sides, other._sides)
            and self._negative == other._negative
            and self._positive == other._positive
        )

    def __repr__(self) -> str:
        """Return what it holds in one line."""
        return f"LogHistogram(relative_error={self.relative_error:.4g}, n={self.n})"

    def _layout(self) -> tuple[int, int, int]:
        """Return bins per power of two, and the exponents of lowest and highest."""
        return self._mapping.per_octave, *self._exponents

    def _offset(self, store: LogStore) -> int:
        """Return how far the first bin of a store lies behind the least one; 0 for an empty store."""
        return store.first - self._exponents[0] * self._mapping.per_octave if len(store.counts) else 0

    @classmethod
    def _blank(cls, per_octave: int, low: int, high: int) -> Self:
        """Return an empty histogram of a layout; raises ValueError when there is none like it."""
        if not (0 < per_octave <= MOST_PER_OCTAVE and LEAST_EXPONENT <= low < high <= MOST_EXPONENT):
            raise ValueError(f"no layout has {per_octave} bins to a power of two from 2^{low} to 2^{high}")
        blank = cls.__new__(cls)
        blank._start(per_octave, (low, high))  # noqa: SLF001  # a method of this class
        return blank

    @classmethod
    def _read(cls, payload: bytes) -> Self:
        """Return the histogram of a payload; raises ValueError or struct.error when it is none."""
        histogram = cls._blank(*_LAYOUT.unpack_from(payload))
        histogram._fill(unpack_counts(payload[_LAYOUT.size :]))  # noqa: SLF001  # as above
        return histogram

    def _fill(self, numbers: NDArray[np.int64]) -> None:
        """Take over what was read; raises ValueError when it contradicts itself."""
        size = int(numbers[_NEGATIVE_SIZE]) if len(numbers) > _NEGATIVE_FIRST else 0
        rest = numbers[_NEGATIVE_FIRST + 1 + size :]
        if len(rest) == 0:
            raise ValueError("its bins end early")
        per_octave, low, high = self._layout()
        negative = int(numbers[_NEGATIVE_FIRST]), numbers[_NEGATIVE_FIRST + 1 : _NEGATIVE_FIRST + 1 + size]
        positive = int(rest[0]), rest[1:]
        if any(offset + len(counts) > per_octave * (high - low) for offset, counts in (negative, positive)):
            raise ValueError("it has bins beyond its range")
        sides = numbers[:_NEGATIVE_SIZE]
        if sum(sides.tolist()) + sum(negative[1].tolist()) + sum(positive[1].tolist()) >= 1 << 63:
            raise ValueError("its counts are too large")
        least = low * per_octave
        self._sides = sides.copy()
        self._negative = LogStore.of(least + negative[0], negative[1])
        self._positive = LogStore.of(least + positive[0], positive[1])
