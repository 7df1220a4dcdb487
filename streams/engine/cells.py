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
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

_STREAM_BITS = 16
"""A task gives no more numbers to the streams, or to the cohorts, of a model; the ms of an event time take 43 bits beside them."""
_KIND = b"cell"


def encode(entries: list[Entry]) -> bytes:
    """The bytes of one cell: its streams in the order of their names, so that equal counts are equal bytes."""
    in_order = sorted(entries, key=lambda e: (e.version, e.variant, e.segment, e.shape))
    return snapshot.seal(_KIND, msgspec.msgpack.encode(in_order))


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
        self._at: dict[int, dict[int, dict[int, int]]] = {}
        self._oldest: dict[int, int] = {}
        self._free: dict[int, list[int]] = {}

    def place(self, model: NDArray[np.int64], start: NDArray[np.int64], stream: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the vector of each row begins in the arena; opens what is missing and marks all of it changed."""
        begin = np.empty(len(model), np.int64)
        for m in np.flatnonzero(np.bincount(model)).tolist():
            mine = np.flatnonzero(model == m)
            begin[mine] = self.spread(m, start[mine], stream[mine], None)[0]
        return begin

    def spread(
        self, model: int, start: NDArray[np.int64], cohort: NDArray[np.int64], members: Sequence[Sequence[int]] | None
    ) -> NDArray[np.int64]:
        """Where the vectors of each row's streams begin, int64[depth, rows]; -1 where a row has fewer streams than another.

        ``members[c]`` are the streams of cohort c; None: every cohort is the stream of its number.
        """
        key, inverse = np.unique((start << _STREAM_BITS) | cohort, return_inverse=True)
        found = []
        for packed in key.tolist():
            at, c = packed >> _STREAM_BITS, packed & ((1 << _STREAM_BITS) - 1)
            self.changed.add((model, at))
            found.append([self._open(model, at, s) for s in (members[c] if members is not None else (c,))])
        depth = max(map(len, found), default=1)
        begin = np.array([row + [-1] * (depth - len(row)) for row in found], np.int64).reshape(len(found), depth)
        return begin[inverse].T

    def _open(self, model: int, start: int, stream: int) -> int:
        starts = self._at.setdefault(model, {})
        streams = starts.get(start)
        if streams is None:
            streams = starts[start] = {}
            self._oldest[model] = min(start, self._oldest.get(model, start))
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
        for stream, begin in self._at.get(model, {}).get(start, {}).items():
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
        return sorted((model, start) for model, starts in self._at.items() for start in starts)

    def ripe(self, final: NDArray[np.int64]) -> list[tuple[int, int]]:
        """The (model, start) of the open cells that start at or before ``final[model]``, ascending.

        Costs nothing where no cell is ripe: windows of a month stay open, and this is asked several times a second.
        """
        models = sorted(m for m, oldest in self._oldest.items() if oldest <= final[m])
        return [(m, start) for m in models for start in sorted(s for s in self._at[m] if s <= final[m])]

    def first_after(self, model: int, time: int) -> int:
        """The earliest start of a model's open cells after a time."""
        return min(start for start in self._at[model] if start > time)

    def extent(self) -> dict[int, tuple[int, int]]:
        """Of each model with open cells: the earliest start, and how many there are."""
        return {m: (self._oldest[m], len(starts)) for m, starts in self._at.items()}

    def close(self, model: int, start: int) -> None:
        """Forget an open cell: its last bytes are committed and final."""
        starts = self._at[model]
        for stream, begin in starts.pop(start).items():
            self._free.setdefault(self._width(model, stream), []).append(begin)
        if not starts:
            del self._at[model], self._oldest[model]
        elif start == self._oldest[model]:
            self._oldest[model] = min(starts)
        self.changed.discard((model, start))
