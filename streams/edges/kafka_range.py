"""A range of topics, read once from first to last record: for dumps and for references made of recorded events.

No group is joined and nothing is committed, so this may run beside workers. The end is where each partition ended when we began.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import BehindLogStart, ConnectionProblem
from streams.edges.kafka_log import (
    REQUEST_S,
    as_driftline_error,
    client_settings,
    partition_counts,
    raise_for,
    without_group,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BATCH = 5_000
"""Messages a poll asks for: the cost of a poll disappears, and memory stays at a few MB."""
_POLL_S = 0.5
_SILENCE_S = 3 * REQUEST_S
"""So long nothing at all may come before the broker counts as gone: a leader election takes less."""


class KafkaRange:
    """The records [first, until) of every partition of some topics; iterate it once. ``total`` is what is ahead at most."""

    def __init__(
        self,
        kafka: Mapping[str, str | int | bool],
        topics: Sequence[str],
        first: int | None = None,
        until: int | None = None,
    ) -> None:
        """Look where the partitions begin and end; offsets are the same for all of them, None is all there is.

        Raises TopicMissing, PermissionMissing, ConnectionProblem, or BehindLogStart when ``first`` is no longer there.
        """
        settings = client_settings(without_group(kafka))
        # A group id is asked for by the client and never used.
        ours = {"group.id": "driftline.range", "enable.auto.commit": False, "auto.offset.reset": "error"}
        self._consumer = Consumer(settings | ours | {"enable.partition.eof": True})
        try:
            counts = partition_counts(self._consumer, topics)
            places = [(t, p) for t in topics for p in range(counts[t])]
            self._span = {place: self._bounds(*place, first, until) for place in places}
        except BaseException:
            self._consumer.close()
            raise
        self.total = sum(max(0, end - begin) for begin, end in self._span.values())

    def _bounds(self, topic: str, partition: int, first: int | None, until: int | None) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_S)
        except KafkaException as error:
            raise as_driftline_error(error.args[0], topic) from error
        if first is not None and first < low:
            what = f"{topic}/{partition} begins at offset {low}, {first} was asked for"
            raise BehindLogStart(what, f"ask for {low} or later: retention has removed the rest")
        return low if first is None else min(first, high), high if until is None else min(until, high)

    def __iter__(self) -> Iterator[Any]:
        """Read the range; yields the client's messages, in offset order within a partition."""
        open_ = {place for place, (begin, end) in self._span.items() if begin < end}
        try:
            self._consumer.assign([TopicPartition(t, p, self._span[t, p][0]) for t, p in sorted(open_)])
            heard = time.monotonic()
            while open_:
                messages: list[Any] = self._consumer.consume(_BATCH, _POLL_S)
                for message in messages:
                    heard = time.monotonic()
                    place = message.topic(), message.partition()
                    if (error := message.error()) is not None:
                        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the client's name
                            open_.discard(place)
                            continue
                        raise_for(error, message.topic() or "")
                        continue
                    end = self._span[place][1]
                    if message.offset() < end:
                        yield message
                    if message.offset() + 1 >= end:
                        open_.discard(place)
                if time.monotonic() - heard > _SILENCE_S:
                    what = (
                        f"Kafka sent nothing for {_SILENCE_S:.0f} s, with {len(open_)} partitions not read to their end"
                    )
                    raise ConnectionProblem(what, "look at the brokers of these partitions, and try again")
        finally:
            self._consumer.close()
