"""What a worker and a replay share: owned tasks and evaluators, from a batch of records to committed state and events.

The order that makes P1-P5 hold, per task: (1) decode; rejected records go to the dead letters at once; (2) fold and join;
(3) wait until the dead letters (R7) and what was journaled (R3) are acknowledged; (4) one commit of offsets, state and outbox;
(5) publish the outbox; (6) the next commit removes what Kafka has acknowledged. A crash between any two steps repeats the later
ones only. A task or evaluator that was taken over first obeys what its journal says beyond its state: records are let in up to the
offsets that an entry names, decisions up to the cursors that a command names.
"""

from __future__ import annotations

import uuid
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from schemas.control import Command
from schemas.errors import OTHER_COUNT, ConfigError, DeadLetterReason, OwnershipLost, PartitionCountChanged, StateError
from schemas.identifiers import model_tag, task_tag
from schemas.journal import ClockEntry, CommandEntry, DecidedEntry, SkipEntry, StartEntry
from schemas.outbox import OutboxEvent
from streams.engine import snapshot
from streams.engine.columns import Rejected
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.evaluator import Evaluator
from streams.engine.evaluator_head import Cursors
from streams.engine.kernels.clock import NEVER
from streams.engine.shard import claim
from streams.engine.store import ARRIVALS, EVERY, FEATURES, LABELS, PERFORMANCE
from streams.engine.task import Task
from streams.engine.task_head import Progress
from streams.engine.task_restore import restore
from streams.engine.task_streams import MAX_STREAMS
from streams.owned import OwnedEvaluator, OwnedTask, evaluator_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.config import Config
    from schemas.journal import Entry
    from streams.engine.journal import Journal
    from streams.engine.plan import Plan, References
    from streams.engine.publisher import Publisher
    from streams.engine.records import RecordBatch
    from streams.engine.shard import Shard
    from streams.engine.store import Store

PREDICTIONS, FEATURE_EVENTS = "predictions", "features"
"""The two groups of co-partitioned topics: {predictions, labels} and {features}."""
_TIMED = 4096
"""Durations of commits that wait to be scraped; where nobody scrapes, the oldest are forgotten."""
DROP_AFTER_S = 30.0
"""How long cells stay that every reader has passed: longer than what a reader's shard may go back (appendfsync everysec: 2 s)."""
MAX_OUTBOX = 10_000
"""Events of one evaluator that may wait for Kafka: it decides nothing more before some are acknowledged (P6)."""
_TOO_MANY = f"this partition has seen {MAX_STREAMS} versions and variants of the model; a version should change when the model does"


