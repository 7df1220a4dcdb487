"""What a worker does with what it sees before it starts: refuse, warn, or say that it could not look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from schemas.config import Config, load
from schemas.errors import ConnectionProblem, NotCoPartitioned
from schemas.settings import Topics
from streams import co_partitioning
from streams.co_partitioning import look, refuse_apart, same_number, sight
from streams.edges.embedded import EmbeddedKafka
from streams.edges.kafka_sample import Sampled, newest
from streams.placement import Sighting
from tests.cli import story

COUNTS = {"predictions": 4, "labels": 4}
MANY = range(300)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration with the usual topics."""
    return load(story.write_config(tmp_path))


def test_a_record_tells_its_id_its_model_and_its_times() -> None:
    value = b'{"prediction_id": "a", "model": "m", "event_time": "1970-01-01T00:00:02Z", "features": {"x": 1}}'
    assert sight(Sampled(3, 7, b"a", value)) == Sighting(3, b"a", "a", "m", 7, 2_000)
    assert sight(Sampled(3, 7, None, b'{"prediction_id": "a"}')) == Sighting(3, None, "a", "", 7, None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"prediction_id": 7}',
        b'{"label": 1}',
        b'{"prediction_id": "a", "event_time": "soon"}',
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_has_no_id_and_raises_nothing(value: bytes | None) -> None:
    assert sight(Sampled(1, 5, b"k", value)) == Sighting(1, b"k", "", "", 5, None)


def send(bootstrap: str, topic: str, partitioner: str, share: int = len(MANY)) -> None:
    """Ids 0..299; those from ``share`` on by the other partitioner."""
    other = {"murmur2_random": "consistent_random", "consistent_random": "murmur2_random"}[partitioner]
    for setting, ids in ((partitioner, MANY[:share]), (other, MANY[share:])):
        producer = Producer({"bootstrap.servers": bootstrap, "partitioner": setting})
        for i in ids:
            producer.produce(topic, orjson.dumps({"prediction_id": f"p{i}"}), key=f"p{i}")
        assert producer.flush(20) == 0


def test_a_provable_mismatch_is_refused_and_a_small_one_is_a_warning_and_a_match_is_silent(config: Config) -> None:
    for predictions, share, expected in (
        ("murmur2_random", 300, []),
        ("murmur2_random", 290, ["labels may miss their predictions"]),
    ):
        with EmbeddedKafka(list(COUNTS)) as kafka, capture_logs() as logged:
            send(kafka.bootstrap, "predictions", predictions)
            send(kafka.bootstrap, "labels", "murmur2_random", share)
            refuse_apart(config.model_copy(update={"kafka": {"bootstrap.servers": kafka.bootstrap}}), COUNTS)
        assert [line["event"] for line in logged] == expected
    with EmbeddedKafka(list(COUNTS)) as kafka:
        send(kafka.bootstrap, "predictions", "murmur2_random")
        send(kafka.bootstrap, "labels", "consistent_random")
        with pytest.raises(NotCoPartitioned, match="let the producers of labels use murmur2"):
            refuse_apart(config.model_copy(update={"kafka": {"bootstrap.servers": kafka.bootstrap}}), COUNTS)


def test_the_sample_is_the_newest_of_every_partition_and_bounded() -> None:
    with EmbeddedKafka(["predictions", "empty"]) as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        for i in range(1_000):
            producer.produce("predictions", b"", key=str(i), partition=i % 4)
        assert producer.flush(20) == 0
        found = newest({"bootstrap.servers": kafka.bootstrap}, {"predictions": 4, "empty": 4}, records=100)
    assert found["empty"] == []
    expected = sorted(range(900, 1_000), key=lambda i: (i % 4, i))
    assert sorted((r.partition, int(r.key or b"")) for r in found["predictions"]) == [(i % 4, i) for i in expected]


def test_a_broker_that_does_not_answer_is_no_empty_topic() -> None:
    with pytest.raises(ConnectionProblem, match=r"Kafka sent nothing of predictions within 0\.3 s"):
        newest({"bootstrap.servers": "127.0.0.1:1"}, {"predictions": 2}, within_s=0.3)


def test_what_keeps_it_from_looking_is_said_and_stops_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> Mapping[str, list[Sampled]]:
        raise ConnectionProblem("Kafka sent nothing", "look")

    monkeypatch.setattr(co_partitioning, "newest", away)
    with capture_logs() as logged:
        refuse_apart(config, COUNTS)
    assert [line["event"] for line in logged] == ["not checked whether labels meet their predictions"]
    with pytest.raises(ConnectionProblem):
        look(config.kafka, COUNTS, COUNTS)


def test_one_partition_needs_no_look(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_partitioning, "newest", lambda *_: pytest.fail("it looked"))
    refuse_apart(config, {"predictions": 1, "labels": 1})


def test_the_topic_with_fewer_partitions_is_the_one_to_change() -> None:
    topics = Topics()
    assert same_number(topics, {"predictions": 4, "labels": 4}) is None
    for counts, topic in (
        ({"predictions": 4, "labels": 6}, "predictions"),
        ({"predictions": 6, "labels": 4}, "labels"),
    ):
        error = same_number(topics, counts)
        assert isinstance(error, NotCoPartitioned)
        assert error.remedy.endswith(f"--alter --topic {topic} --partitions 6")
