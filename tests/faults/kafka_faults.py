"""What can happen to a Kafka, done to a real one: it dies, stalls, loses records, refuses to write, is handed rubbish."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

_ANSWER_S: Final = 20.0
"""How long the broker may take for one administrative request; it answers within a second unless the machine is full."""


def admin(bootstrap: str) -> AdminClient:
    """An administrator; log level 0, because every restart of a broker would be told on stderr."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def set_topic(bootstrap: str, topic: str, settings: Mapping[str, str]) -> None:
    """Change settings of a topic, as an administrator would while everything runs."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    client = admin(bootstrap)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for done in client.incremental_alter_configs([resource]).values():
        done.result(timeout=_ANSWER_S)


@contextlib.contextmanager
def refusing(bootstrap: str, topic: str) -> Iterator[None]:
    """Every write is refused: no record is of ten bytes or fewer (MSG_SIZE_TOO_LARGE).

    Two other ways are of no use. ``min.insync.replicas``: since Kafka 4 a broker never wants more replicas than a partition has.
    ``message.timestamp.before.max.ms``: a record that is sent at once arrives in the millisecond in which it was made, and passes.
    """
    set_topic(bootstrap, topic, {"max.message.bytes": "10"})
    try:
        yield
    finally:
        set_topic(bootstrap, topic, {"max.message.bytes": "1048588"})


def trim(bootstrap: str, topic: str, before: Mapping[int, int]) -> dict[int, int]:
    """Delete the records before an offset, by partition, as retention does; returns where each begins now."""
    client = admin(bootstrap)
    done = client.delete_records([TopicPartition(topic, p, o) for p, o in before.items()])
    return {place.partition: done[place].result(timeout=_ANSWER_S).low_watermark for place in done}


def delete(bootstrap: str, topic: str) -> None:
    """Delete a topic."""
    admin_client = admin(bootstrap)
    admin_client.delete_topics([topic])[topic].result(timeout=_ANSWER_S)


def make(bootstrap: str, topic: str, partitions: int, settings: Mapping[str, str] | None = None) -> None:
    """Make a topic; one of this name that is being deleted is waited for."""
    client, deadline = admin(bootstrap), time.monotonic() + _ANSWER_S
    while True:
        try:
            new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=dict(settings or {}))
            client.create_topics([new])[topic].result(timeout=_ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def grow(bootstrap: str, topic: str, partitions: int) -> None:
    """Give a topic more partitions."""
    client = admin(bootstrap)
    client.create_partitions([NewPartitions(topic, partitions)])[topic].result(timeout=_ANSWER_S)


def rubbish(count: int, seed: int = 11) -> list[bytes | None]:
    """Values that no decoder takes, of many kinds; none of them is an event of any model."""
    rng = np.random.default_rng(seed)
    event = {"prediction_id": "x", "model": "loans", "model_version": "v1", "event_time": 1_767_225_600_000}
    kinds: list[bytes | None] = [
        None,
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\xfd",
        b'{"prediction_id": "x"}',
        b"[" * 10_000,
        b'{"a": 1' + b"0" * 5_000 + b"}",
        orjson.dumps(event | {"event_time": "yesterday"}),
        orjson.dumps(event | {"prediction_id": ""}),
        orjson.dumps(event | {"event_time": None}),
        orjson.dumps(event | {"features": 3}),
        orjson.dumps(event)[:-1],
    ]
    made = [kinds[int(k)] for k in rng.integers(0, len(kinds) + 1, count) % len(kinds)]
    noise = rng.integers(0, count, count // 5)
    for row in noise:
        made[int(row)] = b"\x00" + rng.bytes(int(rng.integers(1, 400)))
    return made
