"""Events kept in memory and acknowledged at once: the twin of the Kafka publisher, for replay and quick tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.outbox import OutboxEvent
    from streams.engine.columns import Rejected
    from streams.engine.records import RecordBatch


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Where a rejected record lies, and why it was rejected."""

    topic: str
    partition: int
    offset: int
    rejected: Rejected


class MemoryPublisher:
    """Keeps everything it is given."""

    def __init__(self) -> None:
        """Nothing published yet."""
        self.events: list[OutboxEvent] = []
        self.dead_letters: list[DeadLetter] = []

    def publish(self, event: OutboxEvent, done: Callable[[], None]) -> None:
        """Keep and acknowledge."""
        self.events.append(event)
        done()

    def dead_letter(self, batch: RecordBatch, rejected: Rejected) -> None:
        """Keep where it lies."""
        row = rejected.row
        self.dead_letters.append(DeadLetter(batch.topic, int(batch.partition[row]), int(batch.offset[row]), rejected))

    def settled(self) -> bool:
        """Always."""
        return True

    def poll(self) -> None:
        """Nothing waits."""
