"""Events on their way from an evaluator's outbox to Kafka; its next commit removes what Kafka has acknowledged."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from schemas.outbox import OutboxEvent
from streams.engine import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.engine.publisher import Publisher
    from streams.engine.shard import Shard
    from streams.engine.store import Store


class Outbox:
    """Publishes events that are committed. A crash repeats them with the same ids, and loses none."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        """Nothing is under way."""
        self._store, self._publisher = store, publisher

    def publish(self, shard: Shard, events: Iterable[tuple[int, OutboxEvent]]) -> None:
        """Send events, each with its number in the outbox."""
        for number, event in events:
            shard.outstanding.add(number)
            self._publisher.publish(event, partial(_acknowledged, shard, number))

    def again(self, shard: Shard) -> None:
        """Send what stands in the outbox of a shard that was taken over: nobody knows what Kafka has of it.

        Raises StateCorrupt or ConnectionProblem.
        """
        entries = sorted(self._store.outbox(shard.name).items())
        what = f"{shard.name} outbox entry"
        self.publish(shard, [(n, snapshot.unpack(b"outb", data, OutboxEvent, f"{what} {n}")) for n, data in entries])


def _acknowledged(shard: Shard, number: int) -> None:
    """Kafka has an event: the next commit takes it out of the outbox."""
    shard.outstanding.discard(number)
    shard.acknowledged.append(number)
