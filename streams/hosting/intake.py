"""Records let in to our tasks, and what they are told that is in no record: silence and starts, journaled before a commit (R3).

A task that was taken over first obeys what its journal says beyond its state: records are let in up to the offsets that an
entry names, and what is read behind them is held until the entry has taken effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import ConfigError, DeadLetterReason
from schemas.journal import ClockEntry, SkipEntry, StartEntry
from streams.engine.columns import Rejected
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.fence import offsets_of
from streams.engine.kernels.clock import NEVER
from streams.engine.task_streams import MAX_STREAMS
from streams.hosting.deployment import PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.journal import Entry
    from streams.engine.plan import References
    from streams.engine.publisher import Publisher
    from streams.engine.records import RecordBatch
    from streams.engine.store import Store
    from streams.hosting.commits import Commits
    from streams.hosting.deployment import Deployment
    from streams.owned import OwnedTask

_TOO_MANY = f"this partition has seen {MAX_STREAMS} versions and variants of the model; a version should change when the model does"


class Intake:
    """What goes into our tasks. Rejected records go to the dead letters at once."""

    def __init__(
        self,
        deployment: Deployment,
        tasks: Mapping[tuple[str, int], OwnedTask],
        store: Store,
        publisher: Publisher,
        references: References | None,
        commits: Commits,
    ) -> None:
        """Nothing read yet."""
        self._deployment, self._tasks, self._store, self._publisher = deployment, tasks, store, publisher
        self._commits = commits
        self._decoders = {g: PredictionDecoder(p, g, references) for g, p in deployment.plans.items()}
        self._labels = LabelDecoder(deployment.plans[PREDICTIONS]) if PREDICTIONS in deployment.plans else None

    def take(self, batch: RecordBatch) -> int:
        """As ``Host.take``."""
        group, new = self._deployment.group_of[batch.topic], 0
        mine = [self._tasks[group, p] for p, _, _ in batch.partitions() if (group, p) in self._tasks]
        for owned in mine:
            if owned.shard.in_doubt:  # what is folded beside it would count as committed when its answer comes
                self._commits.commit(owned)
            new += self._take_held(owned)  # left there when a fold could not be done
        new += self._take(batch)
        for owned in mine:
            if owned.shard.pending:
                new += self.obey(owned)
        return new

    def _take_held(self, owned: OwnedTask) -> int:
        """Fold what was held back, as far as it is let in; what cannot be folded now stays held."""
        held, owned.held = owned.held, []
        new = 0
        for i, batch in enumerate(held):
            try:
                new += self._take(batch)
            except BaseException:
                owned.held = held[i:] + owned.held
                raise
        return new

    def _take(self, batch: RecordBatch) -> int:
        group = self._deployment.group_of[batch.topic]
        runs: list[tuple[OwnedTask, int, int]] = []
        held: list[tuple[OwnedTask, RecordBatch]] = []
        for partition, first, last in batch.partitions():
            owned = self._tasks.get((group, partition))
            if owned is None:
                continue
            offsets = batch.offset[first:last]
            begin = first + int(np.searchsorted(offsets, owned.task.offsets[batch.topic]))
            end = last
            if owned.shard.next_entry is not None:
                entry = owned.shard.next_entry
                end = first + int(np.searchsorted(offsets, _stop(entry, batch.topic)))
                if end < last:
                    held.append((owned, batch.part(end, last)))
            if begin < end:
                runs.append((owned, begin, end))
        if len(runs) == 1 and runs[0][1:] != (0, len(batch)):
            owned, first, last = runs[0]
            batch, runs = batch.part(first, last), [(owned, 0, last - first)]
        if runs:
            self._fold(group, batch, runs)
        for owned, part in held:  # only now: a fold that could not be done is tried again with the whole batch
            owned.held.append(part)
        return sum(last - first for _, first, last in runs)

    def obey(self, owned: OwnedTask) -> int:
        """Let the next entries of the journal take effect, as far as all records before them are counted."""
        task, shard, new = owned.task, owned.shard, 0
        while (entry := shard.next_entry) is not None:
            _refuse_foreign(entry, task.topics)
            at = {topic: max(task.offsets[topic], owned.begins.get(topic, 0)) for topic in task.topics}
            if any(at[topic] < _stop(entry, topic) for topic in task.topics):
                break
            match entry:
                case ClockEntry():
                    task.clock(entry.topic, entry.time_ms)
                case StartEntry():
                    if entry.model in task.plan.by_name:
                        task.start(entry.model, entry.event_time, entry.record_time)
                case SkipEntry():
                    # On empty state what retention took since is gone, too, and nobody could skip it.
                    first = owned.begins.get(entry.topic, 0) if shard.body is None else 0
                    task.offsets[entry.topic] = max(entry.offset, first)
            shard.obeyed()
            owned.dirty = True
            new += self._take_held(owned)
        return new

    def begin_at(self, owned: OwnedTask, begins: Mapping[str, int]) -> None:
        """As ``Host.begin_at``."""
        owned.begins.update(begins)
        self.obey(owned)

    def blocked(self) -> set[tuple[str, int]]:
        """As ``Host.blocked``."""
        return {(batch.topic, p) for (_, p), owned in self._tasks.items() for batch in owned.held}

    def _fold(self, group: str, batch: RecordBatch, runs: list[tuple[OwnedTask, int, int]]) -> None:
        if self._labels is not None and batch.topic == self._deployment.config.topics.labels:
            labels = self._labels.decode(batch.values, batch.timestamp_ms)
            rejected = labels.rejected
            for owned, first, last in runs:
                owned.task.labels(labels, first, last, batch.offset, batch.timestamp_ms)
        else:
            columns = self._decoders[group].decode(batch.values)
            rejected = columns.rejected
            for owned, first, last in runs:
                refused = owned.task.predictions(columns, first, last, batch.offset, batch.timestamp_ms)
                rejected = rejected + [Rejected(row, DeadLetterReason.TOO_MANY_STREAMS, _TOO_MANY) for row in refused]
        for owned, _, _ in runs:
            owned.dirty = True
        for bad in rejected:
            if any(first <= bad.row < last for _, first, last in runs):
                self._publisher.dead_letter(batch, bad)

    def silent(self, group: str, partition: int, topic: str, time_ms: int) -> bool:
        """As ``Host.silent``."""
        owned = self._tasks[group, partition]
        task = owned.task
        if not owned.shard.settled:
            return False
        before = task.times()
        after = task.times(time_ms, NEVER) if topic == task.topics[0] else task.times(NEVER, time_ms)
        if not task.crosses_a_pane(before, after):
            return False
        task.clock(topic, time_ms)
        owned.shard.note(ClockEntry(topic=topic, time_ms=time_ms, offsets=dict(task.offsets)))
        owned.dirty = True
        return True

    def declare_starts(self, group: str) -> None:
        """As ``Host.declare_starts``.

        Not in a task that reads again what an earlier owner had read: it may have seen the model there itself.
        """
        state_group = self._deployment.state_group(group)
        declared = dict(self._store.model_starts(state_group))
        mine = [o for (g, _), o in self._tasks.items() if g == group and o.shard.settled and not o.behind]
        for owned in mine:
            for name, event_time, record_time in owned.task.starts_to_declare(declared):
                declared[name] = self._store.declare_start(state_group, name, event_time, record_time)
        for owned in mine:
            for name, (event_time, record_time) in sorted(declared.items()):
                _start(owned, name, event_time, record_time)


def _start(owned: OwnedTask, model: str, event_time: int, record_time: int) -> None:
    """Let a model run from its start in a task that never saw it; journaled when it was news."""
    task = owned.task
    if model not in task.plan.by_name or not task.start(model, event_time, record_time):
        return
    offsets = dict(task.offsets)
    owned.shard.note(StartEntry(model=model, event_time=event_time, record_time=record_time, offsets=offsets))
    owned.dirty = True


def _refuse_foreign(entry: Entry, topics: Sequence[str]) -> None:
    """Raise ConfigError when an entry names a topic that the task does not read: it cannot tell where it took effect."""
    named = {*offsets_of(entry), *([entry.topic] if isinstance(entry, ClockEntry | SkipEntry) else [])}
    if foreign := sorted(named.difference(topics)):
        what = f"the journal speaks of topic {foreign[0]!r}, the configuration of {', '.join(topics)}"
        raise ConfigError(what, "set topics in monitor.yaml as they were when the journal was written")


def _stop(entry: Entry, topic: str) -> int:
    """The first offset of a topic that an entry of the journal does not let in before it has taken effect."""
    return offsets_of(entry).get(topic, 0)
