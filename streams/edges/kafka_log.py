"""Kafka in: micro-batches from a consumer group, handed on as arrays.

``group.id`` is the deployment's; assignment is by range over {predictions, labels} and {features}, so that partition p of
both halves of a task comes to one worker (R10). Offsets live in Redis: a partition starts where its task says, and what is
committed to Kafka is for lag tools only.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import (
    ANEW,
    AheadOfLogEnd,
    BehindLogStart,
    ConfigError,
    ConnectionProblem,
    PermissionMissing,
    TopicMissing,
)
from streams.edges.kafka_assignment import Assignment
from streams.engine.records import Headers, RecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from streams.edges.kafka_assignment import Place

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
CLIENT_DEFAULTS: dict[str, str | int | bool] = {
    # 10 s by default: so long a client would stay away from a broker that is back.
    "reconnect.backoff.max.ms": 1000,
    # 60 s by default: so long a request would wait on a connection whose other end is gone without a word.
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
}
CLASSIC_DEFAULTS: dict[str, str | int | bool] = {
    # 3 s by default: so late the others hear, in the answer to a heartbeat, that somebody left or died and theirs is the rest.
    "heartbeat.interval.ms": 500,
}
_GROUP_ONLY = {
    "group.instance.id", "group.protocol", "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms",
}  # fmt: skip
MISSING_S = 5.0
"""A topic counts as missing after this: a cluster tells all its brokers of a new one within a second."""
LOOK_S = 1.0
"""Time between two questions for topics, and how long joining a group may take before the first."""
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001  # the client's name
_PERMISSION = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}


def client_settings(kafka: Mapping[str, str | int | bool]) -> dict[str, Any]:
    """The user's librdkafka settings, with log lines of the library kept out of the way.

    Its level 3 has a line for every attempt to connect, 20 a second; what is wrong comes as an error of a call, too.
    """
    return {"log_level": 2, **CLIENT_DEFAULTS, **kafka}


def without_group(kafka: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    """The user's settings for a client that joins no group: librdkafka refuses or warns of some."""
    return {name: value for name, value in kafka.items() if name not in _GROUP_ONLY}


