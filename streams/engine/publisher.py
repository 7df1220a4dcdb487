"""Where decided events and dead letters go: a protocol with two implementations, Kafka and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.outbox import OutboxEvent
    from streams.engine.columns import Rejected
    from streams.engine.records import RecordBatch


class Publisher(Protocol):
    """Where events and dead letters go."""

    def publish(self, event: OutboxEvent, done: Callable[[], None]) -> None:
        """Send an event; ``done`` is called (from ``poll``) once it is acknowledged. Sending is repeated until it is."""
        ...

    def dead_letter(self, batch: RecordBatch, rejected: Rejected) -> None:
        """Send a record to the dead letters."""
        ...

    def settled(self) -> bool:
        """Whether every dead letter sent so far is acknowledged."""
        ...

    def poll(self) -> None:
        """Handle acknowledgements."""
        ...
