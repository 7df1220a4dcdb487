"""Pooling neighbouring bins until each expects enough for an asymptotic p-value.

One bin that expects 0.05 makes Pearson's p-value wrong by a factor of 78 at 1e-4; with 10 it is right within 10 %.
What is pooled depends on the reference only, never on the window, which would bias the test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_EXPECTED = 10.0
"""The expected count below which a bin is pooled with its neighbour."""


def pooled_starts(reference: NDArray[np.float64], n: float, least: float = LEAST_EXPECTED) -> list[int]:
    """Return the first index of each group of neighbouring bins, for `np.add.reduceat`.

    A group is closed as soon as a window of `n` rows is expected to have `least` in it; what is left over at the end
    joins the last group. `reference` is float64[bins], its counts.
    """
    needed = least * float(reference.sum()) / n
    starts, mass, begin = [], 0.0, 0
    for i, count in enumerate(reference.tolist()):
        mass += count
        if mass >= needed:
            starts.append(begin)
            begin, mass = i + 1, 0.0
    return starts or [0]
