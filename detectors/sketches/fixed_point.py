"""Exact sums of values and of their squares, in whole units: what makes moments add up in any order.

A value x counts as d = round((x - centre) * 2^k) units, half to even. |d| is at most 2^40, its square at most 2^80, so
2^40 values reach 2^80 and 2^120. A sum is kept in words of 32 bits, highest first, each in an int64 of its own: every
word but the highest lies in [0, 2^32), so one number has one spelling. The highest word of the sum then stays below
2^48 in size, that of the squares below 2^56: 2^40 values cannot overflow them, and 2^46 still do not.

Both factors are exact operations of IEEE 754 except one rounding in x - centre, so the units of a value are the same on
every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUM_WORDS: Final = 2
"""Words of the sum of the units."""
SQUARE_WORDS: Final = 3
"""Words of the sum of their squares."""
WORDS: Final = 1 + SUM_WORDS + SQUARE_WORDS
"""Words of all: the values out of range, the sum, the sum of squares."""
LIMIT_BITS: Final = 40
"""A value in range has at most 2^40 units: 12 decimal digits, and squares of 2^40 values in less than 128 bits."""
HEADROOM_BITS: Final = 3
"""The range reaches eight times as far from the centre as the reference did: drifted values should still have a mean."""
_LEAST, _MOST = -900, 1023
"""Exponents of the range: 2^(40 - exponent) must be a normal float64."""

_LIMIT = 2.0**LIMIT_BITS
_BLOCK = 1 << 20  # values whose partial sums (at most 2^40 each) fit int64 before they are carried over
_HALF = 32
_LOW = (1 << 32) - 1
_SPLIT = 20
_SPLIT_LOW = (1 << 20) - 1
_i64: Any = np.int64


@dataclass(frozen=True, slots=True)
class Scale:
    """The units of fixed-point sums: `centre`, and 2^-`exponent` as the size of a unit.

    In range are the values with |x - centre| < 2^(40 - exponent); others are counted and not summed.
    """

    centre: float
    exponent: int

    @classmethod
    def of(cls, low: float, high: float) -> Scale:
        """Return the scale of values that the reference saw between `low` and `high` (finite, low <= high).

        The centre lies in the middle and the range reaches at least eight times as far as the reference's values. A
        reference of one value c has no extent; it gets that of max(|c|, 1).
        """
        centre = low / 2 + high / 2
        reach = max(high - centre, centre - low)
        if not high > math.nextafter(low, math.inf):
            reach = max(abs(centre), 1.0)
        bits = math.frexp(reach)[1] + HEADROOM_BITS  # reach < 2^(bits - 3)
        return cls(centre, LIMIT_BITS - min(_MOST, max(_LEAST, bits)))

    @property
    def reach(self) -> float:
        """How far from the centre the range ends."""
        return math.ldexp(1.0, LIMIT_BITS - self.exponent)


@compiled
def add_moments(state: NDArray[np.int64], at: int, centre: float, factor: float, values: NDArray[np.float64]) -> None:
    """Add values, float64[n], to the words `state[at : at + 6]`: out of range, sum (2), sum of squares (3).

    `factor` is 2^exponent of the `Scale`. NaN is in none of them.
    """
    for first in range(0, len(values), _BLOCK):
        block = values[first : first + _BLOCK]
        outside, total, high, cross, low = _i64(0), _i64(0), _i64(0), _i64(0), _i64(0)
        for i in range(len(block)):
            d = (block[i] - centre) * factor
            inside = abs(d) < _LIMIT
            outside += (not inside) & (block[i] == block[i])  # NaN: neither
            units = _i64(np.rint(d if inside else 0.0))
            size = abs(units)
            a, b = size >> _SPLIT, size & _SPLIT_LOW
            total += units
            high += a * a
            cross += a * b
            low += b * b
        state[at] += outside
        # The sum of squares is high * 2^40 + cross * 2^21 + low; each part is spread over the words it overlaps.
        state[at + 2] += total & _LOW
        state[at + 1] += total >> _HALF
        state[at + 5] += (low & _LOW) + ((cross & 0x7FF) << 21)
        state[at + 4] += (low >> _HALF) + (cross >> 11) + ((high & 0xFFFFFF) << 8)
        state[at + 3] += high >> 24
        _carry(state, at)


@compiled
def _carry(state: NDArray[np.int64], at: int) -> None:
    """Give each number its one spelling again; a word holds less than 2^62 in size when this is called."""
    state[at + 1] += state[at + 2] >> _HALF
    state[at + 2] &= _LOW
    state[at + 4] += state[at + 5] >> _HALF
    state[at + 5] &= _LOW
    state[at + 3] += state[at + 4] >> _HALF
    state[at + 4] &= _LOW


@compiled
def add_words(state: NDArray[np.int64], at: int, other: NDArray[np.int64], other_at: int) -> None:
    """Add the six words at `other[other_at]` to those at `state[at]`."""
    for i in range(WORDS):
        state[at + i] += other[other_at + i]
    _carry(state, at)


def read_words(words: NDArray[np.int64]) -> int:
    """Return the whole number that words of 32 bits, highest first, spell."""
    number = 0
    for word in words.tolist():
        number = (number << _HALF) + word
    return number


def write_words(number: int, words: NDArray[np.int64]) -> None:
    """Spell a whole number in the words; raises ValueError when the highest would leave int64."""
    for i in range(len(words) - 1, 0, -1):
        words[i] = number & _LOW
        number >>= _HALF
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("a sum is larger than its words")
    words[0] = number
