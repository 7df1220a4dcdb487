"""What the publisher does when Kafka is slow, away, refuses or ends the client: nothing waits, nothing is lost, order holds."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.errors import ConfigError, DeadLetterReason
from schemas.outbox import OutboxEvent
from schemas.settings import DeadLetters, Topics
from streams.edges import kafka_publisher
from streams.edges.kafka_publisher import KafkaPublisher
from streams.engine.columns import Rejected
from streams.engine.records import Headers, batch_of
from tests.conftest import TopicMaker
from tests.services.kafka import KafkaService

PATIENCE_S = 20.0
NOWHERE = "127.0.0.1:1"


def until(done: Callable[[], bool], publisher: KafkaPublisher) -> None:
    """Poll until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        publisher.poll()
        time.sleep(0.01)


def made(
    bootstrap: str, topic: str = "dead", payload: str = "full", settings: Mapping[str, int] | None = None
) -> KafkaPublisher:
    """A publisher whose dead letters go to ``topic``."""
    rules = DeadLetters.model_validate({"payload": payload})
    return KafkaPublisher({"bootstrap.servers": bootstrap, **(settings or {})}, Topics(dead_letters=topic), rules)


def event(topic: str, key: bytes, number: int) -> OutboxEvent:
    """An event that is recognised by its number."""
    return OutboxEvent(f"e{number}", topic, key, b"%d" % number, [])


def read(bootstrap: str, topic: str, count: int) -> list[Message]:
    """The first records of a topic's partition 0 (fewer when no more come in time)."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "receive.message.max.bytes": 200_000_000}
    )
    found: list[Message] = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while len(found) < count and time.monotonic() < deadline:
            found += [m for m in consumer.consume(count, 0.2) if m.error() is None]
    finally:
        consumer.close()
    return found


def bad(
    publisher: KafkaPublisher, value: bytes | None, key: bytes | None = None, headers: Headers | None = None
) -> None:
    """Send one dead letter."""
    batch = batch_of("in", [(3, 7, 0, value)], lambda _: key, lambda _: headers or [])
    publisher.dead_letter(batch, Rejected(0, DeadLetterReason.INVALID_JSON, "not JSON"))


@pytest.fixture
def small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes five records."""
    monkeypatch.setitem(kafka_publisher._SETTINGS, "queue.buffering.max.messages", 5)  # noqa: SLF001


@pytest.mark.kafka
@pytest.mark.usefixtures("small_queue")
def test_what_the_client_has_no_room_for_is_sent_later_and_in_order(kafka: KafkaService, topics: TopicMaker) -> None:
    topic = topics("alerts", partitions=1)
    publisher = made(kafka.bootstrap)
    done: list[int] = []
    for number in range(200):
        publisher.publish(event(topic, b"k", number), lambda number=number: done.append(number))  # type: ignore[misc]
    until(lambda: len(done) == 200, publisher)
    assert done == list(range(200))
    assert [int(m.value() or b"") for m in read(kafka.bootstrap, topic, 200)] == list(range(200))


@pytest.mark.usefixtures("small_queue")
def test_with_no_broker_nothing_blocks_and_a_bound_says_when_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_publisher, "FULL_RECORDS", 1000)
    publisher = made(NOWHERE)
    begin = time.monotonic()
    for number in range(999):
        publisher.publish(event("alerts", b"k", number), lambda: None)
    publisher.poll()
    assert not publisher.full
    bad(publisher, b"{")
    assert publisher.full
    assert time.monotonic() - begin < 1.0
    publisher.close(0.1)


