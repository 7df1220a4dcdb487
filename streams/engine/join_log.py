"""The log of the join: what is appended to the store, and how it is read again.

Three kinds of segments, each a row of blocks; a segment is cut as a whole, by the clock of the log:
``p:<model>:<stream>:<number>`` the predictions of a slot in the order they came, ``j:...`` which of them are labelled, and how;
``l:<model>:<number>`` labels that are not kept in a prediction's row, by label time, again when they join; ``l:*:<span>:<number>``
those that name no model, by what an eighth of the longest horizon was when they came.
A block is its length (u32), a CRC-32 of what follows the header (u32), and columns, little-endian:
p: rows u32, flags u8 (1 wide answers, 2 cohorts, 4 times of 32 bits), 3 bytes 0, earliest time u32 (ms since the slot's start);
then keys u64, times u16 or u32 since the earliest, answers u32, and, where flagged, second halves u32 and cohorts u16.
j: entries u64, bits 0-23 the number of the row, 24-31 bits 0-7 of its state, 32-63 its label lag (``kernels.join``).
l: lines of four u64, as in the kernel's table.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schemas.errors import RESTORE, StateCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BYTES_IN_STORE, BYTES_OF_LABEL = 16, 8
"""Of a remembered binary prediction in the log, at most, and what its label adds; 2 less where a commit spans under a minute."""
BYTES_OF_LINE = 32
"""Of a label that is not kept in a row."""
_BLOCK = struct.Struct("<II")
_ROWS = struct.Struct("<IB3xI")
_WIDE, _COHORTS, _LONG = 1, 2, 4
_SHORT = 1 << 16


class Predictions(NamedTuple):
    """Columns of n remembered predictions of one slot; ``time`` ms since its start; ``low`` and ``cohort`` may be None."""

    key: NDArray[np.uint64]
    time: NDArray[np.uint32]
    answer: NDArray[np.uint32]
    low: NDArray[np.uint32] | None
    cohort: NDArray[np.uint16] | None


def _seal(data: bytes) -> bytes:
    return _BLOCK.pack(len(data), zlib.crc32(data)) + data


def prediction_block(p: Predictions) -> bytes:
    """A block of predictions."""
    earliest = p.time.min(initial=np.uint32(0xFFFFFFFF)) if len(p.time) else np.uint32(0)
    since = p.time - earliest
    long = bool(len(since)) and int(since.max()) >= _SHORT
    cohorts = p.cohort is not None and bool(p.cohort.any())
    flags = (_WIDE if p.low is not None else 0) | (_COHORTS if cohorts else 0) | (_LONG if long else 0)
    parts = [_ROWS.pack(len(p.key), flags, int(earliest)), p.key.astype("<u8").tobytes()]
    parts += [since.astype("<u4" if long else "<u2").tobytes(), p.answer.astype("<u4").tobytes()]
    if p.low is not None:
        parts.append(p.low.astype("<u4").tobytes())
    if cohorts and p.cohort is not None:
        parts.append(p.cohort.astype("<u2").tobytes())
    return _seal(b"".join(parts))


def words_block(words: NDArray[np.uint64]) -> bytes:
    """A block of marks, or of lines of labels."""
    return _seal(np.ascontiguousarray(words, "<u8").tobytes())


def _blocks(data: bytes, where: str) -> Iterator[tuple[int, memoryview]]:
    at, view = 0, memoryview(data)
    while at < len(data):
        if at + _BLOCK.size > len(data):
            raise StateCorrupt(f"{where}: ends inside a block's header", RESTORE)
        size, checksum = _BLOCK.unpack_from(data, at)
        block = view[at + _BLOCK.size : at + _BLOCK.size + size]
        if len(block) != size or zlib.crc32(block) != checksum:
            raise StateCorrupt(f"{where}: the block at byte {at} does not match its checksum", RESTORE)
        yield at, block
        at += _BLOCK.size + size


def read_predictions(data: bytes, where: str) -> Iterator[Predictions]:
    """The blocks of a segment of predictions. Raises StateCorrupt when one is not what its header says."""
    for at, block in _blocks(data, where):
        if len(block) < _ROWS.size:
            raise StateCorrupt(f"{where}: the block at byte {at} has no header", RESTORE)
        rows, flags, earliest = _ROWS.unpack_from(block)
        wide = 4 if flags & _LONG else 2
        size = rows * (8 + wide + 4 + (4 if flags & _WIDE else 0) + (2 if flags & _COHORTS else 0))
        if len(block) != _ROWS.size + size:
            raise StateCorrupt(f"{where}: the block at byte {at} has {len(block)} bytes for {rows} rows", RESTORE)
        begin = _ROWS.size
        key = np.frombuffer(block, "<u8", rows, begin)
        begin += 8 * rows
        time = np.frombuffer(block, "<u4" if flags & _LONG else "<u2", rows, begin).astype(np.uint32) + np.uint32(
            earliest
        )
        begin += wide * rows
        answer = np.frombuffer(block, "<u4", rows, begin)
        begin += 4 * rows
        low = np.frombuffer(block, "<u4", rows, begin) if flags & _WIDE else None
        begin += 4 * rows if flags & _WIDE else 0
        cohort = np.frombuffer(block, "<u2", rows, begin) if flags & _COHORTS else None
        yield Predictions(key, time, answer, low, cohort)


def read_words(data: bytes, words: int, where: str) -> NDArray[np.uint64]:
    """All blocks of a segment of marks (``words`` 1) or lines (4): uint64[n, words]. Raises StateCorrupt."""
    parts = []
    for at, block in _blocks(data, where):
        if len(block) % (8 * words):
            raise StateCorrupt(f"{where}: the block at byte {at} has {len(block)} bytes", RESTORE)
        parts.append(np.frombuffer(block, "<u8").reshape(-1, words))
    found: NDArray[np.uint64] = np.concatenate(parts) if parts else np.zeros((0, words), np.uint64)
    return found
