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
from hypothesis import settings

from tests.services.kafka import KafkaService, missing
from tests.services.redis import RedisService

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A process that was told to end gets this long before it counts as left behind.
GRACE_S = 3.0

LONGEST = (
    "tests/integration/test_million.py",
    "tests/property/test_oracle_histories.py",
    "tests/integration/test_same_results.py",
    "tests/property/test_replay.py",
    "tests/demo/test_demo.py",
    "tests/engine/decode/test_two_paths.py",
    "tests/elec2/test_elec2.py",
    "tests/docs/test_detectors.py",
    "tests/integration/test_journal.py",
)
"""What begins first where processes share the tests, or one of them would be alone with a long file at the end.

What waits for brokers and workers stands beside what computes, so that two of a kind seldom run at once.
"""

# How long an example takes says something about the machine and what else it does, not about us. With CI=true
# hypothesis has chosen a profile of its own by now, which stays as it is otherwise.
settings.register_profile("patient", parent=settings(), deadline=None)
settings.load_profile("patient")


class TopicMaker(Protocol):
    """Makes a topic nobody else uses: ``topics("labels", partitions=2, config={"max.message.bytes": "6000000"})``."""

    def __call__(self, prefix: str, *, partitions: int = 4, config: Mapping[str, str] | None = None) -> str:
        """Create the topic and return its name."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first where processes share the tests (``-n``), then what needs the broker; else nothing."""
    if hasattr(config, "workerinput"):  # we are one of those processes
        ranks = {file: rank for rank, file in enumerate(LONGEST)}
        brokered = {item.location[0] for item in items if item.get_closest_marker("kafka")}
        items.sort(key=lambda item: ranks.get(item.location[0], len(ranks) + (item.location[0] not in brokered)))


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