@pytest.mark.usefixtures("small_queue")
def test_bytes_that_wait_count_as_well_as_records() -> None:
    publisher = made(NOWHERE)
    for _ in range(kafka_publisher.FULL_BYTES // 262_144):
        assert not publisher.full
        bad(publisher, b"x" * 1_000_000)  # cut to 262,144
    assert publisher.full
    publisher.close(0.1)


def test_a_wait_that_was_in_vain_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_publisher, "SETTLE_S", 0.2)
    publisher = made(NOWHERE)
    assert publisher.settled()
    bad(publisher, b"{")
    assert not publisher.settled()
    begin = time.monotonic()
    assert [publisher.settled() for _ in range(10)] == [False] * 10
    assert (publisher.unsettled, time.monotonic() - begin < 0.2) == (1, True)
    publisher.close(0.1)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("key", "headers"),
    [
        (None, [("h", b"x" * 3_000_000)]),
        (None, [(f"__connect.errors.{n}", b"x" * 500_000) for n in range(6)]),
        (None, [("driftline.id", b"x" * 3_000_000)]),
        (None, [("n" * 3_000_000, None)]),
        (b"k" * 1_500_000, []),
        (b"k" * 3_000_000, []),
    ],
)
def test_a_dead_letter_that_kafka_refuses_is_sent_again_as_its_hash(
    kafka: KafkaService, topics: TopicMaker, key: bytes | None, headers: Headers
) -> None:
    topic = topics("dead", partitions=1)
    publisher = made(kafka.bootstrap, topic)
    bad(publisher, b"{", key, headers)
    until(publisher.settled, publisher)
    [letter] = read(kafka.bootstrap, topic, 1)
    told: dict[str, Any] = dict(letter.headers() or [])
    assert (letter.key(), letter.value(), publisher.failures) == (None, b"", 1)
    assert told["driftline.sha256"] == hashlib.sha256(b"{").hexdigest().encode()
    assert (told["driftline.id"], told["__connect.errors.offset"], len(told)) == (b"in/3/7", b"7", 9)


@pytest.mark.kafka
def test_hash_only_keeps_neither_the_key_nor_the_headers_of_the_record(kafka: KafkaService, topics: TopicMaker) -> None:
    topic = topics("dead", partitions=1)
    publisher = made(kafka.bootstrap, topic, "hash")
    bad(publisher, b'{"name": "Ada"', b"ada@example.org", [("user", b"Ada")])
    assert publisher.settled()
    [letter] = read(kafka.bootstrap, topic, 1)
    told: dict[str, Any] = dict(letter.headers() or [])
    assert (letter.key(), letter.value(), "user" in told) == (None, b"", False)


@pytest.mark.kafka
def test_a_topic_that_comes_back_gets_what_waited_for_it_in_order_and_holds_up_no_other(
    kafka: KafkaService, topics: TopicMaker
) -> None:
    there, gone = topics("alerts", partitions=1), "made-later"
    soon = {"topic.metadata.propagation.max.ms": 100, "topic.metadata.refresh.interval.ms": 200}
    soon["queue.buffering.max.messages"] = 5  # the others wait with us while these are refused
    publisher = made(kafka.bootstrap, settings=soon)
    done: list[int] = []
    for number in range(20):
        publisher.publish(event(gone, b"k", number), lambda number=number: done.append(number))  # type: ignore[misc]
    until(lambda: publisher.failures >= 5, publisher)
    for number in range(20, 40):  # given while the first ones wait for the end of the pause
        publisher.publish(event(gone, b"k", number), lambda number=number: done.append(number))  # type: ignore[misc]
    other: list[int] = []
    publisher.publish(event(there, b"k", 1), lambda: other.append(1))
    until(lambda: bool(other), publisher)
    assert done == []
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(gone, num_partitions=1, replication_factor=1)])[gone].result(timeout=20)
    until(lambda: len(done) == 40, publisher)
    assert [int(m.value() or b"") for m in read(kafka.bootstrap, gone, 40)] == list(range(40))


