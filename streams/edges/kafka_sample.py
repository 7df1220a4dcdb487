"""The newest records of some topics, and how many came lately: a bounded look that joins no group and moves nothing.

For ``driftline check`` and the start of a worker. It never waits long: what has not come in time is not in the sample.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import ConnectionProblem
from streams.edges.kafka_log import REQUEST_S, as_driftline_error, client_settings, raise_for, without_group

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDS = 2_000
"""Records of a topic: an evenly mixed 0.2 % of strays is seen with 98 %, and they come in tens of milliseconds."""
LEAST = 20
"""Records of a partition at least, however many partitions share the sample."""
WITHIN_S = 3.0
"""The longest look: a start may wait so long for a broker that is slow; below any session time-out."""
_POLL_S = 0.2
_BATCH = 1_000
_TAIL = -2_000
"""librdkafka's RD_KAFKA_OFFSET_TAIL_BASE: offset ``_TAIL - n`` stands n records before the end, without asking for it first."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One record as it lies in the log."""

    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


def _consumer(kafka: Mapping[str, str | int | bool]) -> Any:  # noqa: ANN401  # untyped client
    settings = client_settings(without_group(kafka))
    # A group id is asked for by the client and never used. A partition that is shorter than its tail is read from its start.
    ours = {"group.id": "driftline.sample", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    return Consumer(settings | ours | {"enable.partition.eof": True})


def newest(
    kafka: Mapping[str, str | int | bool],
    counts: Mapping[str, int],
    *,
    records: int = RECORDS,
    within_s: float = WITHIN_S,
) -> dict[str, list[Sampled]]:
    """About ``records`` of the newest records of each topic of ``counts``, the same number from each of its partitions.

    Fewer where there are fewer, or where they do not come within ``within_s``. Raises TopicMissing, PermissionMissing, or
    ConnectionProblem when nothing came of a topic, and not that it is empty either.
    """
    found: dict[str, list[Sampled]] = {topic: [] for topic in counts}
    most = {topic: max(LEAST, records // n) for topic, n in counts.items()}
    left = {(topic, p): most[topic] for topic, n in counts.items() for p in range(n)}
    consumer = _consumer(kafka)
    deadline = time.monotonic() + within_s
    try:
        consumer.assign([TopicPartition(t, p, _TAIL - n) for (t, p), n in left.items()])
        while left and time.monotonic() < deadline:
            for message in consumer.consume(_BATCH, _POLL_S):
                place = message.topic(), message.partition()
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the client's name
                        left.pop(place, None)
                    else:
                        raise_for(error, message.topic() or "")
                    continue
                if place not in left:  # written while we looked
                    continue
                found[place[0]].append(Sampled(place[1], message.timestamp()[1], message.key(), message.value()))
                left[place] -= 1
                if not left[place]:
                    del left[place]
    finally:
        consumer.close()
    if silent := sorted({topic for topic, _ in left if not found[topic]}):
        what = f"Kafka sent nothing of {' and '.join(silent)} within {within_s:g} s"
        raise ConnectionProblem(what, "look at the brokers of these topics, and try again")
    return found


def count_since(
    kafka: Mapping[str, str | int | bool], topic: str, partitions: int, time_ms: int
) -> tuple[int, bool] | None:
    """Records of ``topic`` whose record time is ``time_ms`` or later, and whether older ones are there, too.

    None when the broker does not tell. Raises ConnectionProblem or PermissionMissing.
    """
    consumer = _consumer(kafka)
    count, older = 0, False
    try:
        wanted = [TopicPartition(topic, p, time_ms) for p in range(partitions)]
        for place in consumer.offsets_for_times(wanted, timeout=REQUEST_S):
            if place.error is not None:
                return None
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, place.partition), timeout=REQUEST_S)
            first = high if place.offset < 0 else place.offset  # -1: nothing that new
            count += high - first
            older |= first > low
    except KafkaException as error:
        raise as_driftline_error(error.args[0], topic) from error
    finally:
        consumer.close()
    return count, older
