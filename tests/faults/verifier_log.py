"""The topics as they lie in Kafka: read from first to last record with a plain consumer, no group, nothing of driftline's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

REQUEST_S = 10.0
"""How long one question to the broker may take."""
SILENCE_S = 20.0
"""So long nothing may come before the broker counts as away: the restart of one takes less."""
_BATCH = 5_000
_ENDS: tuple[Any, Any] = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the client's
_GROUP_ONLY = {
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "session.timeout.ms",
    "heartbeat.interval.ms",
}


class CannotLookError(Exception):
    """Kafka or Redis did not answer, or holds what this verifier does not understand: neither equal nor different."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One record of a topic. ``appended`` says that the broker's clock stamped it; times in ms."""

    offset: int
    time: int
    appended: bool
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]


class Log:
    """A consumer that asks and reads; every failure is CannotLookError. A context manager."""

    def __init__(self, kafka: Mapping[str, str | int | bool]) -> None:
        settings: dict[str, Any] = {k: v for k, v in kafka.items() if k not in _GROUP_ONLY} | {"log_level": 0}
        ours: dict[str, Any] = {"group.id": "driftline.verifier", "enable.auto.commit": False}
        # A topic that was deleted and made anew must not be read at the old one's offsets.
        ours |= {"enable.partition.eof": True, "auto.offset.reset": "error"}
        ours |= {"fetch.queue.backoff.ms": 5}  # a second by default, which a reader that keeps up would sleep through
        self._consumer = Consumer(settings | ours)
        self._admin = AdminClient(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def bounds(self, *topics: str) -> dict[str, dict[int, tuple[int, int]]]:
        """Of each topic and partition: the lowest offset that is there, and the one after the last."""
        try:
            known = self._admin.list_topics(timeout=REQUEST_S).topics
            places = []
            for topic in topics:
                if topic not in known or known[topic].error is not None:
                    raise CannotLookError(f"topic {topic} is not there")
                places += [TopicPartition(topic, p) for p in known[topic].partitions]
            low, high = (self._offsets(places, spec) for spec in _ENDS)
        except KafkaException as error:
            raise CannotLookError(f"Kafka: {error}") from error
        return {t: {p: (low[t, p], high[t, p]) for p in sorted(known[t].partitions)} for t in topics}

    def _offsets(self, places: list[TopicPartition], spec: Any) -> dict[tuple[str, int], int]:  # noqa: ANN401  # untyped
        asked = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=REQUEST_S)
        return {(place.topic, place.partition): done.result(timeout=REQUEST_S).offset for place, done in asked.items()}

    def everything(self, topic: str) -> Iterator[Raw]:
        """All records of a topic, partition by partition."""
        for partition, (low, end) in self.bounds(topic)[topic].items():
            yield from self.read(topic, partition, low, end)

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[Raw]:
        """The records from ``first`` up to, not including, ``end``."""
        at = first
        if at >= end:
            return
        self._consumer.assign([TopicPartition(topic, partition, at)])
        heard = time.monotonic()
        while at < end:
            for message in self._consumer.consume(min(_BATCH, end - at), 0.5):
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the client's name
                        return  # what is left is no record: the marker of a transaction
                    if not error.fatal() and error.code() != KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # as above
                        continue
                    raise CannotLookError(f"{topic}/{partition}: {error}")
                heard = time.monotonic()
                offset = message.offset() or 0
                at = offset + 1
                if offset >= end:
                    return
                kind, stamp = message.timestamp()
                appended = kind == TIMESTAMP_LOG_APPEND_TIME
                yield Raw(offset, stamp, appended, message.key(), message.value(), _headers(message))
            if time.monotonic() - heard > SILENCE_S:
                what = f"{topic}/{partition}: nothing came for {SILENCE_S:.0f} s, at offset {at} of {end}"
                raise CannotLookError(what)


def _headers(message: Any) -> dict[str, bytes | None]:  # noqa: ANN401  # untyped client
    """A record's headers; of one that is repeated the last counts."""
    return dict(message.headers() or [])
