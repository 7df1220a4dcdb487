"""From a label as it came to a class: text by its hash, numbers by their bits.

A label waits for its prediction without knowing which model's classes apply, so what is remembered is a 64-bit word: the
bits of a number, or the hash of a text. A text that is the category text of a number counts as that number.
"""

from __future__ import annotations

import math
from operator import methodcaller
from typing import TYPE_CHECKING

import numpy as np

from schemas.events import category_text
from streams.engine.kernels.hashing import hash_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def hash_texts(texts: Sequence[str]) -> NDArray[np.uint64]:
    """The 64-bit hashes of texts (UTF-8)."""
    joined = "".join(texts)
    if joined.isascii():  # one byte a character, so no text is looked at by itself
        data, sizes = joined.encode(), map(len, texts)
    else:
        encoded = list(map(methodcaller("encode", "utf-8", "surrogatepass"), texts))
        data, sizes = b"".join(encoded), map(len, encoded)
    ends = np.cumsum(np.fromiter(sizes, np.int64, len(texts)))
    out = np.empty(len(texts), np.uint64)
    hash_spans(np.frombuffer(data + b"\0", np.uint8), ends, out)
    return out


def word_of(text: str) -> tuple[int, bool]:
    """The word of a label's text, and whether it is a number's."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and category_text(number) == text:
        return int(np.float64(number + 0.0).view(np.uint64)), True
    return int(hash_texts([text])[0]), False


class Truths:
    """The words of one model's classes."""

    def __init__(self, classes: Sequence[str], other: int) -> None:
        """``classes`` in the order of their index; ``other`` is the class of any label that is none of them."""
        words = [word_of(c) for c in classes]
        self._word = np.array([w for w, _ in words], np.uint64)
        self._number = np.array([n for _, n in words], bool)
        self._other = other

    def classes_of(self, truth: NDArray[np.uint64], number: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The class of each label; both arrays are [n]."""
        found = np.full(len(truth), self._other, np.int64)
        for k in range(len(self._word)):
            if k != self._other:
                found[(truth == self._word[k]) & (number == self._number[k])] = k
        return found
