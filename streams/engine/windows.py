"""Closed cells of all tasks, merged into windows, in order: what evaluators read.

A window is read once every task's clock has passed its end (and the slack that its family waits for), so its panes are final
in every task. Windows without a single event are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.errors import RESTORE, StateMismatch, StateMissing
from schemas.identifiers import StreamKey
from streams.engine import cells, snapshot
from streams.engine.shape import NO_OFFSET, merge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detectors.reference import Reference
    from streams.engine.store import Cell, Store

MAX_WINDOWS = 64
"""Windows that one pass reads at most: a backlog is worked off in passes, each with its commit."""


@dataclass(slots=True)
class Window:
    """One merged window: per stream its shape hash and summed vector, and the offsets it came from, by task.

    ``references`` says what each stream was counted against; the evaluator fills it in.
    """

    start: int
    end: int
    streams: dict[StreamKey, tuple[str, NDArray[np.int64]]] = field(default_factory=dict)
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    references: dict[StreamKey, Reference] = field(default_factory=dict)


def closed_windows(
    store: Store, shards: Sequence[str], kind: str, model: str, first: int, last: int, length: int
) -> Iterator[Window]:
    """The non-empty windows with first <= start and end <= last, ascending, at most ``MAX_WINDOWS``; times in ms.

    Raises StateMissing when a listed pane is gone, StateMismatch when tasks used different references for one stream.
    """
    by_window: dict[int, list[tuple[int, Cell]]] = {}
    for task, shard in enumerate(shards):
        for at in store.starts(shard, kind, model, first, last):
            begin = at // length * length
            if begin >= first and begin + length <= last:
                by_window.setdefault(begin, []).append((task, (kind, model, at)))
    for begin in sorted(by_window)[:MAX_WINDOWS]:
        members = by_window[begin]
        yield _merged(store, shards, members, model, Window(begin, begin + length))


def _merged(store: Store, shards: Sequence[str], members: list[tuple[int, Cell]], model: str, window: Window) -> Window:
    parts: dict[StreamKey, list[NDArray[np.int64]]] = {}
    shapes: dict[StreamKey, str] = {}
    found = store.cells([(shards[task], cell) for task, cell in members])
    for (task, cell), data in zip(members, found, strict=True):
        where = f"{shards[task]} {cell[0]} of {model} at {cell[2]}"
        if data is None:
            raise StateMissing(f"{where}: listed and gone", RESTORE)
        for entry in cells.decode(data, where):
            stream = StreamKey(model, entry.version, entry.variant, entry.segment)
            if shapes.setdefault(stream, entry.shape) != entry.shape:
                what = f"{where}: version {entry.version!r} was counted with two different references"
                remedy = "publish a version's reference before its first prediction, or start a new group"
                raise StateMismatch(what, remedy)
            vector = snapshot.unpack_vector(entry.vector)
            others = parts.setdefault(stream, [])
            if others and len(others[0]) != len(vector):
                what = f"{where}: {len(vector)} counts, {len(others[0])} in the other panes of its window"
                raise StateMismatch(what, "start a new group: another version of driftline wrote some of them")
            others.append(vector)
            low, high = window.offsets.get(task, (NO_OFFSET, -1))
            window.offsets[task] = (min(low, int(vector[1])), max(high, int(vector[2])))
    for stream in sorted(parts):
        window.streams[stream] = (shapes[stream], merge(parts[stream]))
    return window
