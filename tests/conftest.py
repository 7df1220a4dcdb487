"""What every test may ask for: a real Kafka, a real Redis, topics of its own, data that is not in the repository."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil
import pytest
import redis
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.services.kafka import KafkaService, missing
from tests.services.redis import RedisService

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A process that was told to end gets this long before it counts as left behind.
GRACE_S = 3.0


class TopicMaker(Protocol):
    """Makes a topic nobody else uses: ``topics("labels", partitions=2, config={"max.message.bytes": "6000000"})``."""

    def __call__(self, prefix: str, *, partitions: int = 4, config: Mapping[str, str] | None = None) -> str:
        """Create the topic and return its name."""


def left_behind(grace_s: float = GRACE_S) -> list[str]:
    """Return the command lines of our child processes that still run after `grace_s` seconds."""
    children = psutil.Process().children(recursive=True)
    _, alive = psutil.wait_procs(children, timeout=grace_s)
    lines = []
    for child in alive:
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:  # it ended just now
            continue
        # multiprocessing keeps this helper until the interpreter exits; it holds nothing of ours.
        if line and "multiprocessing.resource_tracker" not in line:
            lines.append(f"{child.pid}: {line}")
    return lines


@pytest.fixture(scope="session", autouse=True)
def no_process_survives() -> Iterator[None]:
    """Fail the session when a service, a worker or a browser that some test started still runs at its end."""
    yield
    if survivors := left_behind():
        pytest.fail("processes were left running:\n" + "\n".join(survivors))


@pytest.fixture(scope="session")
def kafka(no_process_survives: None) -> Iterator[KafkaService]:  # noqa: ARG001 - the guard must look after us
    """Yield one real broker for the whole session; every test makes topics of its own with `topics`."""
    if (lacking := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, and the real broker {lacking}")
        pytest.skip(f"not run: {lacking}")
    with KafkaService() as service:
        yield service


@pytest.fixture
def topics(kafka: KafkaService) -> TopicMaker:
    """Return a function that makes topics with names of their own."""

    def make(prefix: str, *, partitions: int = 4, config: Mapping[str, str] | None = None) -> str:
        return make_topic(kafka, prefix, partitions, config or {})

    return make


def make_topic(kafka: KafkaService, prefix: str, partitions: int, config: Mapping[str, str]) -> str:
    """Make a topic nobody else uses and return its name (for fixtures that live longer than one test)."""
    name = f"{prefix}-{next(_topic_numbers)}"
    topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # it must outlive its answer
    admin.create_topics([topic])[name].result(timeout=20)
    return name


_topic_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis_service(no_process_survives: None) -> Iterator[RedisService]:  # noqa: ARG001 - the guard must look after us
    """Yield one real redis-server for the whole session; use `redis_url` unless the test is about the server."""
    with RedisService() as service:
        yield service


@pytest.fixture
def redis_url(redis_service: RedisService) -> str:
    """Return the address of an empty database."""
    with redis.from_url(redis_service.url) as client:
        client.flushall()
    return redis_service.url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data sets that lie next to the repository because they may not lie in it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("not run: data absent")
    return folder
