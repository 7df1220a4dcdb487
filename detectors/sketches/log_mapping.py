"""From a size to the number of its logarithmic bin: the mathematics of `LogHistogram`, in integers only.

Bin k holds the sizes 2^(k/n) <= x < 2^((k+1)/n), n bins to a power of two. An x is 2^e * (1 + M / 2^52) with integers e
and M that stand in its bits, so k = n e + j, where j is the number of boundaries ceil(2^52 (2^(j/n) - 1)), j = 1..n-1,
that M reaches. The boundaries come from exact integer roots, j from a table over the first bits of M and one comparison:
no logarithm is computed, and a value has the same bin on every machine.

The bin [a, b) is answered with 2ab / (a + b), which is off by at most (b - a) / (b + a) = tanh(ln 2 / 2n) of the value,
the same in every bin; the stated error is computed from the answers as they are stored, so rounding is in it.

References: Masson, Rim & Lee, DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees, PVLDB
12 (2019), 2195, section 2.1 (the mapping; theirs computes the logarithm or interpolates it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PER_OCTAVE: Final = 400
"""Bins to a power of two, at most: a relative error of 0.00087."""
MANTISSA_BITS: Final = 52
"""Bits of M."""
LEAST_EXPONENT, MOST_EXPONENT = -1022, 1023
"""Exponents of the normal float64 numbers: 2^-1022 and 2^1023."""
_i64: Any = np.int64


@dataclass(frozen=True, slots=True, eq=False)
class LogMapping:
    """n bins to a power of two (`per_octave`).

    `boundaries` int64[n + 1]: where M enters part j, `boundaries[n]` = 2^52; `guide` int64[2^bits]: the part of the
    lowest M with these first bits; `answers` float64[n]: what stands for part j of [1, 2). `relative_error` is how far an
    answer may be from the value, as a share of the value, all rounding included.
    """

    per_octave: int
    boundaries: NDArray[np.int64]
    guide: NDArray[np.int64]
    answers: NDArray[np.float64]
    relative_error: float

    @property
    def shift(self) -> int:
        """How many bits of M the guide does not look at."""
        return MANTISSA_BITS - (len(self.guide).bit_length() - 1)

    def answer(self, key: int) -> float:
        """Return what stands for the values of bin `key`, above 0."""
        octave, part = divmod(key, self.per_octave)
        return math.ldexp(float(self.answers[part]), octave)


def bins_per_octave(relative_error: float) -> int:
    """Return the fewest bins to a power of two that keep this relative error.

    Raises:
        ValueError: it lies outside [0.001, 0.2].
    """
    if not 0.001 <= relative_error <= 0.2:  # noqa: PLR2004  # below: tables of a thousand parts; above: of no use
        raise ValueError(f"a relative error lies between 0.001 and 0.2, got {relative_error}")
    per_octave = math.ceil(math.log(2) / (2 * math.atanh(relative_error)))
    # What the formula leaves out is the rounding of the answers; it matters where the error asked for is met exactly.
    return per_octave if log_mapping(per_octave).relative_error <= relative_error else per_octave + 1


@cache
def log_mapping(per_octave: int) -> LogMapping:
    """Return the mapping with this many bins to a power of two, at least 1; the same object each time."""
    whole = 1 << MANTISSA_BITS
    boundaries = np.empty(per_octave + 1, np.int64)
    boundaries[0], boundaries[per_octave] = 0, whole
    for j in range(1, per_octave):
        boundaries[j] = _root(1 << (MANTISSA_BITS * per_octave + j), per_octave) + 1 - whole
    # One comparison is enough where no cell of the guide holds two boundaries: the first part is the narrowest.
    narrowest = int((boundaries[1:] - boundaries[:-1]).min())
    bits = MANTISSA_BITS - (narrowest.bit_length() - 1)
    cells = np.arange(1 << bits, dtype=np.int64) << (MANTISSA_BITS - bits)
    guide = np.searchsorted(boundaries, cells, side="right").astype(np.int64) - 1
    low, high = 1 + boundaries[:-1] / whole, 1 + boundaries[1:] / whole
    answers = 2 * low * high / (low + high)
    for array in (boundaries, guide, answers):
        array.flags.writeable = False
    return LogMapping(per_octave, boundaries, guide, answers, _worst(boundaries.tolist(), answers.tolist()))


def _worst(boundaries: list[int], answers: list[float]) -> float:
    """Return the largest relative error of any answer: at the first or the last value of its bin; rounded up."""
    worst = Fraction(0)
    for low, high, answer in zip(boundaries, boundaries[1:], answers, strict=False):
        for mantissa in (low, high - 1):
            value = 1 + Fraction(mantissa, 1 << MANTISSA_BITS)
            worst = max(worst, abs(Fraction(answer) - value) / value)
    return math.nextafter(float(worst), 1.0)


def _root(number: int, degree: int) -> int:
    """Return the largest r with r^degree <= number, by Newton's steps from above."""
    guess = 1 << -(-number.bit_length() // degree)
    while True:
        following = ((degree - 1) * guess + number // guess ** (degree - 1)) // degree
        if following >= guess:
            return guess
        guess = following


@compiled
def count_logs(
    boundaries: NDArray[np.int64],
    guide: NDArray[np.int64],
    shift: int,
    octaves: tuple[int, int],
    sizes: tuple[float, float],
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Add one to a count for each value, float64[n].

    `octaves` are the exponents (low, high) of the sizes covered, 2^low <= |x| < 2^high, and `sizes` these two powers;
    K = n (high - low) bins. `counts`
    is int64[2 K + 4] in ascending order of the values: at or below -2^high; K bins from most to least negative; sizes
    below 2^low; K bins; at or above 2^high; NaN.
    """
    low, high = octaves
    parts = len(boundaries) - 1
    middle = parts * (high - low) + 1
    smallest, limit = sizes
    bits = values.view(np.int64)
    for i in range(len(values)):
        x = values[i]
        size = abs(x)
        if size < smallest:
            slot = middle
        elif size < limit:
            pattern = bits[i] & 0x7FFFFFFFFFFFFFFF
            mantissa = pattern & 0xFFFFFFFFFFFFF
            part = guide[mantissa >> shift]
            part += mantissa >= boundaries[part + 1]
            key = ((pattern >> 52) - 1023 - low) * parts + part
            slot = middle + 1 + key if x > 0.0 else middle - 1 - key
        elif x == x:  # noqa: PLR0124  # how a compiled loop asks for NaN
            slot = 2 * middle if x > 0.0 else _i64(0)
        else:
            slot = 2 * middle + 1
        counts[slot] += 1
