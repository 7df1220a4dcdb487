"""Kafka out: events from the outbox, and dead letters, by one idempotent producer with ``acks=all``.

Nothing here waits for room: what the client cannot take now stands in a queue of our own by topic, in order, and ``poll`` hands
it on. ``full`` says that so much waits that the worker has to stop fetching (P6). The records of one key arrive in the order in
which they were given, unless Kafka refuses one of them, or does not say where it put it, and takes a later one.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import ConfigError, PermissionMissing
from streams.edges.kafka_log import client_settings, without_group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schemas.outbox import OutboxEvent
    from schemas.settings import DeadLetters, Topics
    from streams.engine.columns import Rejected
    from streams.engine.records import RecordBatch

FULL_RECORDS = 20_000
"""Records not acknowledged at which a worker must stop fetching: two polls' worth, should every record be a dead letter."""
FULL_BYTES = 64 * 1024 * 1024
"""Their bytes at which it must stop, too: half of the client's queue, so that a last batch of large ones still fits in there."""
RESEND_S = 1.0
"""Pause of a topic that refused a record: missing topics and rights come back by hand, and a loop without pause eats a core."""
SETTLE_S = 1.0
"""How long a commit waits for its dead letters to be acknowledged: many times what a broker needs, few enough to notice a stop."""
_SETTINGS: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    # Dead letters of a whole bad partition's batch; what is more waits in our own queue.
    "queue.buffering.max.kbytes": 131_072,
    "message.max.bytes": 2_000_000,
    # Never: after a time-out the next record of the key would overtake the one that is sent again.
    "message.timeout.ms": 0,
    # A producer's client makes the topics it asks for, with the broker's number of partitions; a missing topic is an error.
    "allow.auto.create.topics": False,
}
_REFUSED = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD}
"""What is wrong with the record itself: it will be refused again as it is."""
_CONNECT = "__connect.errors."
"""Kafka Connect's names for the headers of a dead letter, so that its tools can read them."""
Headers = list[tuple[str, str | bytes | None]]
_OVERHEAD_BYTES = 500
"""What the client and we keep of a record beside its bytes, roughly."""


@dataclass(slots=True)
class _Record:
    """A record until Kafka has it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    done: Callable[[int, int], None]
    """Called with the partition and the offset that it got."""
    shorter: _Record | None = None
    """What to send instead where Kafka refuses it for good."""

    @property
    def bytes(self) -> int:
        """What it takes in memory, roughly."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return _OVERHEAD_BYTES + len(self.key or b"") + len(self.value) + headers


@dataclass(slots=True)
class _Lane:
    """What waits for one topic. ``refused`` came back from Kafka and goes first."""

    refused: deque[_Record] = field(default_factory=deque)
    waiting: deque[_Record] = field(default_factory=deque)
    not_before_s: float = 0.0

    def __len__(self) -> int:
        return len(self.refused) + len(self.waiting)