class KafkaLog:
    """One consumer of the input topics.

    ``claimed`` gives the offsets to start from. It is called at the end of ``poll``, never inside a callback of the client,
    with the partitions of whole tasks that are ours and not read yet: in the classic protocol all of them after each
    rebalance, with `consumer` the new ones. Where it raises, or gives no offset, nothing is read and a later poll asks again.
    ``revoked`` is called inside the callback, before anybody else can have them; ``lost`` when somebody may have them already.
    Both get whole tasks, also where the group takes a part. What they raise, the next poll raises.
    """

    def __init__(
        self,
        kafka: Mapping[str, str | int | bool],
        group: str,
        topics: Sequence[str],
        claimed: Callable[[list[Place]], dict[Place, int]],
        revoked: Callable[[list[Place]], None],
        lost: Callable[[list[Place]], None],
        together: Sequence[Sequence[str]] = (),
    ) -> None:
        """Make the consumer and subscribe. ``together``: the topics of one task each; others are tasks by themselves."""
        self._topics = list(topics)
        self._claimed, self._revoked, self._lost = claimed, revoked, lost
        self._troubles: deque[Exception] = deque()
        self._gone: set[Place] = set()
        self._missing_since, self._look_at, self._doubtful = 0.0, time.monotonic() + LOOK_S, False
        incremental = kafka.get("group.protocol") == "consumer"
        self._consumer = Consumer(
            client_settings(CONSUMER_DEFAULTS | ({} if incremental else CLASSIC_DEFAULTS) | dict(kafka))
            | {
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                # Behind the last record of a partition may stand markers of transactions, which nobody is handed.
                "enable.partition.eof": True,
            }
            # By range, labels come to where their predictions are. Either the members compute it or the broker does.
            | ({"group.remote.assignor": "range"} if incremental else {"partition.assignment.strategy": "range"})
        )
        # A question on the connection that fetches waits behind the fetch: 500 ms where nothing comes, 1 ms on one of its own.
        # A group id is asked for by the client and never used.
        self._asker = Consumer(client_settings(without_group(kafka)) | {"group.id": f"{group}.asker"})
        self._assignment = Assignment(self._consumer, together, incremental=incremental)
        self.subscribe()

    def subscribe(self) -> None:
        """Join the group (again)."""
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def rejoin(self) -> None:
        """Leave the group and join it again: for a worker whose tasks somebody else owns."""
        self._consumer.unsubscribe()
        self._assignment.forget()
        self.subscribe()

    def partition_counts(self) -> dict[str, int]:
        """How many partitions each topic has.

        Raises ConnectionProblem (no broker answered), TopicMissing or PermissionMissing.
        """
        return partition_counts(self._asker, self._topics)

    def verify(self, topic: str, partition: int, offset: int) -> int:
        """Return where the partition ends, for a state that stands at ``offset``.

        Raises BehindLogStart or AheadOfLogEnd unless it can be read from there; or ConnectionProblem.
        """
        low, high = self.bounds(topic, partition)
        where = f"{topic}/{partition}: the state stands at offset {offset}"
        if offset < low:
            what = f"{where}, the topic begins at {low}: retention has removed {low - offset} records nobody counted"
            raise BehindLogStart(what, ANEW)
        if offset > high:
            what = f"{where}, the topic ends at {high}: it was made anew or truncated"
            raise AheadOfLogEnd(what, ANEW)
        return high

    # -- the client's callbacks: they run inside ``consume`` and ``close``, and never raise --------------------------------

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone.update(_places(partitions))
        self._assignment.give(_places(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._take(partitions, self._revoked)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._take(partitions, self._lost)

    def _take(self, partitions: list[TopicPartition], tell: Callable[[list[Place]], None]) -> None:
        tasks = self._assignment.tasks_of(_places(partitions))
        self._gone.update(tasks)
        try:
            tell(tasks)
        except Exception as error:  # noqa: BLE001  # inside a callback it would be the client's, which goes on by itself
            self._troubles.append(error)
        finally:
            self._assignment.take(_places(partitions))

    # -- reading ------------------------------------------------------------------------------------------------------

    def poll(self, most: int, timeout_s: float) -> list[RecordBatch]:
        """Up to ``most`` records as batches by topic, each sorted by (partition, offset).

        Raises, one call later where there are records to hand on: what ``claimed``, ``revoked`` and ``lost`` raised;
        ConnectionProblem, TopicMissing or PermissionMissing when the client said so.
        """
        if self._troubles:
            raise self._troubles.popleft()
        self._look_for_topics()
        messages = self._consumer.consume(most, timeout_s)
        if self._gone or self._assignment.waiting:
            # Taken from the client's queue before the callback ran, and behind what the state has been committed with.
            messages = [m for m in messages if self._is_due(m)]
            self._gone.clear()
        marks = list(map(Message.error, messages))
        if any(marks):
            # The client stands behind the records that came with an error: they are handed on first, or nobody counts them.
            for message in compress(messages, marks):
                self._note(message)
            messages = list(compress(messages, [e is None for e in marks]))
        batches = list(_batches(messages))
        for batch in batches:
            for partition, _, last in batch.partitions():
                self._assignment.advance((batch.topic, partition), int(batch.offset[last - 1]) + 1)
        if waiting := self._assignment.waiting:
            try:
                self.assign_again(self._claimed(waiting))
            except Exception as error:
                if not batches:
                    raise
                self._troubles.append(error)
        return batches

    def _note(self, message: Message) -> None:
        """Keep what has to be raised; note the ends of partitions; everything else passes by itself."""
        error: KafkaError = message.error()  # type: ignore[assignment]  # that is why it is here
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the client's name
            self._assignment.advance(_place(message), int(message.offset() or 0))
        elif error.code() in _NO_TOPIC and not error.fatal():
            self._doubtful = True
        elif (trouble := _trouble(error)) is not None:
            self._troubles.append(trouble)

    def _look_for_topics(self) -> None:
        """Where topics may be missing, ask for them: because the client said so, or because nothing of theirs is assigned.

        Raises TopicMissing when one is still missing after ``MISSING_S``, or ConnectionProblem.
        """
        now = time.monotonic()
        if now < self._look_at or not (self._doubtful or self._assignment.incomplete):
            return
        self._look_at = now + LOOK_S
        try:
            self.partition_counts()
        except TopicMissing:
            self._missing_since = self._missing_since or now
            if now - self._missing_since >= MISSING_S:
                raise
        else:
            self._missing_since, self._doubtful = 0.0, False

    def _is_due(self, message: Message) -> bool:
        place, error = _place(message), message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # the client's name
            return True
        return place not in self._gone and place in self._assignment

    def assign_again(self, starts: Mapping[Place, int]) -> None:
        """Read these partitions again from these offsets, without a rebalance, dropping what the client has fetched of them.

        Partitions that are not ours any more are passed over. Raises ConnectionProblem.
        """
        try:
            self._assignment.read(starts)
        except KafkaException as error:
            raise as_driftline_error(error.args[0]) from error

    def position(self, topic: str, partition: int) -> int:
        """The offset behind the last record handed over, and behind the markers of transactions that end the log.

        No poll returns these: so a partition is caught up when the position, not the last record, has reached the end that
        ``bounds`` tells. With records of the partition held by the caller it is ahead of the state; -1 where it is not read.
        """
        return self._assignment.position((topic, partition))

    def bounds(self, topic: str, partition: int, timeout_s: float = REQUEST_S) -> tuple[int, int]:
        """The first offset that the partition still has, and the one that its next record will get (asks the broker)."""
        try:
            low, high = self._asker.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout_s)
        except KafkaException as error:
            # What the client heard of the topic while it had no leader it would believe for a quarter of an hour (seen: "Local:
            # Unknown partition" for minutes after the broker was back).
            with contextlib.suppress(KafkaException):
                self._asker.list_topics(topic, timeout=timeout_s)
            raise as_driftline_error(error.args[0]) from error
        return low, high

    def cached_end(self, topic: str, partition: int) -> int:
        """The end of a partition as of the last fetch, without asking the broker; 0 before the first."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        except KafkaException:
            return 0
        return max(0, high)

    def pause(self) -> None:
        """Fetch nothing until ``resume``, and stay in the group; what the group gives meanwhile is not fetched either."""
        self._assignment.pause()

    def resume(self) -> None:
        """Fetch again."""
        self._assignment.resume()

    def hold(self, places: set[Place]) -> None:
        """Fetch nothing more of these partitions than what was fetched, and of the others again."""
        self._assignment.hold(places)

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Tell Kafka where we are, for lag tools. Best effort: Redis is the truth."""
        places = [TopicPartition(t, p, o) for (t, p), o in offsets.items()]
        if places:
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=places, asynchronous=True)

    def close(self) -> None:
        """Leave the group. Raises what ``revoked`` raised on the way out."""
        self._asker.close()
        self._consumer.close()
        if self._troubles:
            raise self._troubles.popleft()


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
    if (trouble := _trouble(error, topic)) is not None:
        raise trouble


