"""The bytes of a sketch: a magic, a format version, a kind, a checksum, a payload; and numbers of varying length.

Layout: `dlsk` | version u16 | kind 4 bytes | CRC-32 of kind and payload u32 | payload; integers little-endian. Counts
are written as LEB128: seven bits a byte, lowest first, the eighth bit says that more follow.

A state has one spelling: bytes that restore to a sketch which would write other bytes are refused as corrupt.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np

from detectors.compiled import compiled
from schemas.errors import StateCorrupt, StateNewer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MAGIC: Final = b"dlsk"
"""The first four bytes of every sketch."""
VERSION: Final = 1
"""The format that is written, and the newest that is read."""
HEAD: Final = struct.Struct("<4sH4sI")
"""Magic, version, kind, checksum."""
REMEDY: Final = "read the sketch from a sound copy, or count its values again"
"""What to do about bytes that are damaged."""
_LONGEST = 9  # bytes of a count below 2^63


class _Saved(Protocol):
    def to_bytes(self) -> bytes: ...


S = TypeVar("S", bound=_Saved)


def seal(kind: bytes, payload: bytes) -> bytes:
    """Return the payload with its header; `kind` is four bytes."""
    return HEAD.pack(MAGIC, VERSION, kind, zlib.crc32(kind + payload)) + payload


def unseal(kind: bytes, data: bytes, read: Callable[[bytes], S]) -> S:
    """Return the sketch that `read` makes of the payload of sealed bytes of this kind.

    `read` raises ValueError or `struct.error` where the payload is none.

    Raises:
        StateNewer: a newer driftline wrote the bytes.
        StateCorrupt: they are too short, of another kind, damaged, or not the spelling that `to_bytes` gives.
    """
    name = kind.decode()
    if len(data) < HEAD.size:
        raise StateCorrupt(f"{len(data)} bytes are too few for a sketch", REMEDY)
    magic, version, found, checksum = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise StateCorrupt("these bytes are no sketch of driftline", REMEDY)
    if version > VERSION:
        what = f"the sketch was written in format {version}, this driftline reads up to {VERSION}"
        raise StateNewer(what, "read it with the driftline that wrote it, or a later one")
    payload = data[HEAD.size :]
    if zlib.crc32(found + payload) != checksum:
        raise StateCorrupt("the checksum of the sketch does not match its bytes", REMEDY)
    if found != kind:
        raise StateCorrupt(f"the bytes are a sketch of kind {found!r}, not {name!r}", REMEDY)
    try:
        sketch = read(payload)
    except (ValueError, struct.error) as error:
        raise StateCorrupt(f"no {name!r} sketch can be read from the bytes: {error}", REMEDY) from error
    if sketch.to_bytes() != data:
        raise StateCorrupt(f"the bytes are not how a {name!r} sketch is written", REMEDY)
    return sketch


def pack_counts(counts: NDArray[np.int64]) -> bytes:
    """Return non-negative counts, int64[n], as LEB128: one byte for a count below 128, nine at most."""
    out = np.empty(_LONGEST * len(counts), np.uint8)
    return out[: _write(counts, out)].tobytes()


def unpack_counts(data: bytes) -> NDArray[np.int64]:
    """Return the counts again; raises ValueError when the bytes end within a count or one reaches 2^63."""
    found = np.empty(len(data), np.int64)
    size = _read(np.frombuffer(data, np.uint8), found)
    if size < 0:
        raise ValueError("a count does not end, or reaches 2**63")
    return found[:size].copy()


@compiled
def _write(counts: NDArray[np.int64], out: NDArray[np.uint8]) -> int:
    """Write the counts and return how many bytes they took."""
    at = 0
    for i in range(len(counts)):
        rest = counts[i]
        while rest > 127:  # noqa: PLR2004  # seven bits
            out[at] = (rest & 127) | 128
            rest >>= 7
            at += 1
        out[at] = rest
        at += 1
    return at


@compiled
def _read(data: NDArray[np.uint8], out: NDArray[np.int64]) -> int:
    """Read counts and return how many, -1 where the bytes are none."""
    size, shift = 0, 0
    value = np.int64(0)
    for i in range(len(data)):
        if shift > 56:  # noqa: PLR2004  # nine bytes hold 63 bits
            return -1
        value |= np.int64(data[i] & 127) << shift
        shift += 7
        if data[i] < 128:  # noqa: PLR2004  # the last byte of a count
            out[size] = value
            size, shift = size + 1, 0
            value = np.int64(0)
    return size if shift == 0 else -1
