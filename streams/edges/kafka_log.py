"""Kafka in: micro-batches from a consumer group, handed on as arrays.

``group.id`` is the deployment's; assignment is by range over {predictions, labels} and {features}, so that partition p of
both halves of a task comes to one worker (R10). Offsets live in Redis: a partition starts where its task says, and what is
committed to Kafka is for lag tools only.
"""

from __future__ import annotations

import contextlib
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import (
    AheadOfLogEnd,
    BehindLogStart,
    ConfigError,
    ConnectionProblem,
    PermissionMissing,
    TopicMissing,
)
from streams.engine.records import Headers, RecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REQUEST_S = 10.0
"""How long one question to the broker may take: two election time-outs; below any sensible session time-out."""
CONSUMER_DEFAULTS: dict[str, str | int | bool] = {
    # 1,000 ms by default: with a short local queue the fetcher then sleeps longer than it works (measured: 13x slower).
    "fetch.queue.backoff.ms": 5,
    # Half a megabyte to one was fastest; a larger record is still fetched (KIP-74).
    "fetch.message.max.bytes": 1_000_000,
    "queued.max.messages.kbytes": 65_536,
    # Producers and topics may allow records of several MB, and one response must be able to hold one.
    "receive.message.max.bytes": 200_000_000,
}
_PERMISSION = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}


def client_settings(kafka: Mapping[str, str | int | bool]) -> dict[str, Any]:
    """The user's librdkafka settings, with log lines of the library kept out of the way.

    Its level 3 has a line for every attempt to connect, 20 a second; what is wrong comes as an error of a call, too.
    """
    return {"log_level": 2, **kafka}


class KafkaLog:
    """One consumer of the input topics. ``claimed`` gives the offsets to start from; ``revoked`` is told before they go.

    ``claimed`` must not fail for what passes by itself: where a callback raises, the client assigns by itself, from the offsets
    that Kafka remembers, and those are not the state's.
    """

    def __init__(
        self,
        kafka: Mapping[str, str | int | bool],
        group: str,
        topics: Sequence[str],
        claimed: Callable[[list[tuple[str, int]]], dict[tuple[str, int], int]],
        revoked: Callable[[list[tuple[str, int]]], None],
        lost: Callable[[list[tuple[str, int]]], None],
    ) -> None:
        """Make the consumer and subscribe. ``lost`` is called instead of ``revoked`` when somebody else has them already."""
        self._topics = list(topics)
        self._claimed, self._revoked, self._lost = claimed, revoked, lost
        self._errors: list[KafkaError] = []
        self._consumer = Consumer(
            client_settings(CONSUMER_DEFAULTS | dict(kafka))
            | {
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "partition.assignment.strategy": "range",
            }
        )
        self.subscribe()

    def subscribe(self) -> None:
        """Join the group (again)."""
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def rejoin(self) -> None:
        """Leave the group and join it again: for a worker whose tasks somebody else owns."""
        self._consumer.unsubscribe()
        self.subscribe()

    def partition_counts(self) -> dict[str, int]:
        """How many partitions each topic has.

        Raises ConnectionProblem (no broker answered), TopicMissing or PermissionMissing.
        """
        return partition_counts(self._consumer, self._topics)

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:  # noqa: ANN401  # untyped client
        starts = self._claimed([(p.topic, p.partition) for p in partitions])
        consumer.assign([TopicPartition(t, p, offset or OFFSET_BEGINNING) for (t, p), offset in sorted(starts.items())])

    def verify(self, topic: str, partition: int, offset: int) -> None:
        """Raise BehindLogStart or AheadOfLogEnd unless the partition can be read from ``offset``; or ConnectionProblem."""
        low, high = self.bounds(topic, partition)
        where = f"{topic}/{partition}: the state stands at offset {offset}"
        if 0 < offset < low:
            what = f"{where}, the topic begins at {low}: retention has removed {low - offset} records nobody counted"
            raise BehindLogStart(what, "raise the topic's retention, and start a new group to count what is left")
        if offset > high:
            what = f"{where}, the topic ends at {high}: it was made anew or truncated"
            raise AheadOfLogEnd(what, "start a new group for the new topic, or restore the topic")

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:  # noqa: ANN401  # untyped client
        self._revoked([(p.topic, p.partition) for p in partitions])
        consumer.unassign()

    def _on_lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:  # noqa: ANN401  # untyped client
        self._lost([(p.topic, p.partition) for p in partitions])
        consumer.unassign()

    def poll(self, most: int, timeout_s: float) -> list[RecordBatch]:
        """Up to ``most`` records as batches by topic, each sorted by (partition, offset).

        Raises the errors of the callbacks; ConnectionProblem, TopicMissing or PermissionMissing one call after the client
        has said so.
        """
        if self._errors:
            errors, self._errors = self._errors, []
            for error in errors:
                raise_for(error)
        messages = self._consumer.consume(most, timeout_s)
        marks = list(map(Message.error, messages))
        if any(marks):
            # The client stands behind the records that came with an error: they are handed on first, or nobody counts them.
            self._errors = list(filter(None, marks))
            messages = list(compress(messages, [e is None for e in marks]))
        return list(_batches(messages))

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that the partition still has, and the one that its next record will get (asks the broker)."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_S)
        except KafkaException as error:
            raise as_driftline_error(error.args[0]) from error
        return low, high

    def committed(self, topic: str, partition: int) -> int:
        """The offset that this group once told Kafka, 0 when it never did."""
        try:
            place = self._consumer.committed([TopicPartition(topic, partition)], timeout=REQUEST_S)[0]
        except KafkaException as error:
            raise as_driftline_error(error.args[0]) from error
        return max(0, place.offset)

    def cached_end(self, topic: str, partition: int) -> int:
        """The end of a partition as of the last fetch, without asking the broker; 0 before the first."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        except KafkaException:
            return 0
        return max(0, high)

    def pause(self) -> None:
        """Fetch nothing until ``resume``, and stay in the group."""
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._consumer.assignment())

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Tell Kafka where we are, for lag tools. Best effort: Redis is the truth."""
        places = [TopicPartition(t, p, o) for (t, p), o in offsets.items()]
        if places:
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=places, asynchronous=True)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def partition_counts(client: Any, topics: Sequence[str]) -> dict[str, int]:  # noqa: ANN401  # consumer, producer or admin
    """How many partitions each topic has. Raises ConnectionProblem, TopicMissing or PermissionMissing."""
    counts = {}
    try:
        for topic in topics:
            found = client.list_topics(topic, timeout=REQUEST_S).topics[topic]
            if found.error is not None:
                raise_for(found.error, topic)
            counts[topic] = len(found.partitions)
    except KafkaException as error:
        raise as_driftline_error(error.args[0]) from error
    return counts


