"""Commands from Kafka: the control topic, read from partitions assigned by hand (R9).

Every worker reads all of it, because its models' evaluators may be any; each evaluator keeps its own offsets in its head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from streams.edges.kafka_log import client_settings, partition_counts, without_group

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 100
"""Commands a poll takes: people and pipelines send a few a day."""


class ControlLog:
    """A consumer without a group."""

    def __init__(self, kafka: Mapping[str, str | int | bool], topic: str) -> None:
        """Assign every partition, from its beginning until ``rewind`` says better."""
        self._consumer = Consumer(
            client_settings(without_group(kafka))
            # A group id is asked for by the client and never used: nothing is committed and nobody joins.
            | {"group.id": f"{topic}.reader", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        )
        self._topic = topic
        self._partitions = partition_counts(self._consumer, [topic])[topic]
        self.rewind({})

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Read again from these offsets (by partition; from the beginning where there is none)."""
        places = [TopicPartition(self._topic, p, offsets.get(p) or OFFSET_BEGINNING) for p in range(self._partitions)]
        self._consumer.assign(places)

    def poll(self) -> list[tuple[int, int, bytes | None]]:
        """New records as (partition, offset, value)."""
        messages = self._consumer.consume(MOST, 0)
        found = [(m.partition(), m.offset(), m.value()) for m in messages if m.error() is None]
        return [(p, o, v) for p, o, v in found if p is not None and o is not None]

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()
