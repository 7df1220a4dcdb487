"""The hash of ids: a stated function of the bytes, alone or in any batch, and wide enough."""

from __future__ import annotations

import numpy as np
import pytest

from streams.engine.truth import hash_texts

MASK = (1 << 64) - 1


def _fold(a: int, b: int) -> int:
    product = (a & MASK) * (b & MASK)
    return (product >> 64) ^ (product & MASK)


def slowly(data: bytes) -> int:
    """Multiply and fold, with Python's whole numbers: 16 bytes a round, the length first."""
    seed, fold, last = 0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3
    state = _fold(len(data) ^ seed, fold)
    for at in range(0, len(data), 16):
        first = int.from_bytes(data[at : at + 8], "little")
        second = int.from_bytes(data[at + 8 : at + 16], "little")
        state = _fold(first ^ fold ^ state, second ^ last)
    return _fold(state ^ seed, last) or 1


@pytest.mark.parametrize(
    "text", ["", "a", "abcdefg", "12345678", "123456789", "x" * 15, "y" * 16, "z" * 17, "ü€😀" * 9, "\0", "\0\0"]
)
def test_the_hash_is_the_one_that_whole_numbers_give(text: str) -> None:
    assert [slowly(text.encode())] == hash_texts([text]).tolist()


def test_the_hash_of_a_text_does_not_depend_on_its_neighbours() -> None:
    texts = [f"{'long' * (i % 9)}{i}" for i in range(500)]
    whole = hash_texts(texts).tolist()
    for size in (1, 7, 499):
        chunks = [hash_texts(texts[at : at + size]).tolist() for at in range(0, 500, size)]
        assert whole == [h for chunk in chunks for h in chunk]


def test_a_million_sequential_ids_have_a_million_hashes_and_none_is_zero() -> None:
    hashes = hash_texts([f"prediction-{i}" for i in range(1_000_000)])
    assert len(np.unique(hashes)) == 1_000_000
    assert (hashes != 0).all()
    # Open addressing takes the low bits: they must spread over a table of the same size.
    assert len(np.unique(hashes & np.uint64((1 << 20) - 1))) > 0.6 * (1 << 20)
