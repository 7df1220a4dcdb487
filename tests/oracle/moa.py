"""What MOA 2021.07.0 itself answered on streams that anyone can make again.

Provenance: nz.ac.waikato.cms.moa:moa:2021.07.0 from Maven Central, class moa.classifiers.core.driftdetection.ADWIN, fed
with `setInput`, Java 17. A stream is made by glibc's old generator, s = (1103515245 s + 12345) mod 2^31, u = s / 2^31:
bits are u < rate, levels are 100 u + level. An alarm is (index of the element, width of the window after it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Run(NamedTuple):
    """A stream, MOA's delta, and MOA's answer."""

    name: str
    bits: bool
    seed: int
    delta: float
    segments: tuple[tuple[int, float], ...]
    alarms: list[tuple[int, int]]
    width: int
    mean: float
    variance: float

    def values(self) -> Iterator[float]:
        """Yield the stream's values."""
        s = self.seed
        for length, level in self.segments:
            for _ in range(length):
                s = (s * 1103515245 + 12345) % 2147483648
                u = s / 2147483648
                yield int(u < level) if self.bits else u * 100 + level


_RATES = ((3000, 0.2), (3000, 0.3), (3000, 0.05), (3000, 0.5))
_LEVELS = ((2000, 0.0), (2000, 50.0), (100, 900.0), (2000, -30.0), (1500, -29.0))
_LONG = ((20000, 0.2), (20000, 0.22), (20000, 0.21))

# fmt: off
RUNS = [
    Run("bits", True, 7, 0.002, _RATES,  # noqa: FBT003
        [(3327, 2304), (3423, 1632), (3455, 1408), (3551, 992), (3711, 1024), (6111, 416), (6143, 256), (6239, 288),
         (9023, 256), (9055, 112)], 3056, 0.4908376963350785, 0.24991605219155155),
    Run("bits, delta 0.1", True, 11, 0.1, _RATES,  # noqa: FBT003
        [(3263, 576), (6047, 128), (6079, 128), (9023, 256), (9055, 80), (9087, 96)],
        3008, 0.4920212765957447, 0.24993633997283954),
    Run("levels", False, 13, 0.002, _LEVELS,  # noqa: FBT003
        [(2015, 48), (2047, 56), (4031, 32), (4127, 32), (4223, 112)], 3488, 20.004578988204514, 844.5073030915056),
    Run("levels, delta 0.3", False, 17, 0.3, _LEVELS,  # noqa: FBT003
        [(319, 160), (2015, 24), (2047, 48), (2911, 144), (4031, 32), (4127, 28), (4735, 92), (4991, 44), (5215, 204),
         (6655, 620)], 1564, 21.888697869334933, 823.5725250210908),
    Run("long, delta 0.05", True, 19, 0.05, _LONG,  # noqa: FBT003
        [(24927, 14688), (24991, 12704), (25151, 10816)], 45664, 0.2149833566923616, 0.16876551303764672),
]
# fmt: on
