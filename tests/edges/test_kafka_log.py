"""Where a log stands: behind the markers of transactions; and what becomes of topics that are missing."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.errors import TopicMissing
from streams.edges import kafka_log
from streams.edges.kafka_log import KafkaLog
from tests.conftest import TopicMaker
from tests.edges.members import PATIENCE_S
from tests.services.kafka import KafkaService

pytestmark = pytest.mark.kafka
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def transact(bootstrap: str, topic: str, *transactions: tuple[int, bool]) -> None:
    """Write transactions of so many records each, committed or aborted: each leaves one marker more in the log."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(20)
    for count, commit in transactions:
        producer.begin_transaction()
        for number in range(count):
            producer.produce(topic, b"%d" % number, partition=0)
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)


def log_of(bootstrap: str, topic: str, protocol: str, start: int = 0) -> KafkaLog:
    """A log that starts there."""
    kafka = {"bootstrap.servers": bootstrap, "group.protocol": protocol, "topic.metadata.refresh.interval.ms": "500"}
    return KafkaLog(kafka, topic, [topic], lambda places: dict.fromkeys(places, start), lambda _: None, lambda _: None)


def until(done: Callable[[], bool], log: KafkaLog) -> list[int]:
    """Poll until it is so; returns the offsets that came."""
    found: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s, after {found}"
        for batch in log.poll(100, 0.05):
            found += batch.offset.tolist()
    return found


@PROTOCOLS
@pytest.mark.parametrize(("committed", "visible"), [(True, [0, 1, 2, 4, 5]), (False, [0, 1, 2])])
def test_a_partition_that_ends_in_a_transaction_marker_is_caught_up_behind_it(
    kafka: KafkaService,
    topics: TopicMaker,
    protocol: str,
    committed: bool,  # noqa: FBT001  # a parameter of the test
    visible: list[int],
) -> None:
    topic = topics("transactions", partitions=1)
    transact(kafka.bootstrap, topic, (3, True), (2, committed))  # offsets 3 and 6 are markers
    log = log_of(kafka.bootstrap, topic, protocol)
    assert log.position(topic, 0) == -1
    assert until(lambda: log.position(topic, 0) >= log.bounds(topic, 0)[1], log) == visible
    assert log.position(topic, 0) == 7
    transact(kafka.bootstrap, topic, (1, True))  # its marker is written some time after it is committed
    assert until(lambda: log.position(topic, 0) == log.bounds(topic, 0)[1] == 9, log) == [7]
    log.close()


@PROTOCOLS
def test_a_state_that_stands_before_the_last_marker_is_caught_up_without_a_record(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    topic = topics("transactions", partitions=1)
    transact(kafka.bootstrap, topic, (3, True))
    log = log_of(kafka.bootstrap, topic, protocol, start=3)  # the offset of the marker: nothing ever comes from there
    assert until(lambda: log.position(topic, 0) == 4, log) == []
    log.assign_again({(topic, 0): 1})
    assert log.position(topic, 0) == 1
    assert until(lambda: log.position(topic, 0) == 4, log) == [1, 2]
    log.close()


@PROTOCOLS
def test_a_topic_that_is_deleted_is_named_after_it_was_looked_for(
    kafka: KafkaService, topics: TopicMaker, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_log, "MISSING_S", 0.5)
    monkeypatch.setattr(kafka_log, "LOOK_S", 0.1)
    topic = topics("short-lived", partitions=1)
    log = log_of(kafka.bootstrap, topic, protocol)
    until(lambda: log.position(topic, 0) == 0, log)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # it must outlive its answer
    admin.delete_topics([topic])[topic].result(timeout=20)
    with pytest.raises(TopicMissing, match=topic):
        until(lambda: False, log)
    log.close()


@PROTOCOLS
def test_a_partition_that_is_held_waits_while_the_other_is_read_and_then_comes_whole(
    kafka: KafkaService, topics: TopicMaker, protocol: str
) -> None:
    topic = topics("held", partitions=2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def produce(count: int) -> None:
        for number in range(count):
            producer.produce(topic, b"%d" % number, partition=number % 2)
        producer.flush(20)

    log = log_of(kafka.bootstrap, topic, protocol)
    until(lambda: log.position(topic, 0) == log.position(topic, 1) == 0, log)
    log.hold({(topic, 0)})
    produce(2_000)
    until(lambda: log.position(topic, 1) == 1_000, log)
    assert log.position(topic, 0) == 0
    log.pause()
    log.resume()
    assert until(lambda: log.position(topic, 1) == log.bounds(topic, 1)[1], log) == []
    log.hold(set())
    assert until(lambda: log.position(topic, 0) == 1_000, log) == list(range(1_000))
    log.close()
