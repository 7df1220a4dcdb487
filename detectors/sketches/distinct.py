"""Distinct: how many different categories were seen, from a few hundred bytes (HyperLogLog).

Idea: among the hashes of many different values, one that begins with many zeros is rare. m = 2^p registers each keep the
longest run of leading zeros, plus one, among the hashes that fall to them (by their first p bits); repeats of a value
change nothing.

Statistic: with C_k the number of registers at k = 0..q+1, q = 64 - p, the improved raw estimator of Ertl (2017),
m^2 / (2 ln 2 (m sigma(C_0/m) + sum_{k=1..q} C_k 2^-k + m tau(1 - C_{q+1}/m) 2^-q)). It needs no tables of bias and no
switch between ranges.

Guarantee: standard error 1.04 / sqrt(m) of the true number (6.5 % with the default of 256 registers), less for numbers
below m; bias between 0 and 1.079 / m (0.4 %; the estimator uses the constant of many registers, and Flajolet's of m is
smaller by that factor). Conditions: hashes behave as random (they are mixed here once more), and fewer than some 2^56
different values.

Cost: 2 ns a value that is a hash (`python -m loadtest detectors`, case "sketches: distinct"); texts are
hashed once a batch each. State: 2^p bytes, 256 by default.

Merge: the larger of each pair of registers; associative, commutative, an empty sketch is the identity, and merging a
sketch with itself changes nothing.

State format (`envelope`, kind `dist`): p, u8 | the registers, a byte each.

References: Flajolet, Fusy, Gandouet & Meunier, HyperLogLog, AofA 2007; Ertl, New cardinality estimation algorithms for
HyperLogLog sketches, arXiv:1702.01284 (2017), the improved raw estimator.

>>> cities = Distinct()
>>> cities.update(["Ulm", "Bonn", "Ulm", None])
>>> round(cities.estimate())
2
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from detectors.compiled import compiled
from detectors.sketches.envelope import seal, unseal
from detectors.sketches.hashing import category_hashes, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.sketches.hashing import Category

LEAST_PRECISION, MOST_PRECISION = 6, 16
"""Bounds of p: 64 registers (an error of 13 %; with fewer the bias would matter) to 65,536 (0.4 %)."""
PRECISION: Final = 8
"""256 registers: "about 40 or about 1,000 new categories" is the question, and 6.5 % answers it."""
_KIND = b"dist"
_HASH_BITS = 64
_u64: Any = np.uint64


class Distinct:
    """The number of different categories. `precision` is p, 2^p the number of registers.

    Raises:
        ValueError: p lies outside 6..16.
    """

    __slots__ = ("_registers", "precision")
    __hash__ = None  # type: ignore[assignment]  # it changes with every update

    def __init__(self, precision: int = PRECISION) -> None:
        """Start with nothing seen."""
        if not LEAST_PRECISION <= precision <= MOST_PRECISION:
            raise ValueError(f"a precision lies between {LEAST_PRECISION} and {MOST_PRECISION}, got {precision}")
        self.precision = precision
        self._registers = np.zeros(1 << precision, np.uint8)

    def update(self, values: Sequence[Category] | NDArray[Any]) -> None:
        """See a batch: categories (None and NaN are missing and count as nothing), or their hashes as a uint64 array.

        Raises:
            ValueError: a value is no category, or the batch is not of one dimension; nothing is counted then.
        """
        hashes, present = category_hashes(values)
        _raise_registers(self._registers, self.precision, mixed(hashes if present.all() else hashes[present]))

    @property
    def standard_error(self) -> float:
        """The standard error of the estimate, as a share of the true number."""
        return 1.04 / math.sqrt(1 << self.precision)

    def estimate(self) -> float:
        """Return the estimated number of different categories; 0 when none was seen."""
        m = 1 << self.precision
        q = _HASH_BITS - self.precision
        counts = np.bincount(self._registers, minlength=q + 2).tolist()
        z = m * _tau(1 - counts[q + 1] / m)
        for k in range(q, 0, -1):
            z = (z + counts[k]) / 2
        z += m * _sigma(counts[0] / m)
        return 0.0 if math.isinf(z) else m * m / (2 * math.log(2) * z) if z > 0 else math.inf

    def merge(self, other: Self) -> Self:
        """Return the sketch of the values of both.

        Raises:
            ValueError: their precisions differ.
        """
        if self.precision != other.precision:
            raise ValueError(f"sketches of precision {self.precision} and {other.precision} do not merge")
        merged = type(self)(self.precision)
        np.maximum(self._registers, other._registers, out=merged._registers)  # noqa: SLF001  # objects of this class
        return merged

    def to_bytes(self) -> bytes:
        """Return the state as bytes."""
        return seal(_KIND, bytes([self.precision]) + self._registers.tobytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the sketch whose `to_bytes` this was.

        Raises:
            StateNewer: a newer driftline wrote the bytes.
            StateCorrupt: the bytes are damaged or no such sketch.
        """
        return unseal(_KIND, data, cls._read)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same registers."""
        return isinstance(other, Distinct) and np.array_equal(self._registers, other._registers)

    def __repr__(self) -> str:
        """Return what it holds in one line."""
        return f"Distinct(precision={self.precision}, estimate={self.estimate():.4g})"

    @classmethod
    def _read(cls, payload: bytes) -> Self:
        """Return the sketch of a payload; raises ValueError when it is none."""
        sketch = cls(payload[0] if payload else 0)
        registers = np.frombuffer(payload[1:], np.uint8)
        if len(registers) != len(sketch._registers) or registers.max() > _HASH_BITS - sketch.precision + 1:
            raise ValueError("the registers do not fit the precision")
        sketch._registers[:] = registers
        return sketch


@compiled
def _raise_registers(registers: NDArray[np.uint8], precision: int, hashes: NDArray[np.uint64]) -> None:
    """Raise the register of each hash to its number of leading zeros behind the first bits, plus one."""
    rest = _u64(64 - precision)
    top = _u64(1) << _u64(63)
    for i in range(len(hashes)):
        tail = hashes[i] << _u64(precision)
        at = hashes[i] >> rest
        known = _u64(registers[at])
        if known and tail >> (_u64(64) - known):  # as in most hashes of a long stream: not more zeros than known
            continue
        length = 1
        while tail & top == _u64(0) and length <= 64 - precision:
            tail <<= _u64(1)
            length += 1
        registers[at] = max(registers[at], length)


def _sigma(x: float) -> float:
    """Return x + sum over k >= 1 of x^(2^k) 2^(k-1), infinite at 1 (Ertl 2017)."""
    if x == 1:
        return math.inf
    total, weight, before = x, 1.0, math.nan
    while total != before:
        x *= x
        before = total
        total += x * weight
        weight += weight
    return total


def _tau(x: float) -> float:
    """Return (1 - x - sum over k >= 1 of (1 - x^(2^-k))^2 2^-k) / 3 (Ertl 2017)."""
    if x in {0, 1}:
        return 0.0
    total, weight, before = 1 - x, 1.0, math.nan
    while total != before:
        x = math.sqrt(x)
        before = total
        weight /= 2
        total -= (1 - x) ** 2 * weight
    return total / 3
