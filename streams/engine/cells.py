"""Open vectors of counts, by model, start and stream, in one arena that the compiled loops write into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from schemas.errors import StateMismatch
from streams.engine import snapshot
from streams.engine.shape import empty
from streams.engine.snapshot import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_STREAM_BITS = 8
_MODEL_BITS = 12
_KIND = b"cell"


def encode(entries: list[Entry]) -> bytes:
    """The bytes of one cell: its streams in the order of their names, so that equal counts are equal bytes."""
    return snapshot.seal(_KIND, msgspec.msgpack.encode(sorted(entries, key=lambda e: (e.version, e.variant, e.shape))))


def decode(data: bytes, where: str) -> list[Entry]:
    """The streams of a cell; raises StateCorrupt or StateNewer."""
    return snapshot.unpack(_KIND, data, list[Entry], where)


class Cells:
    """The open cells of one kind in one task.

    A vector belongs to (model, start, stream); all streams of a (model, start) are one cell in the store. ``width`` tells the
    width of a stream's vector. ``changed`` is what the next commit must write.
    """

    def __init__(self, width: Callable[[int, int], int]) -> None:
        """No open cells; ``width(model, stream)`` is the length of a vector."""
        self.arena = np.zeros(1 << 14, np.int64)
        self.changed: set[tuple[int, int]] = set()
        self._width = width
        self._top = 0
        self._at: dict[tuple[int, int], dict[int, int]] = {}
        self._free: dict[int, list[int]] = {}

    def place(self, model: NDArray[np.int64], start: NDArray[np.int64], stream: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the vector of each row begins in the arena; opens what is missing and marks all of it changed."""
        key = (start << (_STREAM_BITS + _MODEL_BITS)) | (model << _STREAM_BITS) | stream
        distinct, inverse = np.unique(key, return_inverse=True)
        begin = np.empty(len(distinct), np.int64)
        for i, packed in enumerate(distinct.tolist()):
            s = packed & ((1 << _STREAM_BITS) - 1)
            m = (packed >> _STREAM_BITS) & ((1 << _MODEL_BITS) - 1)
            at = packed >> (_STREAM_BITS + _MODEL_BITS)
            self.changed.add((m, at))
            begin[i] = self._open(m, at, s)
        return begin[inverse]

    def _open(self, model: int, start: int, stream: int) -> int:
        streams = self._at.setdefault((model, start), {})
        begin = streams.get(stream)
        if begin is None:
            width = self._width(model, stream)
            free = self._free.get(width)
            if free:
                begin = free.pop()
            else:
                begin, self._top = self._top, self._top + width
                if self._top > len(self.arena):
                    wider = np.zeros(max(2 * len(self.arena), self._top), np.int64)
                    wider[: len(self.arena)] = self.arena
                    self.arena = wider
            self.arena[begin : begin + width] = empty(width)
            streams[stream] = begin
        return begin

    def vectors(self, model: int, start: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The (stream, vector) pairs of an open cell."""
        for stream, begin in self._at.get((model, start), {}).items():
            yield stream, self.arena[begin : begin + self._width(model, stream)]

    def put(self, model: int, start: int, stream: int, vector: NDArray[np.int64], where: str) -> None:
        """Load one stream's vector; raises StateMismatch when its width is not the one configured."""
        begin, width = self._open(model, start, stream), self._width(model, stream)
        if len(vector) != width:
            what = f"{where}: the stored pane has {len(vector)} counters, the reference in use needs {width}"
            raise StateMismatch(
                what, "put back the reference the state was made with, or monitor under a new model name"
            )
        self.arena[begin : begin + width] = vector

    def open(self) -> list[tuple[int, int]]:
        """The (model, start) of all open cells, ascending."""
        return sorted(self._at)

    def close(self, model: int, start: int) -> None:
        """Forget an open cell: its last bytes are committed and final."""
        for stream, begin in self._at.pop((model, start)).items():
            self._free.setdefault(self._width(model, stream), []).append(begin)
        self.changed.discard((model, start))
