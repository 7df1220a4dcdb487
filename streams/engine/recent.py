"""The latest windows of every stream, so that the same test can run over the last 1, 2, 4, ... of them (`alerts.scales`).

Counts are integers, so a longer window is the sum of shorter ones. The windows before the latest are kept by the evaluator in
its own shard, one cell a window, because the tasks drop their panes once they are read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from schemas.errors import RESTORE, StateMissing
from streams.engine import cells, snapshot
from streams.engine.shape import merge
from streams.engine.snapshot import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from schemas.identifiers import StreamKey
    from streams.engine.store import Cell, Store
    from streams.engine.windows import Window

_Name = tuple[str, str, str]
"""Version, variant and segment."""
RECENT = "recent-windows"
"""Kind of these cells."""


class Recent:
    """The windows of one model that a longer scale still needs; a window's ``length`` is in ms.

    Each is kept as long as the longest scale of its own streams reaches, so that a version without scales does not cost
    another its past.
    """

    def __init__(self, model: str, shard: str, length: int) -> None:
        """Nothing is known until ``load``."""
        self._model, self._shard, self._length = model, shard, length
        self._windows: deque[tuple[int, int, dict[_Name, tuple[str, NDArray[np.int64]]]]] = deque()
        self.loaded = False

    @property
    def kept(self) -> dict[int, int]:
        """The start of each window that is stored, and for how many windows: what the evaluator's head remembers for ``load``."""
        return {at: longest for at, longest, _ in self._windows if longest > 1}

    def load(self, store: Store, kept: Mapping[int, int]) -> None:
        """Read the windows that the head knows of; raises StateMissing, StateCorrupt or StateNewer."""
        wanted = [(RECENT, self._model, at) for at in sorted(kept)]
        found = store.cells([(self._shard, cell) for cell in wanted])
        for cell, data in zip(wanted, found, strict=True):
            where = f"{self._shard} {RECENT} at {cell[2]}"
            if data is None:
                raise StateMissing(f"{where}: listed and gone", RESTORE)
            entries = cells.decode(data, where)
            streams = {(e.version, e.variant, e.segment): (e.shape, snapshot.unpack_vector(e.vector)) for e in entries}
            self._windows.append((cell[2], kept[cell[2]], streams))
        self.loaded = True

    def add(self, window: Window, longest: int) -> tuple[list[tuple[Cell, bytes]], list[Cell]]:
        """Take the latest window in; returns what to write to the shard and what to drop from it.

        ``longest`` is the number of windows, this one included, that the longest scale of its streams adds up; with 1 it is
        not stored.
        """
        past = [(at, reach) for at, reach, _ in self._windows if at <= window.start - reach * self._length]
        dropped = [(RECENT, self._model, at) for at, reach in past if reach > 1]
        self._windows = deque(w for w in self._windows if w[0] > window.start - w[1] * self._length)
        streams = {(key.version, key.variant, key.segment): found for key, found in window.streams.items()}
        self._windows.append((window.start, longest, streams))
        if longest == 1:
            return [], dropped
        entries = [
            Entry(version, variant, shape, snapshot.pack_vector(vector), segment)
            for (version, variant, segment), (shape, vector) in streams.items()
        ]
        return [((RECENT, self._model, window.start), cells.encode(entries))], dropped

    def over(self, stream: StreamKey, scales: Sequence[int]) -> dict[int, NDArray[np.int64]]:
        """The stream's vectors over the last ``scales`` windows (ascending), by scale.

        A scale that holds no more windows with events than a shorter one is left out: it would be the same test again.
        Windows counted with another reference are not of this stream's distribution and end the look back.
        """
        latest, _, newest = self._windows[-1]
        shape, total = newest[stream.version, stream.variant, stream.segment]
        before = [(latest - at) // self._length for at, _, _ in self._windows]
        found = {1: total}
        index, held = len(self._windows) - 2, 1
        for scale in scales:
            used = held
            while index >= 0 and before[index] < scale:
                older = self._windows[index][2].get((stream.version, stream.variant, stream.segment))
                index -= 1
                if older is None:
                    continue
                if older[0] != shape:
                    index = -1
                    break
                total = merge([total, older[1]])
                held += 1
            if held > used:
                found[scale] = total
        return {scale: vector for scale, vector in found.items() if scale in scales}
