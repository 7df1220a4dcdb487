"""Kafka out: events from the outbox, and dead letters, by one idempotent producer with ``acks=all``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.edges.kafka_log import client_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schemas.outbox import OutboxEvent
    from schemas.settings import DeadLetters, Topics
    from streams.engine.columns import Rejected
    from streams.engine.records import RecordBatch

_SETTINGS: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    # The queue holds dead letters of a whole bad partition's batch; when it is full we poll and try again.
    "queue.buffering.max.kbytes": 131_072,
    "message.max.bytes": 2_000_000,
    # A producer's client makes the topics it asks for, with the broker's number of partitions; a missing topic is an error.
    "allow.auto.create.topics": False,
}
_CONNECT = "__connect.errors."
"""Kafka Connect's names for the headers of a dead letter, so that its tools can read them."""


class KafkaPublisher:
    """Publishes at least once: what Kafka refuses or does not acknowledge in time is sent again until it is (P3)."""

    def __init__(self, kafka: Mapping[str, str | int | bool], topics: Topics, dead_letters: DeadLetters) -> None:
        """Make the producer."""
        consumer_only = {"group.instance.id", "session.timeout.ms", "group.protocol", "heartbeat.interval.ms"}
        settings = {
            k: v for k, v in kafka.items() if k not in consumer_only and not k.startswith(("fetch.", "queued."))
        }
        self._producer = Producer(client_settings(settings) | _SETTINGS)
        self._topic, self._rules = topics.dead_letters, dead_letters
        self._unsettled = 0
        self.failures = 0
        self.dead_letters = 0

    @property
    def client(self) -> Any:  # noqa: ANN401  # untyped client
        """The producer, to ask for metadata with."""
        return self._producer

    def publish(self, event: OutboxEvent, done: Callable[[], None]) -> None:
        """Send an event; again, if it fails."""

        def delivered(error: KafkaError | None, _message: Any) -> None:  # noqa: ANN401  # untyped client
            if error is None:
                done()
            else:
                self.failures += 1
                self.publish(event, done)

        self._send(event.topic, event.key, event.value, list(event.headers), delivered)

    def dead_letter(self, batch: RecordBatch, rejected: Rejected) -> None:
        """Send a record that could not be read, cut to the configured size, with the hash of the whole (R7)."""
        row = rejected.row
        value = batch.values[row]
        where = {
            "topic": batch.topic,
            "partition": str(int(batch.partition[row])),
            "offset": str(int(batch.offset[row])),
        }
        headers: list[tuple[str, bytes | None]] = list(batch.headers(row))
        headers += [(f"{_CONNECT}{k}", v.encode()) for k, v in where.items()]
        headers += [
            (f"{_CONNECT}stage", b"VALUE_CONVERTER"),
            (f"{_CONNECT}exception.class.name", str(rejected.reason).encode()),
            (f"{_CONNECT}exception.message", rejected.message.encode("utf-8", "replace")[:1000]),
            ("driftline.id", "/".join(where.values()).encode()),
        ]
        if value is not None:
            headers.append(("driftline.sha256", hashlib.sha256(value).hexdigest().encode()))
            headers.append(("driftline.bytes", str(len(value)).encode()))
        # Never a null value: it would be a tombstone, and a compacted topic would delete what it is meant to keep.
        kept = b"" if value is None or self._rules.payload == "hash" else value[: self._rules.max_bytes]
        self._unsettled += 1
        self.dead_letters += 1
        key = batch.key(row)
        hash_only = [h for h in headers if h[0].startswith((_CONNECT, "driftline."))]

        def delivered(error: KafkaError | None, _message: Any) -> None:  # noqa: ANN401  # untyped client
            if error is None:
                self._unsettled -= 1
                return
            self.failures += 1
            refused = error.code() in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD}
            # What Kafka refuses for good is sent again as its hash only; everything else is sent again as it is.
            self._send(
                self._topic,
                None if refused else key,
                b"" if refused else kept,
                hash_only if refused else headers,
                delivered,
            )

        self._send(self._topic, key, kept, headers, delivered)

    def _send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: list[Any],
        delivered: Callable[[KafkaError | None, Any], None],
    ) -> None:
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, headers=headers, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:  # a key alone can be larger than any record may be
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                delivered(error.args[0], None)
                return
            else:
                return

    def settled(self) -> bool:
        """Whether every dead letter is acknowledged; waits a little for those under way."""
        if self._unsettled:
            self._producer.flush(1.0)
        return self._unsettled == 0

    def poll(self) -> None:
        """Handle acknowledgements."""
        self._producer.poll(0)

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way; what is not acknowledged by then is still in the outbox."""
        self._producer.flush(timeout_s)
