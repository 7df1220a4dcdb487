"""Each fault of Kafka does what its name says, or a cell that uses it proves nothing."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import KafkaError, Producer

from tests.conftest import TopicMaker
from tests.faults import kafka_faults
from tests.faults.proxy import Proxy
from tests.integration import workers
from tests.services.kafka import KafkaService

pytestmark = pytest.mark.kafka


def send(bootstrap: str, topic: str, values: list[bytes], timeout_ms: int = 20_000) -> list[int]:
    """The codes of what became of records sent to partition 0; 0 for those that Kafka took."""
    codes: list[int] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": timeout_ms})
    for value in values:
        producer.produce(
            topic,
            value,
            partition=0,
            on_delivery=lambda error, _: codes.append(error.code() if error else 0),
        )
    producer.flush(timeout_ms / 1000 + 10)
    return codes


def test_a_topic_that_refuses_takes_nothing_until_it_stops(kafka: KafkaService, topics: TopicMaker) -> None:
    topic = topics("refusing", partitions=1)
    with kafka_faults.refusing(kafka.bootstrap, topic):
        deadline = time.monotonic() + 20  # the setting is acknowledged a moment before it counts
        while (codes := send(kafka.bootstrap, topic, [b"x"])) == [0] and time.monotonic() < deadline:
            pass
        assert codes == [KafkaError.MSG_SIZE_TOO_LARGE]
    while (codes := send(kafka.bootstrap, topic, [b"x"])) != [0] and time.monotonic() < deadline:
        pass
    assert codes == [0]


def test_a_trimmed_partition_begins_where_it_was_trimmed(kafka: KafkaService, topics: TopicMaker) -> None:
    topic = topics("trimmed", partitions=1)
    assert send(kafka.bootstrap, topic, [b"%d" % n for n in range(10)]) == [0] * 10
    assert kafka_faults.trim(kafka.bootstrap, topic, {0: 7}) == {0: 7}
    assert [value for _, value in workers.read(kafka.bootstrap, topic)] == [b"7", b"8", b"9"]


def test_a_topic_made_anew_is_empty_and_begins_at_zero(kafka: KafkaService, topics: TopicMaker) -> None:
    topic = topics("anew", partitions=1)
    send(kafka.bootstrap, topic, [b"x"])
    kafka_faults.delete(kafka.bootstrap, topic)
    kafka_faults.make(kafka.bootstrap, topic, 1)
    assert workers.ends(kafka.bootstrap, topic, 1) == {0: 0}


def test_who_comes_through_the_proxy_is_cut_off_with_it_and_who_does_not_is_not() -> None:
    with Proxy() as proxy, KafkaService(proxy=proxy.port) as service:
        proxy.target = service.behind
        kafka_faults.make(service.bootstrap, "t", 1)
        through = f"127.0.0.1:{proxy.port}"
        assert send(through, "t", [b"x"]) == [0]
        assert proxy.connections >= 2  # the first one, and the one to the address that the broker told
        proxy.cut()
        assert send(through, "t", [b"x"], timeout_ms=1_000) != [0]
        assert send(service.bootstrap, "t", [b"x"]) == [0]


def test_rubbish_is_of_many_kinds_and_the_same_for_one_seed() -> None:
    made = kafka_faults.rubbish(1_000)
    assert made == kafka_faults.rubbish(1_000)
    assert len(set(made)) > 150
    assert None in made