def raise_for(error: KafkaError, topic: str = "") -> None:
    """Raise what an error of the client means for us, unless it passes by itself."""
    known = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC} | _PERMISSION  # noqa: SLF001  # the client's names
    # Brokers that are away are none of these: raising for them here would throw away the records of the same poll.
    known.add(KafkaError._AUTO_OFFSET_RESET)  # noqa: SLF001
    if error.code() in known or error.fatal():
        raise as_driftline_error(error, topic)


def as_driftline_error(error: KafkaError, topic: str = "") -> Exception:
    """The driftline error for one of the client's."""
    code, text = error.code(), error.str()
    if error.fatal():
        return ConfigError(
            f"Kafka has ended this client for good: {text}", "give every worker a kafka.group.instance.id of its own"
        )
    if code in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001  # the client's name
        name = f"topic {topic!r}" if topic else text
        return TopicMissing(
            f"{name} does not exist", "make it with `driftline topics create`, or correct topics in monitor.yaml"
        )
    if code in _PERMISSION:
        return PermissionMissing(
            f"Kafka refuses: {text}", "give driftline's user the right, or correct the credentials"
        )
    if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # the client's name
        return BehindLogStart(f"Kafka no longer has the records we need next: {text}", "raise the topic's retention")
    return ConnectionProblem(f"Kafka did not answer: {text}", "start the broker, or correct kafka.bootstrap.servers")


def _batches(messages: list[Any]) -> Iterator[RecordBatch]:
    names: list[str] = list(map(Message.topic, messages))  # type: ignore[arg-type]  # a received record has a topic
    for topic in sorted(set(names)):
        mine = messages if len(set(names)) == 1 else list(compress(messages, map(topic.__eq__, names)))
        n = len(mine)
        partition = np.fromiter(map(Message.partition, mine), np.int32, n)
        offset = np.fromiter(map(Message.offset, mine), np.int64, n)
        if n > 1 and bool((np.diff(partition) < 0).any() or _interleaved(partition)):
            order = np.lexsort((offset, partition))
            mine = list(map(mine.__getitem__, order.tolist()))
            partition, offset = partition[order], offset[order]
        timestamp = np.fromiter(map(itemgetter(1), map(Message.timestamp, mine)), np.int64, n)
        values = list(map(Message.value, mine))
        yield RecordBatch(topic, partition, offset, timestamp, values, _keys(mine), _headers(mine))


def _interleaved(partition: np.ndarray[Any, Any]) -> bool:
    return int(np.count_nonzero(np.diff(partition))) + 1 != len(np.unique(partition))


def _keys(messages: list[Any]) -> Callable[[int], bytes | None]:
    return lambda row: messages[row].key()


def _headers(messages: list[Any]) -> Callable[[int], Headers]:
    return lambda row: messages[row].headers() or []
