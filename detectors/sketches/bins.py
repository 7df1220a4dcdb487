"""The frozen bins of a reference, as the layout of a histogram."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.sketches.binning import bin_values, search_table
from detectors.sketches.fixed_point import Scale
from detectors.sketches.sketch import as_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIDE_SLOTS: Final = 3
"""Slots beside the bins: below, above, missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """B bins between `edges`, float64[B + 1], finite and strictly ascending: bin i is [edges[i], edges[i + 1]).

    `table` is what the compiled search reads, `scale` the unit of the moments, both made from the edges.
    `fingerprint` (8 bytes of BLAKE2b over the edges) names the layout in saved bytes. Equal are bins with equal edges.

    Raises:
        ValueError: fewer than two edges, one is not finite, or they do not ascend.
    """

    edges: NDArray[np.float64]
    table: NDArray[np.float64] = field(init=False, repr=False)
    scale: Scale = field(init=False, repr=False)
    fingerprint: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Check and freeze the edges."""
        edges = np.array(self.edges, np.float64) + 0.0  # -0.0 becomes 0.0: equal edges have equal bytes
        if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or not (edges[1:] > edges[:-1]).all():  # noqa: PLR2004  # a bin has two edges
            raise ValueError("bins need two finite edges or more, strictly ascending")
        table = search_table(edges)
        edges.flags.writeable = table.flags.writeable = False
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "scale", Scale.of(float(edges[0]), float(edges[-1])))
        name = hashlib.blake2b(edges.astype("<f8").tobytes(), digest_size=8).digest()
        object.__setattr__(self, "fingerprint", name)

    def __eq__(self, other: object) -> bool:
        """Return whether the edges are the same."""
        return isinstance(other, Bins) and np.array_equal(self.edges, other.edges)

    def __hash__(self) -> int:
        """Return a hash of the edges."""
        return hash(self.fingerprint)

    def __len__(self) -> int:
        """Return the number of bins, B."""
        return len(self.edges) - 1

    @property
    def width(self) -> int:
        """Number of slots, B + 3."""
        return len(self) + SIDE_SLOTS

    def slots(self, values: Sequence[float | None] | NDArray[Any]) -> NDArray[np.int64]:
        """Return the slot of each value, int64[n]: 0 below, 1..B the bins, B + 1 above, B + 2 missing (None, NaN).

        Raises:
            ValueError: the values are no numbers in one dimension.
        """
        numbers = as_float64(values)
        slots = np.empty(len(numbers), np.int64)
        bin_values(self.table, len(self.edges), numbers, slots)
        return slots