class Host:
    """The tasks and evaluators of one process. ``now`` is a monotonic clock in seconds, ``recorded`` the wall clock as text."""

    def __init__(  # noqa: PLR0913, PLR0917  # one for each thing outside
        self,
        config: Config,
        plans: Mapping[str, Plan],
        partitions: Mapping[str, int],
        store: Store,
        publisher: Publisher,
        journal: Journal,
        references: References | None,
        now: Callable[[], float],
        recorded: Callable[[], str],
    ) -> None:
        """Own nothing yet; pins the number of partitions of each group.

        Raises PartitionCountChanged when a topic has another number of partitions than the state was made for.
        """
        self.config, self.plans, self.partitions, self.store = config, plans, partitions, store
        self._publisher, self._journal, self._references = publisher, journal, references
        self._now, self._recorded = now, recorded
        self.token = uuid.uuid4().hex
        self._holds = 0
        self.tasks: dict[tuple[str, int], OwnedTask] = {}
        self.evaluators: dict[tuple[str, str], OwnedEvaluator] = {}
        topics = config.topics
        self.topics = {PREDICTIONS: (topics.predictions, topics.labels), FEATURE_EVENTS: (topics.features,)}
        self.group_of = {t: g for g, ts in self.topics.items() for t in ts if g in plans}
        self._decoders = {g: PredictionDecoder(p, g, references) for g, p in plans.items()}
        self._labels = LabelDecoder(plans[PREDICTIONS]) if PREDICTIONS in plans else None
        self._kept: dict[str, OwnedTask | OwnedEvaluator] = {}
        self._cursors: dict[str, deque[tuple[float, dict[str, Cursors]]]] = {}
        self._looked_at: dict[str, float] = {}
        self._unfinished: set[str] = set()
        self.commit_seconds: deque[float] = deque(maxlen=_TIMED)
        for group, count in partitions.items():
            pinned = store.pin_partitions(self.state_group(group), count)
            if pinned != count:
                what = f"topic {self.topics[group][0]} has {count} partitions, the state was made for {pinned}"
                raise PartitionCountChanged(what, OTHER_COUNT)

    def state_group(self, group: str) -> str:
        """What tells this deployment's tasks of a topic group apart in the store."""
        return f"{self.config.group}.{group}"

    def shards(self, group: str) -> list[str]:
        """The names of all tasks' shards of a group, by partition."""
        return [task_tag(self.state_group(group), p) for p in range(self.partitions[group])]

    # -- ownership ----------------------------------------------------------------------------------------------------

    def claim(self, places: Sequence[tuple[str, int]]) -> list[OwnedTask]:
        """Take over tasks (group, partition) and the evaluators that live with them, all or none.

        Returns them with the offsets to read from. What we still hold of them in memory goes on where nothing has happened meanwhile.
        One call for many, because the journal is read once for all of them.

        Raises ConnectionProblem, StoreRestarted or a StateError.
        """
        names = {task_tag(self.state_group(g), p): (g, p) for g, p in places}
        models = {model_tag(self.config.group, m): (g, m) for g, p in places for m in self._evaluated(g, p)}
        shards = claim(self.store, self._journal, [*names, *models], self._token)
        try:
            owned = [self._take_task(*place, shards[name]) for name, place in names.items()]
            evaluators = {key: self._take_evaluator(*key, shards[name]) for name, key in models.items()}
        except StateError as error:  # what is read while another owner commits does not fit together
            others = [s.name for s in shards.values() if self.store.peek(s.name).token != s.token]
            if not others:
                raise
            what = f"{others[0]} belongs to another worker now"
            raise OwnershipLost(what, "nothing: this worker drops it and rejoins") from error
        for shard in shards.values():
            self._publish(shard, self._outbox(shard.name))
        self.tasks.update(zip(names.values(), owned, strict=True))
        self.evaluators.update(evaluators)
        for task in owned:
            self._looked_at.pop(task.group, None)
            self._obey(task)
        return owned

    def _evaluated(self, group: str, partition: int) -> list[str]:
        """The models whose evaluators live with a task."""
        count = self.partitions[group]
        return [m.name for m in self.plans[group].models if evaluator_partition(m.name, count) == partition]

    def _token(self) -> str:
        """A token that no earlier claim had (``Shard`` says why)."""
        self._holds += 1
        return f"{self.token}.{self._holds}"

    def _take_task(self, group: str, partition: int, shard: Shard) -> OwnedTask:
        kept = self._kept.pop(shard.name, None)
        if isinstance(kept, OwnedTask) and shard.succeeds(kept.shard):
            if kept.shard.happened(shard.found):
                self._settle(kept)
            kept.shard = shard
            return kept
        plan, topics = self.plans[group], self.topics[group]
        if shard.body is None:
            labels = topics[1] if len(topics) > 1 else None
            task = Task(plan, shard.name, topics[0], labels, self.partitions[group])
        else:
            count = self.partitions[group]
            task = restore(plan, shard.name, topics, shard.body, self.store, self._references, count)
        owned = OwnedTask(group, partition, task, shard, committed_at=self._now(), clean_at=self._now())
        owned.note_committed()
        return owned

    def _take_evaluator(self, group: str, name: str, shard: Shard) -> OwnedEvaluator:
        kept = self._kept.pop(shard.name, None)
        if isinstance(kept, OwnedEvaluator) and shard.succeeds(kept.shard):
            if kept.shard.happened(shard.found):
                kept.evaluator.committed()
            kept.shard = shard
            return kept
        model, topics = self.plans[group].by_name[name], self.config.topics
        args = (model, self.shards(group), self.config.group, topics, self._recorded, shard.body, self._references)
        return OwnedEvaluator(group, Evaluator(*args), shard)

    def _outbox(self, shard: str) -> list[tuple[int, OutboxEvent]]:
        return [
            (n, snapshot.unpack(b"outb", data, OutboxEvent, f"{shard} outbox entry {n}"))
            for n, data in sorted(self.store.outbox(shard).items())
        ]

    def release(self, group: str, partition: int, *, commit: bool) -> None:
        """Give up a task, after a last commit if we may still make one. It stays in memory until ``forget``."""
        owned = self.tasks.pop((group, partition), None)
        if owned is None:
            return
        owned.held.clear()
        self._kept[owned.shard.name] = owned
        try:
            if commit and owned.dirty:
                self._publisher.poll()
                owned.shard.write()
                if self._settled() and owned.shard.journaled:
                    self.commit(owned)
        finally:  # an evaluator that stayed would be refused by its next owner's token at every turn
            for model in self._evaluated(group, partition):
                held = self.evaluators.pop((group, model), None)
                if held is not None:
                    self._kept[held.shard.name] = held

    def forget(self) -> None:
        """Let go of what was released and not claimed again."""
        self._kept.clear()

    def _settled(self) -> bool:
        """Whether all dead letters and all journal records so far are acknowledged; waits a little."""
        return self._publisher.settled() and self._journal.settled()

    # -- records ------------------------------------------------------------------------------------------------------

    def take(self, batch: RecordBatch) -> int:
        """Fold a batch into the tasks that own its partitions; returns how many records were new to them.

        A commit in doubt is settled first: what is folded beside it would count as committed when its answer comes.

        Raises ConnectionProblem (a reference, or the answer to a commit, could not be had): then give the batch again. Also what
        ``commit`` raises.
        """
        group, new = self.group_of[batch.topic], 0
        mine = [self.tasks[group, p] for p, _, _ in batch.partitions() if (group, p) in self.tasks]
        for owned in mine:
            if owned.shard.in_doubt:
                self.commit(owned)
            new += self._take_held(owned)  # left there when a fold could not be done
        new += self._take(batch)
        for owned in mine:
            if owned.shard.pending:
                new += self._obey(owned)
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
        group = self.group_of[batch.topic]
        runs: list[tuple[OwnedTask, int, int]] = []
        for partition, first, last in batch.partitions():
            owned = self.tasks.get((group, partition))
            if owned is None:
                continue
            offsets = batch.offset[first:last]
            begin = first + int(np.searchsorted(offsets, owned.task.offsets[batch.topic]))
            end = last
            if owned.shard.next_entry is not None:
                entry = owned.shard.next_entry
                end = first + int(np.searchsorted(offsets, _stop(entry, batch.topic)))
                if max(begin, end) < last:
                    owned.held.append(batch.part(max(begin, end), last))
            if begin < end:
                runs.append((owned, begin, end))
        if not runs:
            return 0
        if len(runs) == 1 and runs[0][1:] != (0, len(batch)):
            owned, first, last = runs[0]
            batch, runs = batch.part(first, last), [(owned, 0, last - first)]
        self._fold(group, batch, runs)
        return sum(last - first for _, first, last in runs)

    def _obey(self, owned: OwnedTask) -> int:
        """Let the next entries of the journal take effect, as far as all records before them are counted."""
        task, shard, new = owned.task, owned.shard, 0
        while (entry := shard.next_entry) is not None:
            at = {topic: max(task.offsets[topic], owned.begins.get(topic, 0)) for topic in task.topics}
            if any(at[topic] < _stop(entry, topic) for topic in task.topics):
                break
            match entry:
                case ClockEntry():
                    if entry.topic not in task.topics:
                        what = f"the journal speaks of topic {entry.topic!r}, the configuration of {', '.join(task.topics)}"
                        raise ConfigError(what, "set topics in monitor.yaml as they were when the journal was written")
                    task.clock(entry.topic, entry.time_ms)
                case StartEntry():
                    if entry.model in task.plan.by_name:
                        task.start(entry.model, entry.event_time, entry.record_time)
                case SkipEntry():
                    task.offsets[entry.topic] = entry.offset
            shard.obeyed()
            owned.dirty = True
            new += self._take_held(owned)
        return new

    def begin_at(self, owned: OwnedTask, begins: Mapping[str, int]) -> None:
        """The task's partition has no record before these offsets (by topic): no entry of the journal waits for one."""
        owned.begins.update(begins)
        self._obey(owned)

    def blocked(self) -> set[tuple[str, int]]:
        """The (topic, partition) pairs of which nothing more can be counted before others have come as far."""
        return {(batch.topic, p) for (_, p), owned in self.tasks.items() for batch in owned.held}

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
        """Declare the models that our tasks were first to see, and start the ones that others declared (R2).

        Not in a task that reads again what an earlier owner had read: it may have seen the model there itself.
        """
        declared = dict(self.store.model_starts(self.state_group(group)))
        mine = [o for (g, _), o in self.tasks.items() if g == group and o.shard.settled and not o.behind]
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
        offsets = dict(task.offsets)
        owned.shard.note(StartEntry(model=model, event_time=event_time, record_time=record_time, offsets=offsets))
        owned.dirty = True

    # -- commits ------------------------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Commit what is due, let evaluators decide, publish; True when there is more to decide at once."""
        interval = self.config.commit_interval / 1000
        now = self._now()
        self._publisher.poll()
        for owned in self.tasks.values():
            if owned.shard.in_doubt:  # before anything else
                self.commit(owned)
                self._unfinished.add(owned.group)
        moved = self._unfinished  # a backlog of windows does not wait for the next commit
        for group in self.plans:
            if now - self._looked_at.get(group, -interval) >= interval and any(g == group for g, _ in self.tasks):
                self.declare_starts(group)
                self._look_at_cursors(group)
                self._looked_at[group] = now
                moved.add(group)
        moved |= self._commit_due(now)
        self._unfinished = {group for group in sorted(moved) if self.evaluate(group)}
        return bool(self._unfinished)

    def _commit_due(self, now: float) -> set[str]:
        """Commit the tasks that are due, where everything they need stands in Kafka; returns their groups."""
        for owned in self.tasks.values():
            if not owned.dirty:
                owned.clean_at = now
        due = [owned for owned in self.tasks.values() if self._due(owned, now - self.config.commit_interval / 1000)]
        for owned in due:
            owned.shard.write()
        ready = [owned for owned in due if owned.shard.journaled] if due and self._settled() else []
        for owned in ready:
            self.commit(owned)
        return {owned.group for owned in ready}

    @staticmethod
    def _due(owned: OwnedTask, since: float) -> bool:
        due = owned.committed_at <= since
        if not (owned.dirty or (due and owned.shard.acknowledged)):
            return False
        return due or bool(owned.task.ripe())

    def commit(self, owned: OwnedTask) -> None:
        """One atomic commit of a task; everything noted must stand in the journal.

        Raises OwnershipLost, CommitConflict, StoreRestarted or ConnectionProblem.
        """
        begin = self._now()
        self._drop_passed(owned)
        owned.shard.commit(owned.task.stage)
        self._settle(owned)
        self.commit_seconds.append(owned.committed_at - begin)

    def _settle(self, owned: OwnedTask) -> None:
        """What was staged is committed."""
        owned.task.committed()
        owned.dirty = False
        owned.committed_at = owned.clean_at = self._now()
        owned.note_committed()

    def uncommitted_s(self) -> float:
        """How long the task that has waited longest for its commit has waited, in seconds."""
        now = self._now()
        return max((now - o.clean_at for o in self.tasks.values() if o.dirty), default=0.0)

    def _look_at_cursors(self, group: str) -> None:
        """Learn how far the evaluators are, wherever they run, so that tasks can delete what everyone has passed (R12)."""
        models = self.plans[group].models
        shards = [model_tag(self.config.group, m.name) for m in models]
        found = {
            model.name: snapshot.unpack(b"curs", data, Cursors, f"{shard} progress")
            for model, shard, data in zip(models, shards, self.store.progress(shards), strict=True)
            if data is not None
        }
        # Of several looks that are old enough the newest counts.
        looks = self._cursors.setdefault(group, deque())
        looks.append((self._now(), found))
        while len(looks) > 1 and looks[1][0] <= self._now() - DROP_AFTER_S:
            looks.popleft()
        if looks[0][0] <= self._now() - DROP_AFTER_S:
            for owned in self.tasks.values():
                if owned.group == group:
                    self._note_passed(owned, looks[0][1])

    def _note_passed(self, owned: OwnedTask, found: Mapping[str, Cursors]) -> None:
        for name, cursors in found.items():
            passed = owned.task.sealed_before(owned.task.plan.by_name[name], cursors.final)
            read = (
                (FEATURES, cursors.drift),
                (ARRIVALS, cursors.sequential),
                (PERFORMANCE, passed),
                (LABELS, cursors.sequential),
            )
            owned.passed.update({(kind, name): at for kind, at in read})
        read_by = [c.sequential for c in found.values() if c.sequential >= 0]
        if read_by:  # a model that starts later finds those of a horizon
            owned.passed[LABELS, EVERY] = min(read_by) - owned.task.join.longest

    def _drop_passed(self, owned: OwnedTask) -> None:
        """Delete the panes that every reader has passed."""
        if owned.shard.in_doubt:
            return
        for key, read in owned.passed.items():
            passed = min(read, owned.task.closed_before(*key))  # labels may be older than the first window that is read
            since = owned.task.dropped.get(key, 0)
            if passed > since:
                owned.task.drop(*key, self.store.starts(owned.shard.name, *key, since, passed), passed)

    def evaluate(self, group: str) -> bool:
        """Let the evaluators of a group decide what can be decided, and commit; True when there is more at once."""
        mine = [e for e in self.evaluators.values() if e.group == group]
        if not mine:
            return False
        progress = self.progress(group)
        more = False
        for owned in mine:
            if not owned.shard.in_doubt and len(owned.shard.outstanding) < MAX_OUTBOX:
                more |= self._decide(owned, progress)
        due = [o for o in mine if o.evaluator.changed or o.shard.in_doubt or o.shard.acknowledged]
        for owned in due:
            self._note_decided(owned)
            owned.shard.write()
        if not all(o.shard.journaled for o in due):
            self._journal.settled()
        for owned in due:
            if owned.shard.journaled:
                self.commit_evaluator(owned)
        return more

    def _decide(self, owned: OwnedEvaluator, progress: Sequence[Progress | None]) -> bool:
        """Let an evaluator decide, and obey the journaled commands where they took effect; True when there is more at once."""
        evaluator, entry = owned.evaluator, owned.shard.next_entry
        if not isinstance(entry, CommandEntry | DecidedEntry):
            return evaluator.run(self.store, progress)
        limit = Cursors(*entry.cursors)
        more = evaluator.run(self.store, progress, limit)
        if more or not evaluator.reached(limit):
            return more
        if isinstance(entry, CommandEntry):
            evaluator.command(msgspec.convert(entry.command, Command), entry.partition, entry.offset)
        owned.shard.obeyed()
        return True

    @staticmethod
    def _note_decided(owned: OwnedEvaluator) -> None:
        """Journal how far an evaluator has decided before it publishes any of it: no command may slip in before that (P3)."""
        cursors = owned.evaluator.head.cursors.numbers()
        if owned.evaluator.events and owned.shard.settled and cursors != owned.decided:
            owned.decided = cursors
            owned.shard.note(DecidedEntry(cursors=cursors))

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

        Returns False when the evaluator has something to settle first: ask again then.
        """
        owned = self.evaluators.get((group, command.model))
        if owned is None or offset < owned.evaluator.head.control.get(partition, 0):
            return True
        if not owned.shard.settled:
            return False
        cursors = owned.evaluator.head.cursors.numbers()
        applied = owned.evaluator.command(command, partition, offset)
        told = msgspec.to_builtins(command)
        owned.shard.note(
            CommandEntry(partition=partition, offset=offset, cursors=cursors, command=told, applied=applied)
        )
        self._unfinished.add(group)
        return True

    def control_offsets(self) -> dict[int, int]:
        """Where the control topic must be read from, by partition, so that no evaluator of ours misses a command."""
        heads = [e.evaluator.head.control for e in self.evaluators.values()]
        partitions = {p for head in heads for p in head}
        return {p: min(head.get(p, 0) for head in heads) for p in partitions}

    def _publish(self, shard: Shard, events: list[tuple[int, OutboxEvent]]) -> None:
        for number, event in events:
            shard.outstanding.add(number)
            self._publisher.publish(event, partial(_acknowledged, shard, number))


def _stop(entry: Entry, topic: str) -> int:
    """The first offset of a topic that an entry of the journal does not let in before it has taken effect."""
    return entry.offsets.get(topic, 0) if not isinstance(entry, CommandEntry | DecidedEntry) else 0


def _acknowledged(shard: Shard, number: int) -> None:
    """Kafka has an event: the next commit takes it out of the outbox."""
    shard.outstanding.discard(number)
    shard.acknowledged.append(number)
