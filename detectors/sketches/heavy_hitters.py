"""HeavyHitters: which categories are frequent, from a fixed sample of rows that merges exactly.

Idea: every row has a 64-bit id. The k rows whose mixed ids are smallest are a uniform sample of all rows, and the k
smallest of a union are among the k smallest of its parts. So the sample of a stream is the same however it was cut,
ordered and merged. Counters that evict (Misra-Gries, SpaceSaving) are smaller, and their merge depends on its order.

Statistic: with s the size of the sample and c the entries of a category in it, share = c / s, with the exact binomial
(Clopper-Pearson) interval.

Guarantee: a category of true share phi is missing from the sample with probability at most (1 - phi)^k: for k = 256 and
phi = 2 % that is 0.6 %, for 5 % 2e-6. The share has standard error sqrt(phi (1 - phi) / k), and the interval covers it
with the confidence asked for, or more. Up to k rows everything is in the sample and the shares are exact. Conditions:
rows have different ids (a row that comes twice is one row in the sample, and two in `n`), made without looking at the
category.

Cost: 7 ns a row once the sample is full, categories being hashes (`python -m loadtest detectors`, case "sketches: heavy
hitters"). State: 16 bytes an entry, 4 KiB with 256.

Merge: the k smallest (mixed id, category) pairs of both; associative, commutative, an empty sketch is the identity. `n`
adds up.

State format (`envelope`, kind `hhit`): k, u32 | n, u64 | the entries in ascending order: mixed id u64, category u64. No
text: `top` takes the names from the caller.

References: Broder, On the resemblance and containment of documents (1997), and Cohen & Kaplan, Summarizing data using
bottom-k sketches, PODC 2007, for samples by smallest hash; Agarwal et al., Mergeable summaries, PODS 2012, for what
evicting counters can and cannot promise; Clopper & Pearson, Biometrika 26 (1934).

>>> from detectors.sketches import category_hash
>>> unseen = HeavyHitters()
>>> unseen.update(["mobile", "kiosk", "mobile"], rows=[101, 102, 103])
>>> [(hitter.name, hitter.share) for hitter in unseen.top(1, names={category_hash("mobile"): "mobile"})]
[('mobile', 0.6666666666666666)]
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from scipy.special import betaincinv

from detectors.sketches.envelope import seal, unseal
from detectors.sketches.hashing import category_hashes, mixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detectors.sketches.hashing import Category

SIZE: Final = 256
"""Rows in the sample: finds a category of 2 % with probability 0.994, in 4 KiB."""
MOST: Final = 1 << 16
"""Rows in the sample, at most: a megabyte."""
_KIND = b"hhit"
_HEAD = struct.Struct("<IQ")
_ENTRY = 16  # bytes


@dataclass(frozen=True, slots=True)
class Hitter:
    """One category of the sample: its hash, its name (None where the caller knows none), its share of all rows.

    `low` and `high` bound the true share with the confidence asked for.
    """

    category: int
    name: str | None
    share: float
    low: float
    high: float


class HeavyHitters:
    """Frequent categories. `size` is k, the number of rows sampled.

    Raises:
        ValueError: k lies outside 1..65,536.
    """

    __slots__ = ("_categories", "_ranks", "n", "size")
    __hash__ = None  # type: ignore[assignment]  # it changes with every update

    def __init__(self, size: int = SIZE) -> None:
        """Start with an empty sample; `n` counts the rows seen."""
        if not 1 <= size <= MOST:
            raise ValueError(f"a sample has 1 to {MOST} rows, got {size}")
        self.size = size
        self.n = 0
        self._ranks = np.zeros(0, np.uint64)
        self._categories = np.zeros(0, np.uint64)

    def update(
        self, values: Sequence[Category] | NDArray[Any], *, rows: Sequence[int] | NDArray[np.integer[Any]]
    ) -> None:
        """See a batch: categories (None and NaN are missing and left out) or their hashes as a uint64 array.

        `rows` are the ids of the same rows, whole numbers below 2^64: a hash of what identifies the event, or its offset
        together with its partition. They decide about the sample, so that a row has one id wherever it is counted.

        Raises:
            ValueError: a value is no category, an id is no whole number in [0, 2^64), the lengths differ; nothing is
                counted then.
        """
        hashes, present = category_hashes(values)
        ids = _row_ids(rows)
        if len(ids) != len(hashes):
            raise ValueError(f"{len(hashes)} categories need as many row ids, got {len(ids)}")
        if not present.all():
            ids, hashes = ids[present], hashes[present]
        ranks = mixed(ids)
        self.n += len(ranks)
        if len(self._ranks) == self.size:  # most rows of a long stream end here
            near = ranks <= self._ranks[-1]
            ranks, hashes = ranks[near], hashes[near]
        if len(ranks):
            self._take(np.concatenate([self._ranks, ranks]), np.concatenate([self._categories, hashes]))

    @property
    def exact(self) -> bool:
        """Whether the sample holds every row seen, each once, so that shares are exact."""
        return self.n == len(self._ranks)

    @property
    def sampled(self) -> int:
        """Number of rows in the sample."""
        return len(self._ranks)

    def top(self, count: int = 10, *, names: Mapping[int, str] | None = None, confidence: float = 0.95) -> list[Hitter]:
        """Return the `count` most frequent categories, most frequent first, equals by their hash.

        `names` turns hashes into names (`category_hash`).

        Raises:
            ValueError: `count` is negative, or the confidence lies outside (0, 1).
        """
        if count < 0 or not 0 < confidence < 1:
            raise ValueError(f"needed are count >= 0 and a confidence between 0 and 1, got {count} and {confidence}")
        found, counts = np.unique(self._categories, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:count]
        tail = (1 - confidence) / 2
        return [self._hitter(int(found[i]), int(counts[i]), tail, names or {}) for i in order]

    def merge(self, other: Self) -> Self:
        """Return the sketch of the rows of both.

        Raises:
            ValueError: their sizes differ.
        """
        if self.size != other.size:
            raise ValueError(f"samples of {self.size} and {other.size} rows do not merge")
        merged = type(self)(self.size)
        merged.n = self.n + other.n
        merged._take(  # noqa: SLF001  # another object of this class
            np.concatenate([self._ranks, other._ranks]),
            np.concatenate([self._categories, other._categories]),
        )
        return merged

    def to_bytes(self) -> bytes:
        """Return the state as bytes."""
        entries = np.stack([self._ranks, self._categories], axis=1).astype("<u8")
        return seal(_KIND, _HEAD.pack(self.size, self.n) + entries.tobytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the sketch whose `to_bytes` this was.

        Raises:
            StateNewer: a newer driftline wrote the bytes.
            StateCorrupt: the bytes are damaged or no such sketch.
        """
        return unseal(_KIND, data, cls._read)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same size, number of rows and sample."""
        return (
            isinstance(other, HeavyHitters)
            and (self.size, self.n) == (other.size, other.n)
            and np.array_equal(self._ranks, other._ranks)
            and np.array_equal(self._categories, other._categories)
        )

    def __repr__(self) -> str:
        """Return what it holds in one line."""
        return f"HeavyHitters(size={self.size}, n={self.n})"

    def _take(self, ranks: NDArray[np.uint64], categories: NDArray[np.uint64]) -> None:
        """Keep the smallest pairs, each once."""
        order = np.lexsort((categories, ranks))
        ranks, categories = ranks[order], categories[order]
        new = np.ones(len(ranks), bool)
        new[1:] = (ranks[1:] != ranks[:-1]) | (categories[1:] != categories[:-1])
        self._ranks, self._categories = ranks[new][: self.size], categories[new][: self.size]

    def _hitter(self, category: int, count: int, tail: float, names: Mapping[int, str]) -> Hitter:
        """Return a category with `count` entries in the sample."""
        s = len(self._ranks)
        share = count / s
        low = high = share
        if not self.exact:
            low = float(betaincinv(count, s - count + 1, tail))
            high = float(betaincinv(count + 1, s - count, 1 - tail)) if count < s else 1.0
        return Hitter(category, names.get(category), share, low, high)

    @classmethod
    def _read(cls, payload: bytes) -> Self:
        """Return the sketch of a payload; raises ValueError or struct.error when it is none."""
        size, n = _HEAD.unpack_from(payload)
        sketch = cls(size)
        entries = payload[_HEAD.size :]
        if len(entries) % _ENTRY or not len(entries) // _ENTRY <= min(size, n) or (n and not entries):
            raise ValueError("the entries do not fit the number of rows")
        pairs = np.frombuffer(entries, "<u8").astype(np.uint64).reshape(-1, 2)
        sketch.n = n
        sketch._take(pairs[:, 0], pairs[:, 1])
        return sketch


def _row_ids(rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """Return the ids as uint64[n]; raises ValueError when they are none."""
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "u":
        ids = rows.astype(np.uint64)
    elif isinstance(rows, np.ndarray) and rows.dtype.kind == "i":
        if len(rows) and rows.min() < 0:
            raise ValueError(f"a row id lies in [0, 2^64), got {rows.min()}")
        ids = rows.astype(np.uint64)
    else:
        plain = list(rows)
        if not all(isinstance(row, (int, np.integer)) and 0 <= row < 1 << 64 for row in plain):
            raise ValueError("row ids are whole numbers in [0, 2^64)")
        ids = np.array(plain, np.uint64)
    if ids.ndim != 1:
        raise ValueError(f"row ids come in one dimension, got the shape {ids.shape}")
    return ids
