"""R2, R3, R9 on a real Kafka and a real Redis: what is in no input is journaled, and a replay lives it again in the same way.

What becomes of a journal that was cut off is seen on the embedded Kafka.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson
import pytest
import yaml
from confluent_kafka import Producer

from schemas import config as configuration
from schemas.config import Config
from schemas.control import Approve, Command, RetrainStarted, RetrainSucceeded
from schemas.errors import START_OVER, BehindLogStart
from schemas.identifiers import model_tag
from schemas.journal import Claim, ClockEntry, Entries
from schemas.outbox import payload
from schemas.settings import DeadLetters, Topics
from streams import logfile
from streams.digest import digest
from streams.dump import dump
from streams.edges.embedded import EMBEDDED_PARTITION_BYTES, EMBEDDED_PARTITIONS, EmbeddedKafka
from streams.edges.kafka_journal import KafkaJournal
from streams.edges.kafka_publisher import KafkaPublisher
from streams.edges.kafka_recovery import KafkaTopics
from streams.replay import Replay, window_records
from tests.conftest import TopicMaker
from tests.integration import scenario, workers
from tests.services.kafka import KafkaService

PARTITIONS = 2


def set_up(kafka: KafkaService, redis_url: str, topics: TopicMaker, folder: Path, model: dict[str, object]) -> Config:
    """A configuration with topics of its own; ``model`` overrides parts of the story's model."""
    keep = {"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807"}
    names = {half: topics(half, partitions=PARTITIONS, config=keep) for half in ("predictions", "labels", "features")}
    names |= {name: topics(name) for name in ("control", "alerts", "retrain", "dead_letters", "journal")}
    workers.forget_group(kafka.bootstrap, "driftline")
    scenario.write_config(folder, kafka.bootstrap, redis_url, names)
    path = folder / "monitor.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["models"]["loans"] |= model
    path.write_text(yaml.safe_dump(raw))
    return configuration.load(path)


def wait_for(what: Callable[[], bool], timeout_s: float = 60) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def entries(config: Config, kind: str) -> list[dict[str, object]]:
    """The journal's entries of one kind."""
    bootstrap = str(config.kafka["bootstrap.servers"])
    records = [orjson.loads(value) for _, value in workers.read(bootstrap, config.topics.journal)]
    return [e for r in records for e in r.get("entries", ()) if e["entry"] == kind]


def replayed_alike(config: Config, folder: Path) -> None:
    """A replay of inputs and journal has the events, windows and state that the worker left."""
    bootstrap = str(config.kafka["bootstrap.servers"])
    store, state = workers.left(config)
    dump(config, folder / "dump.jsonl")
    replay = Replay(config, logfile.read(folder / "dump.jsonl"))
    replay.run()
    live = workers.events_by_id(bootstrap, config.topics.alerts) | workers.events_by_id(
        bootstrap, config.topics.retrain
    )
    assert {e.event_id: payload(e.value) for e in replay.events} == live
    assert list(replay.windows()) == list(window_records(store, state))
    assert digest(replay.store, replay.host) == digest(store, state)


@pytest.mark.kafka
def test_a_window_closes_when_traffic_stops_and_a_replay_closes_it_at_the_same_place(
    kafka: KafkaService, redis_url: str, topics: TopicMaker, tmp_path: Path
) -> None:
    windows = {"size": "4s", "pane": "1s", "lateness": "0s", "idle": "1s"}
    config = set_up(kafka, redis_url, topics, tmp_path, {"windows": windows})
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    with workers.worker(tmp_path):
        workers.wait_until_shared(config, PARTITIONS, members=1)
        begin = int(time.time() * 1000)
        for i in range(300):
            event = {"prediction_id": f"p{i}", "model": "loans", "model_version": "v1", "event_time": begin}
            producer.produce(config.topics.predictions, orjson.dumps(event | {"features": {"a": 0.1}}), key=f"p{i}")
        assert producer.flush(10) == 0
        # Nothing follows: only the wall clock can close the window.
        wait_for(lambda: bool(window_count(config)), 30)
    assert entries(config, "clock"), "the wall clock stood in for record time and was not journaled"
    replayed_alike(config, tmp_path)


def window_count(config: Config) -> int:
    """How many drift windows have been evaluated so far."""
    from streams.edges.redis_store import RedisStore  # noqa: PLC0415

    store = RedisStore(config.redis.url)
    return len(store.starts(model_tag(config.group, "loans"), "drift-results", "loans", 0, 1 << 62))