def _trouble(error: KafkaError, topic: str = "") -> Exception | None:
    known = _NO_TOPIC | _PERMISSION
    # Brokers that are away are none of these: raising for them here would throw away the records of the same poll.
    known.add(KafkaError._AUTO_OFFSET_RESET)  # noqa: SLF001
    return as_driftline_error(error, topic) if error.code() in known or error.fatal() else None


def as_driftline_error(error: KafkaError, topic: str = "") -> Exception:
    """The driftline error for one of the client's."""
    code, text = error.code(), error.str()
    if error.fatal():
        return ConfigError(
            f"Kafka has ended this client for good: {text}", "give every worker a kafka.group.instance.id of its own"
        )
    if code in _NO_TOPIC:
        name = f"topic {topic!r}" if topic else text
        return TopicMissing(
            f"{name} does not exist", "make it with `driftline topics create`, or correct topics in monitor.yaml"
        )
    if code in _PERMISSION:
        return PermissionMissing(
            f"Kafka refuses: {text}", "give driftline's user the right, or correct the credentials"
        )
    if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # the client's name
        return BehindLogStart(f"Kafka no longer has the records we need next: {text}", ANEW)
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


def _place(message: Message) -> Place:
    return str(message.topic()), int(message.partition() or 0)


def _places(partitions: list[TopicPartition]) -> list[Place]:
    return [(p.topic, p.partition) for p in partitions]


def _interleaved(partition: np.ndarray[Any, Any]) -> bool:
    return int(np.count_nonzero(np.diff(partition))) + 1 != len(np.unique(partition))


def _keys(messages: list[Any]) -> Callable[[int], bytes | None]:
    return lambda row: messages[row].key()


def _headers(messages: list[Any]) -> Callable[[int], Headers]:
    return lambda row: messages[row].headers() or []
