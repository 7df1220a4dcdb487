"""What a host owns: a task or an evaluator, each with its hold on its shard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.journal import SkipEntry

if TYPE_CHECKING:
    from streams.engine.evaluator import Evaluator
    from streams.engine.records import RecordBatch
    from streams.engine.shard import Shard
    from streams.engine.task import Task


@dataclass(slots=True)
class OwnedTask:
    """A task with our hold on its shard; ``ledger``, ``waiting``, ``joined`` and ``offsets`` are those of its last commit."""

    group: str
    partition: int
    task: Task
    shard: Shard
    dirty: bool = False
    committed_at: float = 0.0
    clean_at: float = 0.0
    """When it last had nothing to commit."""
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    waiting: int = 0
    joined: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of each model's predictions: what became of them in the join (``Join.counts``)."""
    offsets: dict[str, int] = field(default_factory=dict)
    passed: dict[tuple[str, str], int] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)
    """By topic: where its partition ended when we claimed the task, until we have read so far (``Host.declare_starts``)."""
    begins: dict[str, int] = field(default_factory=dict)
    """By topic: its partition has no record before this offset, so nothing before it needs to be waited for."""
    held: list[RecordBatch] = field(default_factory=list)
    """Records behind what a pending entry of the journal lets in."""

    def crowded(self, most: int) -> set[tuple[str, int]]:
        """The (topic, partition) pairs of which more than so many records are held."""
        sizes = Counter[str]()
        for batch in self.held:
            sizes[batch.topic] += len(batch)
        return {(topic, self.partition) for topic, size in sizes.items() if size > most}

    def reads_from(self, topic: str) -> int:
        """The first offset to read: where the task stands, or where a skip that it is still to obey goes back to."""
        entries = [e for p in self.shard.pending for e in p.entries if isinstance(e, SkipEntry) and e.topic == topic]
        return max(min([self.task.offsets[topic], *(e.offset for e in entries)]), self.begins.get(topic, 0))

    def note_committed(self, now: float) -> None:
        """What the task counts now is what its shard holds."""
        self.dirty = False
        self.committed_at = self.clean_at = now
        self.ledger, self.waiting = self.task.outcomes(), self.task.join.waiting
        self.offsets = dict(self.task.offsets)
        if len(self.task.topics) > 1:
            self.joined = {m.name: self.task.join.counts(m.index) for m in self.task.plan.models}


@dataclass(slots=True)
class OwnedEvaluator:
    """An evaluator with our hold on its shard."""

    group: str
    evaluator: Evaluator
    shard: Shard
    decided: tuple[int, ...] = ()
    """The cursors that were last noted in the journal before events were published."""
