"""Where a load test happens: a broker, a Redis, topics of its own with the workload in them, a monitor.yaml."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
import yaml
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtest import workload
from schemas.errors import ConnectionProblem
from schemas.settings import Topics
from streams.edges.kafka_log import REQUEST_S, as_driftline_error, client_settings
from streams.edges.redis_store import RedisStore
from tests.services.kafka import KafkaService, missing
from tests.services.redis import RedisService

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FLUSH_S = 60.0
"""How long the last records may take to arrive."""
_INPUTS = ("predictions", "labels")


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses, and the names of the topics by role."""

    bootstrap: str
    redis_url: str
    topics: dict[str, str]
    partitions: int

    def produce(self, made: workload.Rows) -> dict[str, int]:
        """Put the workload into the topics; returns the number of value bytes by topic name."""
        records = {"predictions": workload.predictions(made), "labels": workload.labels(made)}
        return {self.topics[half]: self._send(self.topics[half], r) for half, r in records.items()}

    def _send(self, topic: str, records: Iterable[workload.Record]) -> int:
        producer = Producer(
            client_settings({"bootstrap.servers": self.bootstrap})
            | {"linger.ms": 20, "partitioner": "murmur2", "queue.buffering.max.messages": 1_000_000, "acks": "all"}
        )
        size = 0
        for key, at, value in records:
            size += len(value)
            while True:
                try:
                    producer.produce(topic, value, key=key, timestamp=at)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
            producer.poll(0)
        if producer.flush(FLUSH_S):
            what = f"the broker at {self.bootstrap} did not take all records of {topic} in {FLUSH_S:.0f} s"
            raise ConnectionProblem(what, "look at the broker's log and its free disk space")
        return size

    def ends(self) -> dict[str, list[int]]:
        """The end offsets of the input topics, by topic name and partition."""
        consumer = Consumer(client_settings({"bootstrap.servers": self.bootstrap}) | {"group.id": "loadtest-ends"})
        try:
            return {
                self.topics[half]: [
                    consumer.get_watermark_offsets(TopicPartition(self.topics[half], p), timeout=REQUEST_S)[1]
                    for p in range(self.partitions)
                ]
                for half in _INPUTS
            }
        finally:
            consumer.close()

    def configure(self, folder: Path, group: str) -> Path:
        """Write the reference and a monitor.yaml for a deployment called ``group``; returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        workload.reference().save(folder / "reference.json")
        raw = {
            "group": group,
            "kafka": {"bootstrap.servers": self.bootstrap},
            "redis": {"url": self.redis_url},
            "topics": self.topics,
            "models": {
                workload.MODEL: {
                    "task": "binary",
                    "positive_class": workload.POSITIVE,
                    "reference": "reference.json",
                    # The events are old by the wall clock: a silent partition must not be moved on by it.
                    "windows": {"size": "10m", "pane": "1m", "lateness": "30s", "idle": "3000d"},
                    "labels": {"maturity": "30m", "horizon": "2h"},
                }
            },
        }
        path = folder / "monitor.yaml"
        path.write_text(yaml.safe_dump(raw, sort_keys=False))
        return path

    def forget(self, group: str) -> None:
        """Remove the state of a deployment from Redis."""
        with redis.from_url(self.redis_url) as client:
            for key in client.scan_iter(f"driftline:*{group}*", count=1000):
                client.delete(key)


@contextlib.contextmanager
def somewhere(bootstrap: str | None, redis_url: str | None, partitions: int) -> Iterator[Place]:
    """A place with fresh topics, on the addresses given or on a broker and a Redis of its own; topics and services go with it.

    Raises ConnectionProblem when there is no broker to use, or it refuses the topics.
    """
    with contextlib.ExitStack() as stack:
        if bootstrap is None:
            lacking = missing()
            if lacking is not None:
                what = f"a broker of its own {lacking}"
                raise ConnectionProblem(what, "install them, or name a broker with --bootstrap")
            bootstrap = stack.enter_context(KafkaService()).bootstrap
        if redis_url is None:
            redis_url = stack.enter_context(RedisService()).url
        tag = f"loadtest-{uuid.uuid4().hex[:8]}"
        topics = {role: f"{tag}-{role.replace('_', '-')}" for role in Topics.model_fields}
        RedisStore(redis_url).check()
        admin = AdminClient(client_settings({"bootstrap.servers": bootstrap}))
        try:
            admin.list_topics(timeout=REQUEST_S)
        except KafkaException as error:
            raise as_driftline_error(error.args[0]) from error
        wanted = [NewTopic(name, num_partitions=partitions) for name in topics.values()]
        for name, made in admin.create_topics(wanted, operation_timeout=REQUEST_S, request_timeout=REQUEST_S).items():
            try:
                made.result()
            except KafkaException as error:
                what = f"topic {name} cannot be made at {bootstrap}: {error.args[0].str()}"
                remedy = "start the broker, correct --bootstrap, or give the right to make topics"
                raise ConnectionProblem(what, remedy) from error
        stack.callback(_remove, admin, list(topics.values()))
        yield Place(bootstrap, redis_url, topics, partitions)


def _remove(admin: AdminClient, topics: list[str]) -> None:
    """Delete the topics; a broker that is gone by now needs no tidying."""
    for removed in admin.delete_topics(topics, operation_timeout=REQUEST_S).values():
        with contextlib.suppress(KafkaException):
            removed.result(REQUEST_S)
