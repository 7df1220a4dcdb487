"""Records that the client took out of its queue before a callback ran: behind the state of who has the partition by now."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.errors import ConnectionProblem
from streams.edges.kafka_log import KafkaLog


class Message:
    """What the client hands out, as far as it is looked at."""

    # ruff: noqa: D102  # the methods are the client's

    def __init__(self, partition: int, offset: int) -> None:
        self._partition, self._offset = partition, offset

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1

    def value(self) -> bytes:
        return b""

    def error(self) -> KafkaError | None:
        return None


def test_records_from_before_a_rebalance_are_dropped_and_those_of_partitions_that_stay_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.edges.kafka_log.Message", Message)
    claims: list[list[tuple[str, int]]] = []

    def claimed(places: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        claims.append(places)
        return dict.fromkeys(places, 5)

    kafka = {"bootstrap.servers": "127.0.0.1:1", "group.protocol": "consumer"}
    log = KafkaLog(kafka, "g", ["t"], claimed, lambda _: None, lambda _: None)
    client = SimpleNamespace(
        incremental_assign=lambda _: None,
        incremental_unassign=lambda _: None,
        resume=lambda _: None,
        offsets_for_times=lambda _, timeout: timeout,
    )
    log._consumer = log._assignment._consumer = client  # type: ignore[assignment]  # noqa: SLF001
    moving, staying = TopicPartition("t", 0), TopicPartition("t", 1)

    def first(*_: object) -> list[Message]:
        log._on_assign(client, [moving, staying])  # type: ignore[arg-type]  # noqa: SLF001
        return []

    def second(*_: object) -> list[Message]:
        log._on_revoke(client, [moving])  # type: ignore[arg-type]  # noqa: SLF001
        log._on_assign(client, [moving])  # type: ignore[arg-type]  # noqa: SLF001
        return [Message(0, 9), Message(1, 9)]

    client.consume = first
    assert log.poll(10, 0) == []
    client.consume = second
    [batch] = log.poll(10, 0)
    assert (batch.partition.tolist(), batch.offset.tolist()) == ([1], [9])
    assert claims == [[("t", 0), ("t", 1)], [("t", 0)]]
    assert (log.position("t", 0), log.position("t", 1)) == (5, 10)


def test_a_client_that_does_not_know_a_partition_any_more_is_made_to_ask_for_the_topic_again() -> None:
    log = KafkaLog.__new__(KafkaLog)
    asked: list[str] = []

    def unknown(*_: object, **__: object) -> None:
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))  # noqa: SLF001  # the client's name

    asker = SimpleNamespace(get_watermark_offsets=unknown, list_topics=lambda topic, **_: asked.append(topic))
    log._asker = asker  # type: ignore[assignment]  # noqa: SLF001
    with pytest.raises(ConnectionProblem, match="Kafka did not answer"):
        log.bounds("t", 0)
    assert asked == ["t"]