@pytest.mark.kafka
def test_approval_training_and_a_new_version_are_replayed_from_the_journal(
    kafka: KafkaService, redis_url: str, topics: TopicMaker, tmp_path: Path
) -> None:
    retrain = {"min_labels": 500, "approval": "required", "cooldown": "1h", "expires": "30d"}
    config = set_up(kafka, redis_url, topics, tmp_path, {"retrain": retrain})
    names = {"predictions": config.topics.predictions, "labels": config.topics.labels}
    story = scenario.story(24_000)
    half = len(story) * 3 // 4
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2"})

    def send(command: Command) -> None:
        producer.produce(config.topics.control, msgspec.json.encode(command), key=command.model)
        assert producer.flush(10) == 0

    def retrain_types() -> list[str]:
        return [orjson.loads(v)["type"] for _, v in workers.read(kafka.bootstrap, config.topics.retrain)]

    with workers.worker(tmp_path):
        for topic, at, key, value in story[:half]:
            scenario.send(producer, names[topic], key, value, at)
        assert producer.flush(10) == 0
        wait_for(lambda: "dev.driftline.retrain.proposed.v1" in retrain_types())
        data = orjson.loads(workers.read(kafka.bootstrap, config.topics.retrain)[0][1])["data"]
        request = data["idempotency_key"]
        send(Approve(model="loans", request=request, by="a person"))
        wait_for(lambda: "dev.driftline.retrain.requested.v1" in retrain_types())
        send(RetrainStarted(model="loans", request=request, by="a pipeline"))
        send(RetrainSucceeded(model="loans", request=request, model_version="v2", by="a pipeline"))
        send(RetrainSucceeded(model="loans", request="another request", model_version="v3"))
        wait_for(lambda: len(entries(config, "command")) == 4)
        scenario.produce(kafka.bootstrap, names, PARTITIONS, story[half:])
        workers.wait_until_read(config, PARTITIONS)
    alerts = [orjson.loads(v) for v in workers.events_by_id(kafka.bootstrap, config.topics.alerts).values()]
    resolved = [a for a in alerts if a["type"] == "dev.driftline.alert.resolved.v1"]
    assert resolved
    assert all("version v2 took over" in a["data"]["summary"] for a in resolved)
    assert [e["applied"] for e in entries(config, "command")] == [True, True, True, False]
    replayed_alike(config, tmp_path)


def claim_of(shard: str, owner: str, epoch: int) -> Claim:
    """The claim by which a new owner takes a shard over."""
    return Claim(shard=shard, token=owner, epoch=epoch, sequence=0)


def test_a_journal_that_was_cut_off_under_a_head_is_refused_and_no_entry_is_passed_over() -> None:
    shard, megabyte = "{task:driftline.predictions:0}", 1_000_000
    with EmbeddedKafka(["journal"]) as kafka:
        settings = {"bootstrap.servers": kafka.bootstrap}
        publisher, topics = KafkaPublisher(settings, Topics(), DeadLetters()), KafkaTopics(settings)
        try:
            journal = KafkaJournal(settings, "journal", publisher)
            first = claim_of(shard, "first", 1)
            journal.claim([first], {shard: -1})
            # The embedded Kafka deletes what is too much, oldest first: here the entries right behind the first claim.
            for number in range(EMBEDDED_PARTITION_BYTES // megabyte + 3):
                entry = ClockEntry(topic="t" * megabyte, time_ms=number, offsets={})
                entries = Entries(shard=shard, token=first.token, epoch=1, number=number, entries=[entry])
                journal.write(entries, lambda _: None)
            assert publisher.wait(journal.settled, 20)
            begins, ends = max(topics.bounds("journal", p) for p in range(EMBEDDED_PARTITIONS))
            assert 1 < begins < ends, "nothing was cut off"
            with pytest.raises(BehindLogStart, match="the journal, has deleted records that were not read") as refused:
                journal.claim([claim_of(shard, "second", 2)], {shard: 0})
            assert refused.value.remedy == START_OVER  # a skip, the remedy for an input, would not mend a journal
            # A head that has read what is gone lacks nothing.
            found = journal.claim([claim_of(shard, "third", 2)], {shard: begins - 1})
            assert [offset for offset, _ in found[shard]] == list(range(begins, ends + 2))  # both claims among them
        finally:
            topics.close()
            publisher.close(5.0)