@pytest.mark.kafka
def test_a_record_that_is_entrusted_is_unsettled_until_kafka_says_where_it_stands(
    kafka: KafkaService, topics: TopicMaker
) -> None:
    topic = topics("journal", partitions=1)
    publisher = made(kafka.bootstrap)
    places: list[tuple[int, int]] = []
    for _ in range(3):
        publisher.entrust(topic, b"shard", b"entries", [], lambda p, o: places.append((p, o)))
    assert (publisher.unsettled, places) == (3, [])
    until(publisher.settled, publisher)
    assert (publisher.unsettled, places) == (0, [(0, 0), (0, 1), (0, 2)])


@pytest.mark.kafka
def test_one_that_has_waited_in_vain_still_hears_of_acknowledgements_when_it_is_only_asked(
    kafka: KafkaService, topics: TopicMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = topics("journal", partitions=1)
    publisher = made(kafka.bootstrap)
    monkeypatch.setattr(kafka_publisher, "SETTLE_S", 0.0)
    publisher.entrust(topic, b"shard", b"entries", [], lambda *_: None)
    assert not publisher.settled()
    deadline = time.monotonic() + 20
    while not publisher.settled():
        assert time.monotonic() < deadline
        time.sleep(0.01)


REQUEST_TIMED_OUT, PRODUCE = 7, 0
"""Numbers of Kafka's protocol."""


@contextlib.contextmanager
def first_batch_times_out(topic: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """A mock broker of librdkafka with a topic: where it listens, and what makes its next answer to a producer a time-out.

    Driven through the library itself, because its Python client gives no way to say what the mock answers.
    """
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    found = sorted(folder.glob("librdkafka*"))
    if not found:
        pytest.skip("not run: needs the librdkafka that comes in confluent-kafka's wheel")
    library = ctypes.CDLL(str(found[0]))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    client = ctypes.c_void_p(library.rd_kafka_new(0, ctypes.c_void_p(library.rd_kafka_conf_new()), None, 0))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, 1))
    library.rd_kafka_mock_topic_create(cluster, topic.encode(), 1, 1)
    # Slow answers: the later batches are on their way before the first one's arrives.
    library.rd_kafka_mock_broker_set_rtt(cluster, 1, 400)

    def fail_once() -> None:
        errors = (ctypes.c_int * 2)(REQUEST_TIMED_OUT, 0)
        library.rd_kafka_mock_push_request_errors_array(cluster, ctypes.c_int16(PRODUCE), ctypes.c_size_t(2), errors)

    try:
        yield library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), fail_once
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)


def test_what_is_acknowledged_because_a_later_record_was_is_sent_again() -> None:
    with first_batch_times_out("journal") as (bootstrap, fail_once):
        publisher = made(bootstrap, settings={"batch.num.messages": 1, "retry.backoff.ms": 1000})
        places: list[tuple[int, int]] = []

        def entrust(number: int) -> None:
            publisher.entrust("journal", b"shard", b"entry", [], lambda _, offset: places.append((offset, number)))

        entrust(0)
        until(lambda: bool(places), publisher)
        fail_once()
        for number in range(1, 5):
            entrust(number)
        until(lambda: len(places) == 5, publisher)
        assert publisher.failures == 1, "the client said of every record where it stands: does it still do without?"
        assert sorted(places) == [(0, 0), (1, 2), (2, 3), (3, 4), (4, 1)]
        assert (publisher.unsettled, publisher._records, publisher._bytes) == (0, 0, 0)  # noqa: SLF001
        publisher.close(1)


def test_an_error_that_ends_the_client_is_raised_by_the_next_poll_and_by_no_callback() -> None:
    publisher = made(NOWHERE)
    error = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "the log has lost records", True)  # noqa: FBT003  # fatal
    record = kafka_publisher._Record("alerts", b"k", b"v", [], lambda *_: None)  # noqa: SLF001
    publisher._failed(record, error)  # noqa: SLF001  # as the delivery report would
    with pytest.raises(ConfigError, match="ended this producer for good"):
        publisher.poll()
    publisher.close(0.1)
