"""What a worker and a replay share: owned tasks and evaluators, from a batch of records to committed state and events.

The order that makes P1-P5 hold, per task: (1) decode; rejected records go to the dead letters at once; (2) fold and join;
(3) wait until the dead letters are acknowledged (R7); (4) one commit of offsets, state and outbox; (5) publish the outbox;
(6) the next commit removes what Kafka has acknowledged. A crash between any two steps repeats the later ones only.
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from schemas.errors import RESTORE, DeadLetterReason, PartitionCountChanged, StateMissing
from schemas.identifiers import model_tag, task_tag
from schemas.journal import ClockEntry, CommandEntry, Entry, StartEntry, to_event
from schemas.outbox import OutboxEvent
from streams.engine import snapshot
from streams.engine.columns import Rejected
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.evaluator import DRIFT_RESULTS, Evaluator
from streams.engine.evaluator_head import Cursors
from streams.engine.kernels.clock import NEVER
from streams.engine.shard import Shard
from streams.engine.store import ARRIVALS, EVERY, FEATURES, LABELS, PERFORMANCE
from streams.engine.task import Task
from streams.engine.task_head import Progress
from streams.engine.task_restore import restore
from streams.engine.task_streams import MAX_STREAMS
from streams.owned import OwnedEvaluator, OwnedTask, evaluator_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schemas.config import Config
    from schemas.control import Command
    from streams.engine.plan import Plan, References
    from streams.engine.publisher import Publisher
    from streams.engine.records import RecordBatch
    from streams.engine.store import Store

PREDICTIONS, FEATURE_EVENTS = "predictions", "features"
"""The two groups of co-partitioned topics: {predictions, labels} and {features}."""
_TIMED = 4096
"""Durations of commits that wait to be scraped; where nobody scrapes, the oldest are forgotten."""
_TOO_MANY = f"this partition has seen {MAX_STREAMS} versions and variants of the model; a version should change when the model does"


class Host:
    """The tasks and evaluators of one process. ``now`` is a monotonic clock in seconds, ``recorded`` the wall clock as text."""

    def __init__(
        self,
        config: Config,
        plans: Mapping[str, Plan],
        partitions: Mapping[str, int],
        store: Store,
        publisher: Publisher,
        references: References | None,
        now: Callable[[], float],
        recorded: Callable[[], str],
    ) -> None:
        """Own nothing yet; pins the number of partitions of each group.

        Raises PartitionCountChanged when a topic has another number of partitions than the state was made for.
        """
        self.config, self.plans, self.partitions, self.store = config, plans, partitions, store
        self._publisher, self._references, self._now, self._recorded = publisher, references, now, recorded
        self.token = uuid.uuid4().hex
        self._holds = 0
        self.tasks: dict[tuple[str, int], OwnedTask] = {}
        self.evaluators: dict[tuple[str, str], OwnedEvaluator] = {}
        topics = config.topics
        self.topics = {PREDICTIONS: (topics.predictions, topics.labels), FEATURE_EVENTS: (topics.features,)}
        self.group_of = {t: g for g, ts in self.topics.items() for t in ts if g in plans}
        self._decoders = {g: PredictionDecoder(p, g, references) for g, p in plans.items()}
        self._labels = LabelDecoder(plans[PREDICTIONS]) if PREDICTIONS in plans else None
        self._looked_at: dict[str, float] = {}
        self._unfinished: set[str] = set()
        self.commit_seconds: deque[float] = deque(maxlen=_TIMED)
        for group, count in partitions.items():
            pinned = store.pin_partitions(self.state_group(group), count)
            if pinned != count:
                what = f"topic {self.topics[group][0]} has {count} partitions, the state was made for {pinned}"
                remedy = (
                    "put the number back, or start a new group (set `group` in monitor.yaml) that reads from the start"
                )
                raise PartitionCountChanged(what, remedy)

    def state_group(self, group: str) -> str:
        """What tells this deployment's tasks of a topic group apart in the store."""
        return f"{self.config.group}.{group}"

    def shards(self, group: str) -> list[str]:
        """The names of all tasks' shards of a group, by partition."""
        return [task_tag(self.state_group(group), p) for p in range(self.partitions[group])]

    # -- ownership ----------------------------------------------------------------------------------------------------

    def claim(self, group: str, partition: int) -> OwnedTask:
        """Take over a task and the evaluators that live with it; returns it with the offsets to read from.

        Raises ConnectionProblem or a StateError.
        """
        name = task_tag(self.state_group(group), partition)
        shard = self._hold(name)
        plan, topics = self.plans[group], self.topics[group]
        labels = topics[1] if len(topics) > 1 else None
        if shard.body is None:
            task = Task(plan, name, topics[0], labels, self.partitions[group])
        else:
            task = restore(plan, name, topics, shard.body, self.store, self._references, self.partitions[group])
        owned = OwnedTask(group, partition, task, shard, committed_at=self._now())
        owned.note_committed()
        self._publish(shard, self._outbox(name))
        for model in plan.models:
            if evaluator_partition(model.name, self.partitions[group]) == partition:
                self._claim_evaluator(group, model.name)
        self.tasks[group, partition] = owned
        self._looked_at.pop(group, None)
        return owned

    def _claim_evaluator(self, group: str, name: str) -> None:
        model = self.plans[group].by_name[name]
        shard = self._hold(model_tag(self.config.group, name))
        if shard.body is None and self.store.starts(shard.name, DRIFT_RESULTS, name, 0, 1 << 62):
            what = f"{shard.name}: the results of evaluated windows are there, and the evaluator's head is gone"
            raise StateMissing(what, RESTORE)
        shards, topics = self.shards(group), self.config.topics
        evaluator = Evaluator(model, shards, self.config.group, topics, self._recorded, shard.body, self._references)
        self.evaluators[group, name] = OwnedEvaluator(group, evaluator, shard)
        self._publish(shard, self._outbox(shard.name))

    def _hold(self, name: str) -> Shard:
        """Claim a shard, with a token that no earlier claim had (``Shard`` says why)."""
        self._holds += 1
        return Shard(self.store, name, f"{self.token}.{self._holds}")

    def _outbox(self, shard: str) -> list[tuple[int, OutboxEvent]]:
        return [
            (n, snapshot.unpack(b"outb", data, OutboxEvent, f"{shard} outbox entry {n}"))
            for n, data in sorted(self.store.outbox(shard).items())
        ]

    def release(self, group: str, partition: int, *, commit: bool) -> None:
        """Give up a task, after a last commit if we may still make one."""
        owned = self.tasks.pop((group, partition), None)
        if owned is None:
            return
        mine = [
            k
            for k in self.evaluators
            if k[0] == group and evaluator_partition(k[1], self.partitions[group]) == partition
        ]
        try:
            if commit:
                self._publisher.poll()
                if owned.dirty and self._publisher.settled():
                    self.commit(owned)
        finally:  # an evaluator that stayed would be refused by its next owner's token at every turn
            for key in mine:
                del self.evaluators[key]

    # -- records ------------------------------------------------------------------------------------------------------

    def take(self, batch: RecordBatch) -> int:
        """Fold a batch into the tasks that own its partitions; returns how many records were new to them."""
        group = self.group_of[batch.topic]
        runs: list[tuple[OwnedTask, int, int]] = []
        for partition, first, last in batch.partitions():
            owned = self.tasks.get((group, partition))
            if owned is None:
                continue
            begin = first + int(np.searchsorted(batch.offset[first:last], owned.task.offsets[batch.topic]))
            if begin < last:
                runs.append((owned, begin, last))
        if not runs:
            return 0
        if len(runs) == 1 and runs[0][1:] != (0, len(batch)):
            owned, first, last = runs[0]
            batch, runs = batch.part(first, last), [(owned, 0, last - first)]
        self._fold(group, batch, runs)
        return sum(last - first for _, first, last in runs)

    def _fold(self, group: str, batch: RecordBatch, runs: list[tuple[OwnedTask, int, int]]) -> None:
        is_label = batch.topic == self.config.topics.labels and self._labels is not None
        if is_label and self._labels is not None:
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
        """The partition of ``topic`` is caught up and silent at ``time_ms``: let its clock run on if a pane can close by it.

        Returns whether it mattered; then it is journaled.
        """
        owned = self.tasks[group, partition]
        task = owned.task
        before = task.times()
        after = task.times(time_ms, NEVER) if topic == task.topics[0] else task.times(NEVER, time_ms)
        if not task.crosses_a_pane(before, after):
            return False
        task.clock(topic, time_ms)
        number = task.next_journal_number()
        offsets = dict(task.offsets)
        entry = ClockEntry(
            task=task.shard,
            group=group,
            partition=partition,
            topic=topic,
            time_ms=time_ms,
            offsets=offsets,
            number=number,
        )
        self._journal(owned, entry)
        return True

    def _journal(self, owned: OwnedTask, entry: Entry) -> None:
        owned.task.entries.append((entry.number, to_event(entry, self.config.topics.journal)))
        owned.dirty = True

    def declare_starts(self, group: str) -> None:
        """Declare the models that our tasks were first to see, and start the ones that others declared (R2)."""
        declared = dict(self.store.model_starts(self.state_group(group)))
        mine = [o for (g, _), o in self.tasks.items() if g == group and not o.shard.in_doubt]
        for owned in mine:
            for name, event_time, record_time in owned.task.starts_to_declare(declared):
                declared[name] = self.store.declare_start(self.state_group(group), name, event_time, record_time)
        for owned in mine:
            for name, (event_time, record_time) in sorted(declared.items()):
                self.start(owned, name, event_time, record_time)

    def start(self, owned: OwnedTask, model: str, event_time: int, record_time: int) -> None:
        """Let a model run from its start in a task that never saw it; journaled when it was news."""
        task = owned.task
        if model not in task.plan.by_name or not task.start(model, event_time, record_time):
            return
        entry = StartEntry(
            task=task.shard,
            group=owned.group,
            partition=owned.partition,
            model=model,
            event_time=event_time,
            record_time=record_time,
            offsets=dict(task.offsets),
            number=task.next_journal_number(),
        )
        self._journal(owned, entry)

    # -- commits ------------------------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Commit what is due, let evaluators decide, publish; True when there is more to decide at once."""
        interval = self.config.commit_interval / 1000
        now = self._now()
        self._publisher.poll()
        moved = self._unfinished  # a backlog of windows does not wait for the next commit
        for group in self.plans:
            if now - self._looked_at.get(group, -interval) >= interval and any(g == group for g, _ in self.tasks):
                self.declare_starts(group)
                self._look_at_cursors(group)
                self._looked_at[group] = now
                moved.add(group)
        for owned in list(self.tasks.values()):
            due = now - owned.committed_at >= interval
            if not (owned.dirty or owned.shard.in_doubt or (due and owned.shard.acknowledged)):
                continue
            if (due or owned.shard.in_doubt or owned.task.ripe()) and self._publisher.settled():
                self.commit(owned)
                moved.add(owned.group)
        self._unfinished = {group for group in sorted(moved) if self._evaluate(group)}
        return bool(self._unfinished)

    def commit(self, owned: OwnedTask) -> None:
        """One atomic commit of a task. Raises OwnershipLost, CommitConflict or ConnectionProblem."""
        begin = self._now()
        self._drop_passed(owned)
        owned.shard.commit(owned.task.stage)
        entries = owned.task.committed()
        owned.dirty = False
        owned.committed_at = self._now()
        self.commit_seconds.append(owned.committed_at - begin)
        owned.note_committed()
        self._publish(owned.shard, entries)

    def _look_at_cursors(self, group: str) -> None:
        """Learn how far the evaluators are, wherever they run, so that tasks can delete what everyone has passed (R12)."""
        models = self.plans[group].models
        shards = [model_tag(self.config.group, m.name) for m in models]
        read_by: list[int] = []
        for model, shard, data in zip(models, shards, self.store.progress(shards), strict=True):
            if data is None:
                continue
            cursors = snapshot.unpack(b"curs", data, Cursors, f"{shard} progress")
            read_by += [cursors.sequential] if cursors.sequential >= 0 else []
            for owned in self.tasks.values():
                if owned.group == group:
                    passed = owned.task.sealed_before(model, cursors.final)
                    read = (
                        (FEATURES, cursors.drift),
                        (ARRIVALS, cursors.sequential),
                        (PERFORMANCE, passed),
                        (LABELS, cursors.sequential),
                    )
                    owned.passed.update({(kind, model.name): at for kind, at in read})
        for owned in self.tasks.values():
            if owned.group == group and read_by:  # a model that starts later finds those of a horizon
                owned.passed[LABELS, EVERY] = min(read_by) - owned.task.join.longest

    def _drop_passed(self, owned: OwnedTask) -> None:
        """Delete the panes that every reader has passed."""
        if owned.shard.in_doubt:
            return
        for key, read in owned.passed.items():
            passed = min(read, owned.task.closed_before(*key))  # labels may be older than the first window that is read
            if passed > owned.dropped.get(key, 0):
                for at in self.store.starts(owned.shard.name, *key, owned.dropped.get(key, 0), passed):
                    owned.task.drop(*key, at)
                owned.dropped[key] = passed

    def _evaluate(self, group: str) -> bool:
        mine = [e for e in self.evaluators.values() if e.group == group]
        if not mine:
            return False
        progress = self.progress(group)
        more = False
        for owned in mine:
            if not owned.shard.in_doubt:
                more |= owned.evaluator.run(self.store, progress)
            if owned.evaluator.changed or owned.shard.in_doubt or owned.shard.acknowledged:
                self.commit_evaluator(owned)
        return more

    def progress(self, group: str) -> list[Progress | None]:
        """The committed progress of all tasks of a group."""
        shards = self.shards(group)
        return [
            None if data is None else snapshot.unpack(b"prog", data, Progress, f"{shard} progress")
            for shard, data in zip(shards, self.store.progress(shards), strict=True)
        ]

    def commit_evaluator(self, owned: OwnedEvaluator) -> None:
        """Commit an evaluator's decisions, then publish them."""
        owned.shard.commit(owned.evaluator.stage)
        self._publish(owned.shard, owned.evaluator.committed())

    def command(self, group: str, command: Command, partition: int, offset: int) -> bool:
        """Let a command from the control topic take effect at its model's evaluator, if it is ours and has not seen it.

        Returns False when the evaluator's last commit is in doubt: ask again then.
        """
        owned = self.evaluators.get((group, command.model))
        if owned is None or offset < owned.evaluator.head.control.get(partition, 0):
            return True
        if owned.shard.in_doubt:
            return False
        head = owned.evaluator.head
        c = head.cursors
        cursors = (c.drift, c.performance, c.sequential, c.retrain, c.final)
        applied = owned.evaluator.command(command, partition, offset)
        entry = CommandEntry(
            model=command.model,
            group=group,
            partition=partition,
            offset=offset,
            cursors=cursors,
            command=msgspec.to_builtins(command),
            applied=applied,
            number=head.next_event,
        )
        owned.evaluator.emit(to_event(entry, self.config.topics.journal))
        self.commit_evaluator(owned)
        return True

    def control_offsets(self) -> dict[int, int]:
        """Where the control topic must be read from, by partition, so that no evaluator of ours misses a command."""
        heads = [e.evaluator.head.control for e in self.evaluators.values()]
        partitions = {p for head in heads for p in head}
        return {p: min(head.get(p, 0) for head in heads) for p in partitions}

    def _publish(self, shard: Shard, events: list[tuple[int, OutboxEvent]]) -> None:
        for number, event in events:
            self._publisher.publish(event, lambda number=number: shard.acknowledged.append(number))  # type: ignore[misc]
