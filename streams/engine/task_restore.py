"""A task as its shard was last committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import RESTORE, Outcome, StateMismatch, StateMissing
from streams.engine import cells, snapshot
from streams.engine.kernels.clock import NEVER
from streams.engine.store import LABELS
from streams.engine.task import Task
from streams.engine.task_head import HEAD, TaskHead

if TYPE_CHECKING:
    from streams.engine.plan import Plan, References
    from streams.engine.store import Cell, Store
    from streams.engine.task_head import ModelClock


def restore(
    plan: Plan,
    shard: str,
    topics: tuple[str, ...],
    body: bytes,
    store: Store,
    references: References | None,
    partitions: int = 1,
) -> Task:
    """The task as its shard was last committed.

    Raises StateCorrupt, StateNewer, StateMissing when something that was committed is gone, or StateMismatch when panes were
    laid out by another reference, or cut to other lengths.
    """
    task = Task(plan, shard, topics[0], topics[1] if len(topics) > 1 else None, partitions)
    head = snapshot.unpack(HEAD, body, TaskHead, f"{shard} head")
    task.offsets.update({t: o for t, o in head.offsets.items() if t in task.offsets})
    task.record_time.update({t: o for t, o in head.record_time.items() if t in task.record_time})
    task.closed.update({(kind, name): n for kind, by_model in head.closed.items() for name, n in by_model.items()})
    task.dropped = {(kind, name): at for kind, by_model in head.dropped.items() for name, at in by_model.items()}
    task.label_clock[-1], task.label_heard[-1] = head.any_clock, head.any_heard
    for name, clock in head.models.items():
        model = plan.by_name.get(name)
        if model is None:
            task.parked[name] = clock  # no longer configured: it stays as it is, and goes on when it is put back
            task.parked_open[name] = {kind: found[name] for kind, found in head.open.items() if name in found}
            continue
        model.refuse_other_times(clock.times, f"{shard} head")
        if clock.classes != model.classes:
            what = f"{shard} head: the outcomes of {name!r} were counted for the classes {clock.classes}, now {model.classes}"
            raise StateMismatch(what, "put task and positive_class back, or monitor under a new model name or group")
        i = model.index
        task.watermark[i], task.heard[i] = clock.watermark, clock.heard
        task.label_clock[i], task.label_heard[i] = clock.label_clock, clock.label_heard
        task.borrowed[i], task.label_borrowed[i] = clock.borrowed
        if clock.begun[0] != NEVER:
            task.begun[i] = clock.begun
        task.first[i], task.unknown_features[i] = clock.first, clock.unknown_features
        task.join.predictions.counts[:, i] = clock.join
        task.join.floor[i] = clock.floor
        _load_streams(task, i, clock, references)
    for topic, counts in head.ledger.items():
        if topic in task.ledger:
            task.ledger[topic].update(counts)
    if len(topics) > 1:
        task.join.know(head.truths)
        task.join.load(store.segments(shard), shard)
        labels = task.ledger[topics[1]]
        task.join.orphans = labels.pop(Outcome.ORPHAN, 0)
        task.join.remembered = labels.pop(Outcome.APPLIED, 0) + task.join.orphans + task.join.waiting
    _load_open(task, store)
    _check_complete(head, task, store)
    task.age()
    return task


def _load_streams(task: Task, m: int, clock: ModelClock, references: References | None) -> None:
    """Number the streams and cohorts of a model as they were."""
    model = task.plan.models[m]
    streams = []
    for version, variant, shape, _ in clock.streams:
        stream = model.stream(version, variant, references)
        if model.stream_shapes[stream].hash != shape:
            what = (
                f"{task.shard}: the panes of model {model.name!r} version {version!r} were made with another reference"
            )
            remedy = (
                f"put back the reference with shape {shape} (`driftline reference publish`, if it was published), or monitor under "
                "a new model name or group"
            )
            raise StateMismatch(what, remedy)
        streams.append(stream)
    names = [(version, variant, segment) for version, variant, _, segment in clock.streams]
    task.streams.load(m, names, streams, clock.cohorts, f"{task.shard} head")


def _check_complete(head: TaskHead, task: Task, store: Store) -> None:
    """Raise StateMissing unless everything is there that the head says was committed with it."""
    found_bytes = task.join.parked | task.join.segments
    for segment, committed in head.segments.items():
        there = found_bytes.get(segment, 0)
        if there != committed:
            what = f"{task.shard}: segment {segment} of the join log had {committed} bytes, {there} are there"
            raise StateMissing(what, RESTORE)
    for kind, by_model in head.open.items():
        for name, (first, count) in by_model.items():
            if name in task.parked:
                continue
            found = len(store.starts(task.shard, kind, name, first, 1 << 62))
            if found != count:
                what = f"{task.shard} {kind} of {name}: {count} open panes were committed, {found} are there"
                raise StateMissing(what, RESTORE)
    for (kind, name), count in task.closed.items():
        if name in task.parked:
            continue
        first, _ = head.open.get(kind, {}).get(name, (1 << 62, 0))
        found = len(store.starts(task.shard, kind, name, 0, first))
        if found != count:
            what = f"{task.shard} {kind} of {name}: {count} closed panes were committed, {found} are there"
            raise StateMissing(what, RESTORE)


def _load_open(task: Task, store: Store) -> None:
    """Load the cells that the clocks have not passed."""
    wanted: list[tuple[str, Cell]] = []
    models: list[int] = []
    for kind, final in task.final_before().items():
        for m, last in enumerate(final.tolist()):
            starts = store.starts(task.shard, kind, task.name_of(m), max(0, last + 1), 1 << 62)
            wanted.extend((task.shard, (kind, task.name_of(m), at)) for at in starts)
            models.extend([m] * len(starts))
    for m, (shard, (kind, name, at)), data in zip(models, wanted, store.cells(wanted), strict=True):
        where = f"{shard} {kind} of {name} at {at}"
        if data is None:
            raise StateMissing(f"{where}: listed and gone", RESTORE)
        for entry in cells.decode(data, where):
            try:
                s = 0 if kind == LABELS else task.streams.number(m, (entry.version, entry.variant, entry.segment))
            except (
                ValueError
            ) as error:  # one that was committed after the head was read, or a head that went back alone
                raise StateMissing(f"{where}: the head knows {error}", RESTORE) from error
            task.open[kind].put(m, at, s, snapshot.unpack_vector(entry.vector), where)
