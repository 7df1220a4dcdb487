"""The journal in Kafka: written by the publisher, read back when shards are claimed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition

from schemas import journal
from schemas.errors import RESTORE, START_OVER, AheadOfLogEnd, BehindLogStart, ConnectionProblem, StateCorrupt
from streams.edges.kafka_log import REQUEST_S, client_settings, raise_for, without_group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.journal import Claim, Record
    from streams.edges.kafka_publisher import KafkaPublisher

_POLL_S = 0.05
_BATCH = 1_000


class KafkaJournal:
    """One topic; a shard's records lie on one partition, in order, because they have one key."""

    def __init__(self, kafka: Mapping[str, str | int | bool], topic: str, publisher: KafkaPublisher) -> None:
        """Nothing is asked of Kafka yet."""
        self._topic, self._publisher = topic, publisher
        settings = client_settings(without_group(kafka))
        # A group id is asked for by the client and never used.
        ours = {"group.id": "driftline.journal", "enable.auto.commit": False, "auto.offset.reset": "error"}
        self._settings = settings | ours

    def claim(self, claims: Sequence[Claim], since: Mapping[str, int]) -> dict[str, list[tuple[int, Record]]]:
        """As the protocol says.

        Raises ConnectionProblem, StateCorrupt, AheadOfLogEnd when the topic was made anew, BehindLogStart when it has deleted what
        was not read.
        """
        places: dict[str, tuple[int, int]] = {}
        for claim in claims:
            self._entrust(claim, lambda *place, token=claim.token: places.update({token: place}))
        if not self._publisher.wait(lambda: len(places) == len(claims), REQUEST_S):
            self._publisher.poll()  # raises when the client has ended for good
            what = f"Kafka did not take a record of topic {self._topic!r} within {REQUEST_S:.0f} s"
            raise ConnectionProblem(what, "look at the brokers, and at the topic's min.insync.replicas")
        spans: dict[int, tuple[int, int]] = {}
        for claim in claims:
            partition, offset = places[claim.token]
            first = since[claim.shard] + 1
            if first > offset:
                what = f"{self._topic}/{partition}: {claim.shard} has read it to {first}, and it ends at {offset}"
                raise AheadOfLogEnd(what, START_OVER)
            low, high = spans.get(partition, (first, offset))
            spans[partition] = min(low, first), max(high, offset)
        return self._read({c.shard: since[c.shard] for c in claims}, places, spans)

    def _read(
        self, since: Mapping[str, int], ends: Mapping[str, tuple[int, int]], spans: Mapping[int, tuple[int, int]]
    ) -> dict[str, list[tuple[int, Record]]]:
        """The records of some shards, each through the claim with our token."""
        found: dict[str, list[tuple[int, Record]]] = {shard: [] for shard in since}
        stops = {shard.encode(): shard for shard in since}
        open_ = dict(spans)
        closed: set[str] = set()
        consumer: Any = Consumer(self._settings)
        heard = time.monotonic()
        try:
            consumer.assign([TopicPartition(self._topic, p, first) for p, (first, _) in spans.items()])
            while open_:
                for message in consumer.consume(_BATCH, _POLL_S):
                    if message.error() is not None:
                        self._refuse(message.error())
                        continue
                    if message.partition() in open_:
                        heard = time.monotonic()
                    partition, offset = message.partition(), message.offset()
                    shard = stops.get(message.key() or b"", "")
                    if shard and shard not in closed and offset > since[shard]:
                        record = _decode(message.value(), f"{self._topic}/{partition}, offset {offset}")
                        found[shard].append((offset, record))
                        if not isinstance(record, journal.Rebuild) and ends.get(record.token) == (partition, offset):
                            closed.add(shard)
                    if partition in open_ and offset >= open_[partition][1]:
                        del open_[partition]
                if time.monotonic() - heard > REQUEST_S:
                    what = f"Kafka sent nothing of topic {self._topic!r} for {REQUEST_S:.0f} s"
                    raise ConnectionProblem(what, "look at the brokers of its partitions")
        finally:
            consumer.close()
        return found

    def _refuse(self, error: KafkaError) -> None:
        """Raise what an error means; what was deleted before it was read has shaped results that nobody can come to again (P5)."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # the client's name
            raise BehindLogStart(
                f"{self._topic}, the journal, has deleted records that were not read: {error.str()}", START_OVER
            )
        raise_for(error, self._topic)

    def write(self, record: Record, done: Callable[[int], None]) -> None:
        """As the protocol says."""
        self._entrust(record, lambda _, offset: done(offset))

    def settled(self) -> bool:
        """As the protocol says; dead letters are waited for, too."""
        return self._publisher.settled()

    def _entrust(self, record: Record, done: Callable[[int, int], None]) -> None:
        event = journal.to_event(record, self._topic)
        self._publisher.entrust(event.topic, event.key, event.value, list(event.headers), done)


def _decode(value: bytes | None, where: str) -> Record:
    try:
        return journal.decode(value or b"")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise StateCorrupt(f"{where}: not a record of driftline's journal: {error}", RESTORE) from error
