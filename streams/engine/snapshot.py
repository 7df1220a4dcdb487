"""The bytes of state: a magic, a format version, a kind, a checksum, then msgpack. Nothing is pickled (P5).

Layout: ``drft`` | version u16 | kind 4 bytes | CRC-32 of the payload u32 | payload; integers little-endian.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from schemas.errors import RESTORE, StateCorrupt, StateMismatch, StateNewer

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"drft"
VERSION = 3
"""1 was before two horizons became one and before segments (0.2), 2 before the journal came first (0.3)."""
_HEAD = struct.Struct("<4sH4sI")
T = TypeVar("T")


def seal(kind: bytes, payload: bytes) -> bytes:
    """The payload with its header; ``kind`` is four bytes."""
    return _HEAD.pack(MAGIC, VERSION, kind, zlib.crc32(payload)) + payload


def unseal(kind: bytes, data: bytes, where: str) -> bytes:
    """The payload of sealed bytes.

    Raises StateCorrupt (wrong magic, kind or checksum), StateNewer, or StateMismatch (older); all name ``where`` the bytes lie.
    """
    if len(data) < _HEAD.size:
        raise StateCorrupt(f"{where}: {len(data)} bytes are too few for a snapshot", RESTORE)
    magic, version, found, checksum = _HEAD.unpack_from(data)
    if magic != MAGIC or found != kind:
        raise StateCorrupt(f"{where}: not a {kind.decode()} snapshot of driftline", RESTORE)
    if version > VERSION:
        what = f"{where}: written in format {version}, this driftline reads up to {VERSION}"
        raise StateNewer(what, "run the driftline version that wrote it, or a later one")
    if version < VERSION:
        what = f"{where}: written in format {version}, this driftline reads {VERSION}"
        raise StateMismatch(
            what, "run the driftline that wrote it, or start a new group: it reads the topics from their start"
        )
    payload = data[_HEAD.size :]
    if zlib.crc32(payload) != checksum:
        raise StateCorrupt(f"{where}: the checksum does not match its bytes", RESTORE)
    return payload


def pack(kind: bytes, value: object) -> bytes:
    """A sealed msgpack of a msgspec struct or of plain values."""
    return seal(kind, msgspec.msgpack.encode(value))


def unpack(kind: bytes, data: bytes, of: type[T], where: str) -> T:
    """The value of sealed msgpack; raises as ``unseal``, and StateCorrupt when the payload has another form."""
    payload = unseal(kind, data, where)
    try:
        return msgspec.msgpack.decode(payload, type=of)
    except msgspec.MsgspecError as error:
        raise StateCorrupt(f"{where}: {error}", RESTORE) from error


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One stream's vector in a cell."""

    version: str
    variant: str
    shape: str
    vector: bytes
    segment: str = ""


def pack_vector(vector: NDArray[np.int64]) -> bytes:
    """A vector of counts as compressed little-endian int64."""
    return zlib.compress(vector.astype("<i8", copy=False).tobytes(), 1)


def unpack_vector(data: bytes) -> NDArray[np.int64]:
    """The vector again."""
    return np.frombuffer(zlib.decompress(data), "<i8").astype(np.int64)
