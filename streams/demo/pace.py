"""Waiting until driftline has nothing left to do: the story goes by committed progress, never by the wall clock.

So the story is the same on a fast and on a slow machine; only its length differs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from schemas.errors import RetryLater
from schemas.identifiers import CONTROL
from streams.demo.service import MODEL
from streams.engine import snapshot
from streams.engine.evaluator import frontier
from streams.engine.evaluator_head import EvaluatorHead
from streams.engine.kernels.clock import NEVER
from streams.engine.task_head import Progress, TaskHead
from streams.stored import evaluator_shard, stored_groups

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.config import Config
    from streams.demo.stage import Stage
    from streams.engine.store import Store

PATIENCE_S = 240.0
"""How long one slice may take. The first one waits for the consumer group and, on a new installation, for the compiler."""
_LOOK_AGAIN_S = 0.05


def settle(stage: Stage, control_ends: dict[int, int], looked: Callable[[], None]) -> None:
    """Return when all that was produced is committed, decided and published; ``looked`` is called while waiting.

    Raises what ended the worker, or RetryLater after ``PATIENCE_S``.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (left := unfinished(stage.config, stage.store, stage.ends, control_ends)) is not None:
        if (error := stage.problem()) is not None:
            raise error
        if time.monotonic() > deadline:
            what = f"the worker did not finish within {PATIENCE_S:.0f} s: {left}"
            raise RetryLater(what, "try again on a machine that is less busy")
        looked()
        time.sleep(_LOOK_AGAIN_S)


def unfinished(
    config: Config, store: Store, ends: dict[tuple[str, int], int], control_ends: dict[int, int]
) -> str | None:
    """The first thing that is not done yet, in words; None when everything is."""
    groups = list(stored_groups(config, store))
    if not groups:
        return "no task has begun"
    shards, topics = groups[0].shards, groups[0].topics
    for partition, shard in enumerate(shards):
        body = store.peek(shard).body
        read = {} if body is None else snapshot.unpack(b"task", body, TaskHead, shard).offsets
        for topic in topics:
            if read.get(topic, 0) < ends.get((topic, partition), 0):
                return f"{topic}/{partition} is read up to {read.get(topic, 0)} of {ends[topic, partition]}"
        if store.outbox(shard):
            return f"events of {shard} wait to be published"
    shard = evaluator_shard(config, MODEL)
    body = store.peek(shard).body
    head = EvaluatorHead() if body is None else snapshot.unpack(b"eval", body, EvaluatorHead, shard)
    for partition, end in control_ends.items():
        if end and head.control.get(partition, 0) < end:
            return f"{CONTROL}/{partition} is obeyed up to {head.control.get(partition, 0)} of {end}"
    progress = [
        None if data is None else snapshot.unpack(b"prog", data, Progress, s)
        for s, data in zip(shards, store.progress(shards), strict=True)
    ]
    if (behind := undecided(config, head, progress)) is not None:
        return behind
    return "events wait to be published" if store.outbox(shard) else None


def undecided(config: Config, head: EvaluatorHead, progress: list[Progress | None]) -> str | None:
    """The first family whose cursor is behind what the tasks' clocks allow; every window of the story has events."""
    at = frontier(MODEL, progress)
    model = config.models[MODEL]
    size, pane, lateness = model.windows.size, model.windows.pane, model.windows.lateness
    if at is None:
        return "a partition has seen no prediction yet"
    first = at.first // size * size
    if at.watermark < first + size + lateness:
        return None
    allowed = {"drift": (at.watermark - lateness) // size * size}
    if at.labels != NEVER:
        allowed["sequential"] = (at.labels - lateness) // pane * pane
        allowed["performance"] = (at.labels - lateness - model.labels.maturity) // size * size
    for family, until in allowed.items():
        if until > first and getattr(head.cursors, family) < until:
            return f"{family} is decided up to {getattr(head.cursors, family)} of {until}"
    return None
