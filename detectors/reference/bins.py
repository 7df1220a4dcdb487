"""Frozen bins of a numeric feature, and which bin a value falls into.

About `max_bins` bins of equal probability. An *atom*, a value with more than 1 / max_bins of the mass, has a bin of its
own, so that the zeros of a zero-inflated feature do not smear over their neighbours; what lies between two atoms gets
bins in proportion to its mass, at least one. Hence a feature with atoms can have a few bins more than `max_bins`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.sketches.binning import bin_values, search_table

if TYPE_CHECKING:
    from numpy.typing import NDArray


def equal_mass_edges(values: NDArray[np.float64], max_bins: int = 100) -> NDArray[np.float64]:
    """Return the edges of the bins, float64[B + 1], strictly ascending, from finite `values` (float64[n], n > 0).

    Bin i is [edges[i], edges[i + 1]). edges[0] is the minimum, edges[B] the float after the maximum. An edge is a value
    of the data, except behind an atom c: its bin ends at the float after c, or, where the data have nothing before the
    next atom, at that atom (an empty bin would only be pooled with one of them).
    """
    found, counts = np.unique(values, return_counts=True)
    share = len(values) / max_bins
    atom = counts > share
    starts: list[NDArray[np.int64]] = [np.flatnonzero(atom)]
    # A run is a stretch of values without an atom, from `first` up to, not including, `last`.
    change = np.flatnonzero(np.diff(np.concatenate(([True], atom, [True])).astype(np.int8)))
    for first, last in change.reshape(-1, 2):
        starts.append(first + _splits(counts[first:last], share))
    begin = np.sort(np.concatenate(starts))
    edges = found[begin]
    behind_atom = begin[(begin > 0) & ~atom[begin]]
    behind_atom = behind_atom[atom[behind_atom - 1]]
    edges[np.searchsorted(begin, behind_atom)] = np.nextafter(found[behind_atom - 1], np.inf)
    with np.errstate(over="ignore"):  # behind the largest float lies infinity, which the caller refuses
        return np.append(edges, np.nextafter(found[-1], np.inf))


def _splits(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return where the bins of a run begin: 0, then the boundaries nearest to equal parts of its mass."""
    mass = np.cumsum(counts)
    parts = max(1, round(float(mass[-1]) / share))
    targets = mass[-1] * np.arange(1, parts) / parts
    after = np.searchsorted(mass, targets)  # the value whose mass crosses the target
    short = np.where(after > 0, mass[after - 1], 0)
    cut = np.where(mass[after] - targets <= targets - short, after + 1, after)
    return np.unique(np.concatenate(([0], cut[cut < len(counts)])))


def numeric_slots(edges: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the slot of each value: 0 below, 1..B the bins, B + 1 above, B + 2 missing (NaN).

    `edges` is float64[B + 1], `values` float64[n]; an infinity counts as below or above.
    """
    slots = np.empty(len(values), np.int64)
    bin_values(search_table(edges), len(edges), np.ascontiguousarray(values, np.float64), slots)
    return slots
