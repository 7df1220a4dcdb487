"""Counts of varying length, the header, and the examples of the pages."""

from __future__ import annotations

import doctest
import importlib
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketches.envelope import pack_counts, seal, unpack_counts

COUNTS = st.lists(st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1)), max_size=20)


def leb128(number: int) -> bytes:
    """One number, as the DWARF standard writes it (unsigned LEB128)."""
    digits = []
    while True:
        digits.append(number % 128)
        number //= 128
        if number == 0:
            return bytes([d + 128 for d in digits[:-1]] + digits[-1:])


@settings(deadline=None)  # the first example loads the compiled loop
@given(COUNTS)
def test_counts_are_leb128_and_come_back(counts: list[int]) -> None:
    data = pack_counts(np.array(counts, np.int64))
    assert data == b"".join(map(leb128, counts))
    assert unpack_counts(data).tolist() == counts


def test_the_published_examples_of_leb128() -> None:
    # DWARF Debugging Information Format, version 4, section 7.6, examples of unsigned encodings: 2, 127, 128, 129, 130, 12857.
    assert pack_counts(np.array([2, 127, 128, 129, 130, 12857])).hex(" ") == "02 7f 80 01 81 01 82 01 b9 64"


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\xff" * 8 + b"\x80", b"\xff" * 9 + b"\x01", b"\x80" * 30])
def test_counts_that_do_not_end_or_are_too_large_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="does not end"):
        unpack_counts(data)


def test_the_header_is_magic_version_kind_and_checksum() -> None:
    checksum = zlib.crc32(b"kindpayload").to_bytes(4, "little")
    assert seal(b"kind", b"payload") == b"dlsk" + b"\x01\x00" + b"kind" + checksum + b"payload"


@pytest.mark.parametrize("name", ["", ".histogram", ".log_histogram", ".distinct", ".heavy_hitters"])
def test_the_examples_run(name: str) -> None:
    module = importlib.import_module(f"detectors.sketches{name}")
    failed, attempted = doctest.testmod(module)
    assert failed == 0
    assert attempted > 0
