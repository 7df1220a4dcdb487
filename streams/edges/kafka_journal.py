"""The journal in Kafka: written by the publisher's producer, read back when a shard is claimed."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas import journal
from schemas.errors import RESTORE, AheadOfLogEnd, ConnectionProblem, StateCorrupt
from streams.edges.kafka_log import REQUEST_S, client_settings, raise_for, without_group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.journal import Claim, Record

_SETTLE_S = 1.0
"""How long ``settled`` waits: many round trips; a broker that is away longer is waited for outside."""
_POLL_S = 0.05
_BATCH = 1_000


@dataclass(slots=True)
class _Sent:
    """A record under way; ``place`` is where it stands once it does."""

    record: Record
    done: Callable[[int], None]
    place: tuple[int, int] | None = None


class KafkaJournal:
    """One topic; a shard's records lie on one partition, in order, because they have one key."""

    def __init__(self, kafka: Mapping[str, str | int | bool], topic: str, producer: Any) -> None:  # noqa: ANN401  # untyped client
        """Write with this producer, which must be idempotent and wait for all replicas; nothing is asked of Kafka yet."""
        self._topic, self._producer = topic, producer
        self._unsent: deque[_Sent] = deque()
        self._under_way = 0
        settings = client_settings(without_group(kafka))
        # A group id is asked for by the client and never used.
        ours = {"group.id": "driftline.journal", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        self._settings = settings | ours

    def claim(self, claims: Sequence[Claim], since: Mapping[str, int]) -> dict[str, list[tuple[int, Record]]]:
        """As the protocol says. Raises ConnectionProblem, StateCorrupt, or AheadOfLogEnd when the topic was made anew."""
        sent = [_Sent(claim, lambda _: None) for claim in claims]
        for one in sent:
            self._send(one)
        if not self._wait(REQUEST_S):
            what = f"Kafka did not take a record of topic {self._topic!r} within {REQUEST_S:.0f} s"
            raise ConnectionProblem(what, "look at the brokers, and at the topic's min.insync.replicas")
        spans: dict[int, tuple[int, int]] = {}
        for one in sent:
            partition, offset = one.place or (0, 0)
            first = since[one.record.shard] + 1
            if first > offset:
                what = f"{self._topic}/{partition}: {one.record.shard} has read it to {first}, and it ends at {offset}"
                raise AheadOfLogEnd(what, "restore the topic, or start over with `driftline recover --rebuild`")
            low, high = spans.get(partition, (first, offset))
            spans[partition] = min(low, first), max(high, offset)
        return self._read(
            {c.shard: since[c.shard] for c in claims},
            {c.token: s.place for c, s in zip(claims, sent, strict=True)},
            spans,
        )

    def _read(
        self, since: Mapping[str, int], ends: Mapping[str, Any], spans: Mapping[int, tuple[int, int]]
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
                        raise_for(message.error(), self._topic)
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

    def write(self, record: Record, done: Callable[[int], None]) -> None:
        """As the protocol says."""
        self._send(_Sent(record, done))

    def settled(self) -> bool:
        """As the protocol says."""
        return self._wait(_SETTLE_S)

    def _send(self, sent: _Sent) -> None:
        event = journal.to_event(sent.record, self._topic)

        def delivered(error: KafkaError | None, message: Any) -> None:  # noqa: ANN401  # untyped client
            self._under_way -= 1
            if error is not None:  # sent again: a record may stand twice, and counts once
                self._unsent.append(sent)
                return
            sent.place = message.partition(), message.offset()
            sent.done(message.offset())

        self._under_way += 1
        try:
            self._producer.produce(
                event.topic, value=event.value, key=event.key, headers=event.headers, on_delivery=delivered
            )
        except (BufferError, KafkaException):  # the queue is full, or the topic is not there
            self._under_way -= 1
            self._unsent.append(sent)

    def _wait(self, longest_s: float) -> bool:
        deadline = time.monotonic() + longest_s
        while self._under_way or self._unsent:
            for _ in range(len(self._unsent)):
                self._send(self._unsent.popleft())
            self._producer.poll(_POLL_S)
            if time.monotonic() > deadline:
                return False
        return True


def _decode(value: bytes | None, where: str) -> Record:
    try:
        return journal.decode(value or b"")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise StateCorrupt(f"{where}: not a record of driftline's journal: {error}", RESTORE) from error
