"""The same engine over files: the same windows, statistics and event ids as the live run, with no Kafka and no Redis (P2).

A replay reads the inputs and the journal. A journal entry takes effect in its task when the task has read exactly the records
before it; a command takes effect at its evaluator when the evaluator has decided exactly what it had decided then.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import orjson

from schemas import journal
from schemas.control import Command
from schemas.errors import ConfigError
from schemas.journal import ClockEntry, CommandEntry, StartEntry
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.evaluator import DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS
from streams.engine.evaluator_head import Cursors
from streams.engine.kernels.clock import NEVER
from streams.engine.records import batch_of
from streams.host import Host
from streams.references import ReferenceBook, plans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.config import Config
    from schemas.outbox import OutboxEvent
    from streams.engine.store import Store
    from streams.logfile import Record
    from streams.owned import OwnedEvaluator, OwnedTask

BATCH = 5_000
"""Records of one partition that are read at a time; results do not depend on it."""


class Replay:
    """One replay: ``run`` it, then read ``events``, ``windows`` and the host's tasks."""

    def __init__(self, config: Config, records: Iterable[Record], store: Store | None = None) -> None:
        """Sort the records by topic and partition. Raises ConfigError or ReferenceMismatch."""
        self.config = config
        self._inputs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self._entries: dict[tuple[str, int], list[ClockEntry | StartEntry]] = defaultdict(list)
        self._commands: dict[tuple[str, str], list[CommandEntry]] = defaultdict(list)
        self.publisher, self.store = MemoryPublisher(), store if store is not None else MemoryStore()
        topics = config.topics
        compiled = plans(config)
        groups = {topics.predictions: "predictions", topics.labels: "predictions", topics.features: "features"}
        self.journaled = False
        most: dict[str, int] = dict.fromkeys(compiled, 0)
        seen: set[tuple[str, int]] = set()
        for record in records:
            if record.topic == topics.journal and record.value is not None:
                self._journal(_entry(record, record.value), seen, most)
            elif groups.get(record.topic) in compiled:
                self._inputs[record.topic, record.partition].append(record)
                most[groups[record.topic]] = max(most[groups[record.topic]], record.partition)
        for part in self._inputs.values():
            # Dumps may overlap: a record is what stands at its offset, however often it was written down.
            part[:] = sorted({r.offset: r for r in reversed(part)}.values(), key=lambda r: r.offset)
        for entries in (*self._entries.values(), *self._commands.values()):
            entries.sort(key=lambda e: e.number)  # type: ignore[attr-defined]  # both kinds have a number
        references = ReferenceBook(config, self.store)
        partitions = {g: m + 1 for g, m in most.items()}
        args = (config, compiled, partitions, self.store, self.publisher, references, time.monotonic, lambda: "")
        self.host = Host(*args)
        for group, count in partitions.items():
            for partition in range(count):
                self.host.claim(group, partition)

    def _journal(self, entry: journal.Entry, seen: set[tuple[str, int]], most: dict[str, int]) -> None:
        key = entry.model if isinstance(entry, CommandEntry) else entry.task
        if (key, entry.number) in seen or entry.group not in most:
            return
        seen.add((key, entry.number))
        self.journaled = True
        if isinstance(entry, CommandEntry):
            self._commands[entry.group, entry.model].append(entry)
        else:
            most[entry.group] = max(most[entry.group], entry.partition)
            self._entries[entry.group, entry.partition].append(entry)

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
        """Feed one task up to its next journal entry or one batch a topic, whichever comes first."""
        entries = self._entries[owned.group, owned.partition]
        moved = False
        for topic in owned.task.topics:
            waiting = self._inputs[topic, owned.partition]
            stop = entries[0].offsets.get(topic) if entries else None
            chunk = waiting[:BATCH]
            if stop is not None:
                chunk = [r for r in chunk if r.offset < stop]
            if chunk:
                self.host.take(batch_of(topic, [(r.partition, r.offset, r.timestamp, r.value) for r in chunk]))
                del waiting[: len(chunk)]
                moved = True
        if entries and not moved:
            entry = entries.pop(0)
            if isinstance(entry, ClockEntry):
                if entry.topic not in owned.task.topics:
                    what = f"the journal speaks of topic {entry.topic!r}, the configuration of {', '.join(owned.task.topics)}"
                    raise ConfigError(
                        what, "replay with the topics of monitor.yaml as they were when the dump was made"
                    )
                owned.task.clock(entry.topic, entry.time_ms)
                owned.dirty = True
            elif entry.model in owned.task.plan.by_name:
                owned.task.start(entry.model, entry.event_time, entry.record_time)
                owned.dirty = True
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
        for evaluator in self.host.evaluators.values():
            self._decide(evaluator)

    def _decide(self, owned: OwnedEvaluator) -> None:
        """Let one evaluator go as far as it can, stopping where a journaled command took effect."""
        name = owned.evaluator.model.name
        more = True
        while more:
            progress = self.host.progress(owned.group)
            commands = self._commands[owned.group, name]
            if not commands:
                more = owned.evaluator.run(self.store, progress)
                if owned.evaluator.changed:
                    self.host.commit_evaluator(owned)
                continue
            limit = Cursors(*commands[0].cursors)
            more = owned.evaluator.run(self.store, progress, limit)
            if not more and owned.evaluator.reached(limit):
                entry = commands.pop(0)
                command = msgspec.convert(entry.command, Command)
                self.host.command(owned.group, command, entry.partition, entry.offset)
                more = True
            elif owned.evaluator.changed:
                self.host.commit_evaluator(owned)

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


def _entry(record: Record, value: bytes) -> journal.Entry:
    """A record of the journal as its entry. Raises ConfigError when it is none."""
    try:
        return journal.decode(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        what = (
            f"{record.topic}/{record.partition}, offset {record.offset}: not an entry of driftline's journal: {error}"
        )
        raise ConfigError(
            what, "correct topics.journal in monitor.yaml, or leave the record out of the dump"
        ) from error


def window_records(store: Store, host: Host) -> Iterator[dict[str, object]]:
    """What the evaluators of a host kept of every window, in order: model, kind, and the record."""
    for owned in sorted(host.evaluators.values(), key=lambda e: e.evaluator.model.name):
        name, shard = owned.evaluator.model.name, owned.evaluator.shard
        for kind in (DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS):
            starts = store.starts(shard, kind, name, 0, 1 << 62)
            for data in store.cells([(shard, (kind, name, at)) for at in starts]):
                for record in orjson.loads(data or b"[]"):
                    yield {"model": name, "kind": kind.removesuffix("-results"), **record}
