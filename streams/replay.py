"""The same engine over files: the same windows, statistics and event ids as the live run, with no Kafka and no Redis (P2).

A replay is a host over memory whose journal was written before: it obeys the entries as a worker does that takes over
(``streams.host``).
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import orjson

from schemas import journal
from schemas.errors import ConfigError
from schemas.identifiers import task_tag
from schemas.journal import DecidedEntry, Entries, Rebuild
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.evaluator import DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS
from streams.engine.kernels.clock import NEVER
from streams.engine.records import batch_of
from streams.host import Host
from streams.references import ReferenceBook, plans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.config import Config
    from schemas.outbox import OutboxEvent
    from streams.digest import Holder
    from streams.engine.store import Store
    from streams.logfile import Record
    from streams.owned import OwnedTask

_END = 1 << 63
"""Behind every offset that Kafka can have."""
BATCH = 5_000
"""Records of one partition that are read at a time; results do not depend on it."""


class Replay:
    """One replay: ``run`` it, then read ``events``, ``windows`` and the host's tasks."""

    def __init__(self, config: Config, records: Iterable[Record], store: Store | None = None) -> None:
        """Sort the records by topic and partition. Raises ConfigError or ReferenceMismatch."""
        self.config = config
        self._inputs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.publisher, self.store = MemoryPublisher(), store if store is not None else MemoryStore()
        topics = config.topics
        compiled = plans(config)
        groups = {topics.predictions: "predictions", topics.labels: "predictions", topics.features: "features"}
        written: dict[tuple[int, int], journal.Record] = {}
        most: dict[str, int] = dict.fromkeys(compiled, 0)
        for record in records:
            if record.topic == topics.journal and record.value is not None:
                written[record.partition, record.offset] = _record(record, record.value)
            elif groups.get(record.topic) in compiled:
                self._inputs[record.topic, record.partition].append(record)
                most[groups[record.topic]] = max(most[groups[record.topic]], record.partition)
        for part in self._inputs.values():
            # Dumps may overlap: a record is what stands at its offset, however often it was written down.
            part[:] = sorted({r.offset: r for r in reversed(part)}.values(), key=lambda r: r.offset)
        past = MemoryJournal(_without_decided(found) for _, found in sorted(written.items()))
        for group in compiled:  # a partition that had no records has entries of its clock
            tags = {record.shard for record in past.records}
            while task_tag(f"{config.group}.{group}", most[group] + 1) in tags:
                most[group] += 1
        self.journaled = any(isinstance(record, Entries) for record in past.records)
        references = ReferenceBook(config, self.store)
        partitions = {g: m + 1 for g, m in most.items()}
        args = (config, compiled, partitions, self.store, self.publisher, past, references)
        self.host = Host(*args, time.monotonic, lambda: "")
        # What stood there before is lived through from the beginning.
        past.records += [Rebuild(shard=shard) for shard in sorted({record.shard for record in past.records})]
        for owned in self.host.claim([(group, p) for group, count in partitions.items() for p in range(count)]):
            self.host.begin_at(owned, {topic: self._first(topic, owned.partition) for topic in owned.task.topics})

    def _first(self, topic: str, partition: int) -> int:
        """The first offset that was written down: what is before it will not come (all there is, where none was)."""
        found = self._inputs[topic, partition]
        return found[0].offset if found else _END

    def run(self, *, close: bool = False) -> None:
        """Read everything; ``close`` lets time run on at the end, so that every window is decided (for plain tables)."""
        moved = True
        while moved:
            moved = False
            for owned in self.host.tasks.values():
                moved |= self._advance(owned)
            self._settle()
        if close:
            for evaluator in self.host.evaluators.values():
                # Nobody knows that nothing came after the end, only that no more is read.
                evaluator.evaluator.silence_counts = False
            for owned in self.host.tasks.values():
                self._run_out(owned)
            self._settle()

    def _advance(self, owned: OwnedTask) -> bool:
        """Feed one task a batch a topic, of those that its next journal entry lets in."""
        moved, blocked = False, self.host.blocked()
        for topic in owned.task.topics:
            waiting = self._inputs[topic, owned.partition]
            chunk = waiting[:BATCH]
            if chunk and (topic, owned.partition) not in blocked:
                self.host.take(batch_of(topic, [(r.partition, r.offset, r.timestamp, r.value) for r in chunk]))
                del waiting[: len(chunk)]
                moved = True
        return moved

    def _settle(self) -> None:
        """Commit every task, and decide what can be decided."""
        if not self.journaled:
            for group in self.host.plans:
                self.host.declare_starts(group)
        for owned in self.host.tasks.values():
            if owned.dirty:
                self.host.commit(owned)
        for group in self.host.plans:
            while self.host.evaluate(group):
                pass

    def _run_out(self, owned: OwnedTask) -> None:
        """Let the partition's time run on until every window of this task has closed."""
        for topic in owned.task.topics:
            now = owned.task.record_time[topic]
            rest = max(m.idle + m.horizon + m.window + 2 * m.lateness + m.pane for m in owned.task.plan.models)
            last = max(owned.task.record_time.values())
            if last != NEVER:
                owned.task.clock(topic, max(now, last) + 2 * rest)
                owned.dirty = True

    @property
    def events(self) -> list[OutboxEvent]:
        """The alert and retrain events, in the order they were decided."""
        outputs = {self.config.topics.alerts, self.config.topics.retrain}
        return [e for e in self.publisher.events if e.topic in outputs]

    def windows(self) -> Iterator[dict[str, object]]:
        """The record of every evaluated window."""
        yield from window_records(self.store, self.host)


def _without_decided(record: journal.Record) -> journal.Record:
    """What keeps a live command in its place is nothing to a replay, which has the commands in their places."""
    if not isinstance(record, Entries):
        return record
    return msgspec.structs.replace(record, entries=[e for e in record.entries if not isinstance(e, DecidedEntry)])


def _record(record: Record, value: bytes) -> journal.Record:
    """A record of the journal. Raises ConfigError when it is none."""
    try:
        return journal.decode(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        what = (
            f"{record.topic}/{record.partition}, offset {record.offset}: not a record of driftline's journal: {error}"
        )
        raise ConfigError(
            what, "correct topics.journal in monitor.yaml, or leave the record out of the dump"
        ) from error


def window_records(store: Store, holder: Holder) -> Iterator[dict[str, object]]:
    """What the evaluators kept of every window, in order: model, kind, and the record."""
    for owned in sorted(holder.evaluators.values(), key=lambda e: e.evaluator.model.name):
        name, shard = owned.evaluator.model.name, owned.evaluator.shard
        for kind in (DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS):
            starts = store.starts(shard, kind, name, 0, 1 << 62)
            for data in store.cells([(shard, (kind, name, at)) for at in starts]):
                for record in orjson.loads(data or b"[]"):
                    yield {"model": name, "kind": kind.removesuffix("-results"), **record}
