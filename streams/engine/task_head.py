"""The small state of a task, as it is written with every commit, and what other shards read of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.engine.kernels.clock import NEVER

if TYPE_CHECKING:
    from streams.engine.task import Task

HEAD = b"task"
"""The kind of a task's snapshot."""


class ModelClock(msgspec.Struct):
    """What a task keeps of one model besides its panes. Times in ms, ``NEVER`` before the first record."""

    watermark: int
    heard: int
    label_clock: int
    label_heard: int
    borrowed: tuple[int, int]
    begun: tuple[int, int]
    first: int
    unknown_features: int
    streams: list[tuple[str, str, str]]
    classes: tuple[str, ...]
    times: dict[str, int]


class TaskHead(msgspec.Struct):
    """The small state of a task, written whole with every commit.

    ``segments`` and ``open`` say what else must be there (P5): the names of the join log's segments, and of each kind of cell
    and model how early the earliest open cell starts and how many there are.
    """

    offsets: dict[str, int]
    record_time: dict[str, int]
    models: dict[str, ModelClock]
    any_clock: int
    any_heard: int
    ledger: dict[str, dict[str, int]]
    journal: int
    segments: list[str]
    open: dict[str, dict[str, tuple[int, int]]]


class Progress(msgspec.Struct, array_like=True):
    """What evaluators read of a task: per model (watermark, label clock, start of the first pane)."""

    models: dict[str, tuple[int, int, int]]
    waiting: int = 0


def head_of(task: Task) -> TaskHead:
    """The small state of a task as it stands."""
    models = dict(task.parked)
    for m in task.plan.models:
        i = m.index
        models[m.name] = ModelClock(
            int(task.watermark[i]),
            int(task.heard[i]),
            int(task.label_clock[i]),
            int(task.label_heard[i]),
            (int(task.borrowed[i]), int(task.label_borrowed[i])),
            task.begun.get(i, (NEVER, NEVER)),
            int(task.first[i]),
            int(task.unknown_features[i]),
            [(*n, s.hash) for n, s in zip(task.streams.names[i], task.streams.shapes[i], strict=True)],
            m.classes,
            m.times,
        )
    ledger = task.outcomes()
    return TaskHead(
        dict(task.offsets),
        dict(task.record_time),
        models,
        int(task.label_clock[-1]),
        int(task.label_heard[-1]),
        ledger,
        task.journal,
        sorted(task.join.segments),
        _open_cells(task),
    )


def _open_cells(task: Task) -> dict[str, dict[str, tuple[int, int]]]:
    """What stays open once the ripe cells are closed: they are a prefix, so all that start later are open."""
    ripe = set(task.ripe())
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for kind, group in task.open.items():
        for m, at in group.open():
            if (kind, m, at) not in ripe:
                by_model = found.setdefault(kind, {})
                first, count = by_model.get(task.plan.models[m].name, (at, 0))
                by_model[task.plan.models[m].name] = min(first, at), count + 1
    return found
