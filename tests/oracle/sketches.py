"""Sketches as Python writes them down: whole numbers and fractions, one value after the other."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORD = 2**64


def slot(edges: Sequence[float], value: float) -> int:
    """The slot of a value, by asking every edge."""
    return len(edges) + 1 if math.isnan(value) else sum(edge <= value for edge in edges)


def units(value: float, centre: float, exponent: int) -> int | None:
    """The fixed-point units of a value, None out of range; the difference is the float64 one, as stated."""
    difference = value - centre
    if not math.isfinite(difference) or abs(Fraction(difference) * Fraction(2) ** exponent) >= 2**40:
        return None
    return round(Fraction(difference) * Fraction(2) ** exponent)  # half to even


def log_bin(size: float, per_octave: int) -> int:
    """The k with 2^(k/n) <= size < 2^((k+1)/n), compared exactly: 2^k <= size^n < 2^(k+1)."""
    power = Fraction(size) ** per_octave
    k = power.numerator.bit_length() - power.denominator.bit_length()
    while Fraction(2) ** k > power:
        k -= 1
    while Fraction(2) ** (k + 1) <= power:
        k += 1
    return k


def order_statistic(values: Iterable[float], q: float) -> float:
    """The value of rank floor(q (n - 1))."""
    ordered = sorted(values)
    return ordered[int(q * (len(ordered) - 1))]


def mix(number: int) -> int:
    """SplitMix64's finalizer."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % WORD
    return number ^ (number >> 31)


def registers(hashes: Iterable[int], precision: int) -> list[int]:
    """HyperLogLog's registers, from the binary digits of the mixed hashes."""
    found = [0] * 2**precision
    for number in hashes:
        digits = f"{mix(number):064b}"
        tail = digits[precision:]
        length = len(tail) - len(tail.lstrip("0")) + 1
        at = int(digits[:precision], 2)
        found[at] = max(found[at], length)
    return found


def bottom(pairs: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The smallest (mixed row id, category) pairs, each once."""
    return sorted({(mix(row), category) for row, category in pairs})[:size]


def binomial_tail(least: int, n: int, p: float) -> float:
    """P(X >= least) of a binomial, term by term."""
    return math.fsum(math.comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(least, n + 1))
