"""The small state of a task, as it is written with every commit, and what other shards read of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from streams.engine.kernels.clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    streams: list[tuple[str, str, str, str]]
    classes: tuple[str, ...]
    times: dict[str, int]
    join: list[int]
    floor: int
    cohorts: bytes = b""


class TaskHead(msgspec.Struct):
    """The small state of a task, written whole with every commit.

    ``truths`` are the words of labels that have a code in the join, in order, each with 1 where it is a number.
    ``segments`` and ``open`` say what else must be there (P5): the join log's segments with their bytes, and of each kind of cell
    and model how early the earliest open cell starts, how many are open, and how many are closed. ``dropped`` says before which start
    closed cells are deleted.
    """

    offsets: dict[str, int]
    record_time: dict[str, int]
    models: dict[str, ModelClock]
    any_clock: int
    any_heard: int
    ledger: dict[str, dict[str, int]]
    truths: list[tuple[int, int]]
    segments: dict[str, int]
    open: dict[str, dict[str, tuple[int, int]]]
    closed: dict[str, dict[str, int]]
    dropped: dict[str, dict[str, int]]


class Progress(msgspec.Struct, array_like=True):
    """What evaluators read of a task: per model (watermark, label clock, start of the first pane)."""

    models: dict[str, tuple[int, int, int]]
    waiting: int = 0
    dropped: dict[str, int] = {}
    """By "kind model": closed cells that start before this are deleted."""


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
            [(*n[:2], s.hash, n[2]) for n, s in zip(task.streams.names[i], task.streams.shapes[i], strict=True)],
            m.classes,
            m.times,
            task.join.predictions.counts[:, i].tolist(),
            int(task.join.floor[i]),
            task.streams.cohorts(i),
        )
    ledger = task.outcomes()
    return TaskHead(
        dict(task.offsets),
        dict(task.record_time),
        models,
        int(task.label_clock[-1]),
        int(task.label_heard[-1]),
        ledger,
        task.join.coded(),
        dict(sorted((task.join.parked | task.join.segments).items())),
        _open_cells(task),
        _by_kind(task.will_stand()),
        _by_kind(task.dropped),
    )


def _by_kind(found: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (kind, model), number in sorted(found.items()):
        nested.setdefault(kind, {})[model] = number
    return nested


def _open_cells(task: Task) -> dict[str, dict[str, tuple[int, int]]]:
    """What stays open once the ripe cells are closed: they are a prefix, so all that start later are open."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for name, open_ in task.parked_open.items():
        for kind, extent in open_.items():
            found.setdefault(kind, {})[name] = extent
    for kind, final in task.final_before().items():
        group = task.open[kind]
        gone = Counter(m for m, _ in group.ripe(final))
        for m, (oldest, count) in group.extent().items():
            if count > gone[m]:
                first = group.first_after(m, int(final[m])) if gone[m] else oldest
                found.setdefault(kind, {})[task.name_of(m)] = first, count - gone[m]
    return found