class KafkaPublisher:
    """Publishes at least once: what Kafka refuses or does not acknowledge is sent again until it is (P3)."""

    def __init__(self, kafka: Mapping[str, str | int | bool], topics: Topics, dead_letters: DeadLetters) -> None:
        """Make the producer."""
        settings = {k: v for k, v in without_group(kafka).items() if not k.startswith(("fetch.", "queued."))}
        # What a callback of the client raised would come out of any call: these errors are kept, and raised by ``poll``.
        self._fatal = fatal = list[KafkaError]()
        noticed = {"error_cb": lambda error: fatal.append(error) if error.fatal() else None}
        self._producer = Producer(client_settings(settings) | _SETTINGS | noticed)
        self._topic, self._rules = topics.dead_letters, dead_letters
        self._lanes: dict[str, _Lane] = {}
        self._stalled = False
        self._records = self._bytes = 0
        self.unsettled = 0
        """Dead letters and entrusted records that are not acknowledged yet."""
        self.failures = 0
        self.dead_letters = 0

    @property
    def client(self) -> Any:  # noqa: ANN401  # untyped client
        """The producer, to ask for metadata with."""
        return self._producer

    @property
    def full(self) -> bool:
        """Whether so much waits for Kafka that nothing more may be fetched."""
        return self._records >= FULL_RECORDS or self._bytes >= FULL_BYTES

    def publish(self, event: OutboxEvent, done: Callable[[], None]) -> None:
        """Send an event; again, if it fails."""
        self._send(_Record(event.topic, event.key, event.value, list(event.headers), lambda *_: done()))

    def entrust(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        done: Callable[[int, int], None],
    ) -> None:
        """Send a record that must stand in Kafka before the next commit; ``done`` is told its partition and offset."""
        self._entrust(_Record(topic, key, value, headers, done))

    def dead_letter(self, batch: RecordBatch, rejected: Rejected) -> None:
        """Send a record that could not be read, cut to the configured size, with the hash of the whole (R7)."""
        row = rejected.row
        value = batch.values[row]
        where = {
            "topic": batch.topic,
            "partition": str(int(batch.partition[row])),
            "offset": str(int(batch.offset[row])),
        }
        ours: Headers = [(f"{_CONNECT}{k}", v.encode()) for k, v in where.items()]
        ours += [
            (f"{_CONNECT}stage", b"VALUE_CONVERTER"),
            (f"{_CONNECT}exception.class.name", str(rejected.reason).encode()),
            (f"{_CONNECT}exception.message", rejected.message.encode("utf-8", "replace")[:1000]),
            ("driftline.id", "/".join(where.values()).encode()),
        ]
        if value is not None:
            ours.append(("driftline.sha256", hashlib.sha256(value).hexdigest().encode()))
            ours.append(("driftline.bytes", str(len(value)).encode()))
        self.dead_letters += 1
        # Never a null value: it would be a tombstone, and a compacted topic would delete what it is meant to keep.
        hash_only = _Record(self._topic, None, b"", ours, _nothing)
        if self._rules.payload == "hash":  # key and headers are as personal as the value
            self._entrust(hash_only)
            return
        kept = b"" if value is None else value[: self._rules.max_bytes]
        # The hash alone must fit whatever the producer of the record called its headers: only ours go with it.
        headers = [*batch.headers(row), *ours]
        self._entrust(_Record(self._topic, batch.key(row), kept, headers, _nothing, hash_only))

    def _entrust(self, record: _Record) -> None:
        done = record.done

        def settled(partition: int, offset: int) -> None:
            self.unsettled -= 1
            done(partition, offset)

        self.unsettled += 1
        record.done = settled
        if record.shorter is not None:
            record.shorter.done = settled
        self._send(record)

    # -- queues -------------------------------------------------------------------------------------------------------

    def _send(self, record: _Record) -> None:
        self._records += 1
        self._bytes += record.bytes
        lane = self._lanes.get(record.topic)
        if lane is not None or not self._produce(record):
            self._lanes.setdefault(record.topic, _Lane()).waiting.append(record)

    def _produce(self, record: _Record) -> bool:
        """Give a record to the client; False when it has no room."""

        def delivered(error: KafkaError | None, message: Any) -> None:  # noqa: ANN401  # untyped client
            if error is not None:
                self._failed(record, error)
                return
            if message.offset() is None:
                # The client takes a record for acknowledged when a later one of its partition is. A topic that was made anew
                # meanwhile may have taken the later one alone: what got no place is sent once more. (It also has no place for
                # what a broker calls a duplicate; Kafka gives the first place again instead.)
                self.failures += 1
                self._again(record)
                return
            self._records -= 1
            self._bytes -= record.bytes
            self._stalled = False
            record.done(message.partition(), message.offset())

        try:
            self._producer.produce(
                record.topic, value=record.value, key=record.key, headers=record.headers, on_delivery=delivered
            )
        except BufferError:
            return False
        except KafkaException as error:  # a key alone can be larger than any record; a topic can be known to be missing
            self._failed(record, error.args[0])
        return True

    def _failed(self, record: _Record, error: KafkaError) -> None:
        """Send it again: as it is after a pause, or shorter at once."""
        self.failures += 1
        if error.fatal():
            self._fatal.append(error)
        if error.code() in _REFUSED and record.shorter is not None:
            self._bytes += record.shorter.bytes - record.bytes
            self._again(record.shorter)
        else:
            self._again(record).not_before_s = time.monotonic() + RESEND_S

    def _again(self, record: _Record) -> _Lane:
        """Send it again before what waits for its topic."""
        lane = self._lanes.setdefault(record.topic, _Lane())
        lane.refused.append(record)
        return lane

    def _hand_on(self) -> None:
        """Give the client what waits, as far as it has room."""
        for topic, lane in list(self._lanes.items()):
            for queue in (lane.refused, lane.waiting):
                while queue and time.monotonic() >= lane.not_before_s:
                    record = queue.popleft()
                    if not self._produce(record):
                        queue.appendleft(record)
                        return
            if not lane:
                del self._lanes[topic]

    def _serve(self, timeout_s: float) -> None:
        self._producer.poll(timeout_s)
        if self._lanes:
            self._hand_on()

    # -- acknowledgements ---------------------------------------------------------------------------------------------

    def settled(self) -> bool:
        """Whether everything entrusted is acknowledged; waits a little for it, unless the last wait was in vain."""
        self._stalled = not self.wait(lambda: not self.unsettled, 0.0 if self._stalled else SETTLE_S)
        return not self._stalled

    def wait(self, over: Callable[[], bool], longest_s: float) -> bool:
        """Handle acknowledgements until ``over``; returns whether it came to that."""
        deadline = time.monotonic() + longest_s
        self._serve(0)
        while not over() and (left := deadline - time.monotonic()) > 0:
            self._serve(min(left, 0.1))
        return over()

    def poll(self) -> None:
        """Handle acknowledgements, and hand on what waits.

        Raises PermissionMissing or ConfigError when the client has ended for good: then only a new process can go on.
        """
        self._serve(0)
        if self._fatal:
            raise _ended(self._fatal[0])

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way; what is not acknowledged by then is still in the outbox."""
        deadline = time.monotonic() + timeout_s
        self.wait(lambda: not self._records, timeout_s)
        self._producer.flush(max(0.0, deadline - time.monotonic()))


def _nothing(_partition: int, _offset: int) -> None:
    """A dead letter has nobody waiting for its place."""


def _ended(error: KafkaError) -> Exception:
    """The driftline error for one after which a producer does nothing any more."""
    refused = {KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED}
    what = f"Kafka has ended this producer for good: {error.str()}"
    if error.code() in refused:
        return PermissionMissing(what, "give driftline's user the right to write idempotently to the cluster")
    return ConfigError(what, "start this worker again; what was not acknowledged is still in Redis and is sent again")
