"""The 64-bit hashes that stand for categories and rows, so that a state holds no text (P10).

`category_hashes` is for callers who have texts: BLAKE2b, the same on every machine, strong enough that nobody makes two
categories collide on purpose without knowing it. Whoever has 64-bit hashes of another function already gives those, as
a uint64 array; sketches that are merged must have been fed from one function.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.compiled import compiled
from schemas.events import category_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Category = str | bool | int | float | None
"""A category as it stands in an event; None and NaN are missing."""
_u64: Any = np.uint64


def category_hash(value: str | float | np.generic) -> int:
    """Return the hash of one category: the first 64 bits of BLAKE2b of its text (`schemas.events.category_text`).

    Raises:
        ValueError: the value is no text, boolean or number.
    """
    if not isinstance(value, (str, int, float, np.generic)):
        raise ValueError(f"a category is a text, a boolean or a number, got {type(value).__name__}")  # noqa: TRY004  # the one error of wrong arguments
    text = category_text(value).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def category_hashes(
    values: Sequence[Category] | NDArray[Any],
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the hash of each value, uint64[n], and whether it is present, bool[n] (absent: None and NaN, hash 0).

    A uint64 array is taken for hashes, all present.

    Raises:
        ValueError: a value is no category, or the batch is not of one dimension.
    """
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise ValueError(f"a batch has one dimension, got the shape {values.shape}")
    if isinstance(values, np.ndarray) and values.dtype == np.uint64:
        return np.ascontiguousarray(values), np.ones(len(values), bool)
    plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
    known: dict[tuple[type, Any], int] = {}
    hashes, present = np.zeros(len(plain), np.uint64), np.ones(len(plain), bool)
    for i, value in enumerate(plain):
        if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
            present[i] = False
            continue
        key = (type(value), value)  # True == 1 in Python, and they are two categories
        try:
            if key not in known:
                known[key] = category_hash(value)
        except TypeError as error:  # a list or dict has no hash in Python either
            raise ValueError(f"a category is a text, a boolean or a number, got {type(value).__name__}") from error
        hashes[i] = known[key]
    return hashes, present


@compiled
def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return other numbers for 64-bit numbers, one to one, every bit depending on all: plain counters will do as input.

    The finalizer of SplitMix64 (Stafford's variant 13; Steele, Lea & Flood, Fast splittable pseudorandom number
    generators, OOPSLA 2014).
    """
    out = np.empty(len(hashes), np.uint64)
    for i in range(len(hashes)):
        h = hashes[i]
        h = (h ^ (h >> _u64(30))) * _u64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> _u64(27))) * _u64(0x94D049BB133111EB)
        out[i] = h ^ (h >> _u64(31))
    return out
