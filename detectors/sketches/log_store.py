"""The bins of a `LogHistogram` that hold something: counts between the first and the last occupied bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class LogStore:
    """Counts of bins `first`, `first + 1`, ..., int64[m] that cannot be written; neither the first nor the last is 0.

    So one set of counts has one spelling. The empty store has `first` 0 and no counts. Build one with `of`.
    """

    first: int
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, first: int, counts: NDArray[np.int64]) -> Self:
        """Return the store of counts of the bins from `first` on, which may be 0 at both ends."""
        occupied = np.flatnonzero(counts)
        if len(occupied) == 0:
            return cls(0, _NOTHING)
        kept = counts[occupied[0] : occupied[-1] + 1].copy()
        kept.flags.writeable = False
        return cls(first + int(occupied[0]), kept)

    def __eq__(self, other: object) -> bool:
        """Return whether both hold the same counts."""
        return isinstance(other, LogStore) and self.first == other.first and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        """Return a hash of the counts."""
        return hash((self.first, self.counts.tobytes()))

    @property
    def n(self) -> int:
        """Sum of the counts."""
        return int(self.counts.sum())

    def merge(self, other: Self) -> Self:
        """Return the store of both: bin by bin the sum."""
        if len(self.counts) == 0 or len(other.counts) == 0:
            return other if len(self.counts) == 0 else self
        first = min(self.first, other.first)
        last = max(self.first + len(self.counts), other.first + len(other.counts))
        total = np.zeros(last - first, np.int64)
        for store in (self, other):
            at = store.first - first
            total[at : at + len(store.counts)] += store.counts
        return type(self).of(first, total)

    def at_rank(self, rank: int) -> int:
        """Return the bin of the value with `rank` smaller ones in the store, 0 <= rank < n."""
        return self.first + int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))


_NOTHING = np.zeros(0, np.int64)
_NOTHING.flags.writeable = False
EMPTY = LogStore(0, _NOTHING)
"""The store with nothing in it."""
