"""The services that other tests stand on do what those tests take for granted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import redis
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.edges.embedded import EMBEDDED_PARTITION_BYTES, EMBEDDED_PARTITIONS, EmbeddedKafka, EmbeddedRedis
from tests.conftest import LONGEST, left_behind
from tests.services.kafka import REPOSITORY, KafkaService
from tests.services.redis import RedisService

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from confluent_kafka import Message

    from tests.conftest import TopicMaker

PATIENCE_S = 30.0
BIG_RECORD_BYTES = 5_000_000


def read(bootstrap: str, topic: str, expected: int, **settings: str | int) -> list[Message]:
    """Return `expected` records of `topic` from its beginning, or as many as came in time."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-{settings.get('group.protocol', 'classic')}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **settings,
        }
    )
    consumer.subscribe([topic])
    found: list[Message] = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        while len(found) < expected and time.monotonic() < deadline:
            found += [m for m in consumer.consume(expected, timeout=0.5) if m.error() is None]
    finally:
        consumer.close()
    return found


def write(bootstrap: str, topic: str, values: Sequence[bytes], **settings: str | int) -> None:
    """Send `values` in order with an idempotent producer; raises when one was refused."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, **settings})
    refused: list[object] = []
    for number, value in enumerate(values):
        producer.produce(
            topic, value, key=str(number), headers=[("n", b"1")], timestamp=1_000 + number,
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )  # fmt: skip
    assert producer.flush(PATIENCE_S) == 0
    assert refused == []


@pytest.mark.kafka
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_real_broker_returns_what_was_sent_under_both_group_protocols(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    topic = topics("round-trip")
    values = [b"%d" % n for n in range(50)]
    write(kafka.bootstrap, topic, values)
    found = read(kafka.bootstrap, topic, len(values), **{"group.protocol": protocol})
    assert {*values} == {m.value() for m in found}
    assert {1_000 + n for n in range(50)} == {m.timestamp()[1] for m in found}
    assert {0, 1, 2, 3} == {m.partition() for m in found}


@pytest.mark.kafka
def test_a_topic_takes_a_record_of_five_megabytes_when_topic_and_producer_allow_it(
    kafka: KafkaService, topics: TopicMaker
) -> None:
    limit = "6000000"
    topic = topics("big", partitions=1, config={"max.message.bytes": limit})
    write(kafka.bootstrap, topic, [b"x" * BIG_RECORD_BYTES], **{"message.max.bytes": int(limit)})
    found = read(kafka.bootstrap, topic, 1)
    assert [len(m.value() or b"") for m in found] == [BIG_RECORD_BYTES]


@pytest.mark.kafka
def test_a_topic_that_nobody_made_does_not_come_into_being(kafka: KafkaService) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    assert producer.list_topics("never-made", timeout=10).topics["never-made"].error is not None


@pytest.mark.kafka
def test_a_broker_that_was_killed_comes_back_with_its_records_and_its_own_time_stamps(kafka: KafkaService) -> None:
    assert kafka.alive  # the machine has what a broker needs; this test crashes one of its own
    with KafkaService(log_append_time=True) as service:
        admin = AdminClient({"bootstrap.servers": service.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])["kept"].result(timeout=20)
        write(service.bootstrap, "kept", [b"a", b"b"])
        pid = service.pid
        service.kill()
        assert not service.alive
        service.restart()
        assert service.pid != pid
        found = read(service.bootstrap, "kept", 2)
    assert [m.value() for m in found] == [b"a", b"b"]
    assert {m.timestamp()[0] for m in found} == {TIMESTAMP_LOG_APPEND_TIME}


def test_redis_keeps_acknowledged_writes_when_it_is_killed_and_refuses_to_evict() -> None:
    with RedisService() as service:
        client = redis.from_url(service.url)
        run_id = client.info("server")["run_id"]
        client.set("kept", "yes")
        service.kill()
        assert not service.alive
        with pytest.raises(redis.ConnectionError):
            client.ping()
        service.restart()
        assert client.get("kept") == b"yes"
        assert client.info("server")["run_id"] != run_id
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()


def test_each_test_gets_an_empty_redis(redis_url: str) -> None:
    with redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_the_next_test_gets_an_empty_redis_too(redis_url: str) -> None:
    with redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_the_embedded_kafka_returns_what_was_sent_and_has_its_topics_before_anyone_subscribes() -> None:
    with EmbeddedKafka(["predictions", "labels"]) as embedded:
        asked = Consumer({"bootstrap.servers": embedded.bootstrap, "group.id": "asks"})
        found = asked.list_topics(timeout=10).topics
        asked.close()
        assert {name: len(topic.partitions) for name, topic in found.items()} == {
            "predictions": EMBEDDED_PARTITIONS,
            "labels": EMBEDDED_PARTITIONS,
        }
        write(embedded.bootstrap, "labels", [b"a", b"b"])
        assert {b"a", b"b"} == {m.value() for m in read(embedded.bootstrap, "labels", 2)}


def test_the_embedded_kafka_keeps_the_newest_five_megabytes_of_a_partition() -> None:
    with EmbeddedKafka(["t"]) as embedded:
        producer = Producer({"bootstrap.servers": embedded.bootstrap})
        size = 100_000
        for _ in range(2 * EMBEDDED_PARTITION_BYTES // size):
            producer.produce("t", b"x" * size, partition=0)
        assert producer.flush(PATIENCE_S) == 0
        consumer = Consumer({"bootstrap.servers": embedded.bootstrap, "group.id": "g"})
        low, high = consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=10)
        consumer.close()
        assert high == 2 * EMBEDDED_PARTITION_BYTES // size
        # One batch may hang over the limit: a batch is removed whole, before the next one is added.
        assert 0.7 * EMBEDDED_PARTITION_BYTES < (high - low) * size < 1.3 * EMBEDDED_PARTITION_BYTES


def test_the_embedded_kafka_is_gone_after_it_was_closed() -> None:
    with EmbeddedKafka() as embedded:
        bootstrap = embedded.bootstrap
    client = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=0.5)


def test_the_embedded_redis_answers_until_it_is_closed() -> None:
    with EmbeddedRedis() as embedded:
        client = redis.from_url(embedded.url)
        client.set("k", "v")
        assert client.get("k") == b"v"
    with pytest.raises(redis.ConnectionError):
        client.ping()
    client.close()


def test_a_service_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import time; from streams.edges.embedded import EmbeddedRedis\n"
        "with EmbeddedRedis() as r: print(r.port, flush=True); time.sleep(60)"
    )
    # What is killed cannot remove its temporary folder; here it goes with the test's own.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    port = int(owner.stdout.readline())
    started = [p for p in psutil.Process(owner.pid).children(recursive=True) if "redis-server" in p.name()]
    assert len(started) == 1
    owner.kill()
    owner.wait()
    owner.stdout.close()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    with pytest.raises(redis.ConnectionError), redis.Redis(port=port) as client:
        client.ping()


def test_the_guard_sees_a_process_that_was_left_behind() -> None:
    forgotten = subprocess.Popen(["/bin/sleep", "60"])
    try:
        assert [f"{forgotten.pid}: /bin/sleep 60"] == [line for line in left_behind(grace_s=0.1) if "sleep 60" in line]
    finally:
        forgotten.kill()
        forgotten.wait()


def test_the_files_that_begin_first_are_there() -> None:
    assert [file for file in LONGEST if not (REPOSITORY / file).is_file()] == []
