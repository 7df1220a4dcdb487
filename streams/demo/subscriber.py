"""How the demo's own programs read Kafka: partitions assigned by hand, up to the end as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, TopicPartition

from schemas.errors import BehindLogStart, ConnectionProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANSWER_S = 20.0
"""How long the embedded Kafka, in this very process, may take on a busy machine."""
_BATCH = 5_000
QUIET: Final = 2
"""librdkafka's log level for the demo's clients: on Ctrl-C they may outlive the embedded Kafka by a moment, and would say so."""


class Subscriber:
    """Reads every record of a topic once; ``drain`` returns those that are new."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        """Begin at the topic's first record."""
        self._topic = topic
        # A group must be named; nothing is committed and nobody joins, because partitions are assigned by hand.
        settings = {"group.id": f"demo-{topic}", "enable.auto.commit": False, "auto.offset.reset": "error"}
        self._consumer: Any = Consumer({"bootstrap.servers": bootstrap, "log_level": QUIET, **settings})
        found = self._consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic]
        self._next = dict.fromkeys(found.partitions, 0)

    def bounds(self) -> dict[int, tuple[int, int]]:
        """The first offset that is still there, and the next to be written, by partition."""
        ask = self._consumer.get_watermark_offsets
        return {p: ask(TopicPartition(self._topic, p), timeout=_ANSWER_S) for p in self._next}

    def drain(self) -> list[bytes]:
        """The values of all records since the last call, by partition and offset."""
        bounds = self.bounds()
        values = self._read({p: (self._next[p], bounds[p][1]) for p in self._next})
        self._next = {p: bounds[p][1] for p in self._next}
        return values

    def between(self, offsets: Mapping[int, tuple[int, int]]) -> list[bytes]:
        """The values of the records from the lowest to the highest offset (both in), by partition.

        Raises BehindLogStart when the topic no longer has all of them.
        """
        for partition, (low, _) in offsets.items():
            first = self.bounds()[partition][0]
            if low < first:
                what = f"{self._topic}/{partition}: offset {low} was asked for, the topic begins at {first}"
                raise BehindLogStart(what, "retrain earlier, or raise the topic's retention")
        return self._read({p: (low, high + 1) for p, (low, high) in offsets.items()})

    def _read(self, spans: Mapping[int, tuple[int, int]]) -> list[bytes]:
        """The values in [first, end) of each partition; raises ConnectionProblem when they do not come."""
        values: list[bytes] = []
        for partition, (first, end) in sorted(spans.items()):
            if first >= end:
                continue
            self._consumer.assign([TopicPartition(self._topic, partition, first)])
            at = first
            while at < end:
                messages = self._consumer.consume(min(_BATCH, end - at), _ANSWER_S)
                if not messages or messages[0].error() is not None:
                    what = f"{self._topic}/{partition}: nothing came at offset {at} of {end}"
                    raise ConnectionProblem(what, "try again on a machine that is less busy")
                good = [m for m in messages if m.error() is None]
                values += [m.value() for m in good if m.offset() < end]
                at = good[-1].offset() + 1
        self._consumer.unassign()
        return values

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()
