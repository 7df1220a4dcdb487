"""`driftline recover` on a real Kafka and a real Redis: what a worker refuses, what the command does, what comes of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson
import pytest
import redis
import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import config as configuration
from schemas.config import Config
from schemas.control import Approve
from schemas.outbox import payload
from streams import logfile
from streams.digest import digest
from streams.dump import dump
from streams.replay import Replay, window_records
from tests.cli.conftest import Driftline
from tests.conftest import TopicMaker
from tests.integration import scenario, workers
from tests.services.kafka import KafkaService

pytestmark = pytest.mark.kafka
PARTITIONS = 2
N = 12_000
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807"}
PATIENCE_S = 60.0


@pytest.fixture
def config(kafka: KafkaService, redis_url: str, topics: TopicMaker, tmp_path: Path) -> Config:
    """The story's model, whose retrain requests wait for approval; topics of its own."""
    names = {half: topics(half, partitions=PARTITIONS, config=KEEP) for half in ("predictions", "labels", "features")}
    names |= {name: topics(name) for name in ("control", "alerts", "retrain", "dead_letters", "journal")}
    workers.forget_group(kafka.bootstrap, "driftline")
    scenario.write_config(tmp_path, kafka.bootstrap, redis_url, names)
    path = tmp_path / "monitor.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["models"]["loans"]["retrain"] = {"min_labels": 500, "approval": "required", "cooldown": "1h", "expires": "30d"}
    path.write_text(yaml.safe_dump(raw))
    return configuration.load(path)


def halves(config: Config) -> dict[str, str]:
    """The input topics."""
    return {"predictions": config.topics.predictions, "labels": config.topics.labels}


def bootstrap(config: Config) -> str:
    """Where Kafka is."""
    return str(config.kafka["bootstrap.servers"])


def send(config: Config, records: list[tuple[str, int, str, bytes]]) -> None:
    """Send a part of a story, without an end."""
    producer = Producer({"bootstrap.servers": bootstrap(config), "linger.ms": 20, "partitioner": "murmur2"})
    for half, at, key, value in records:
        scenario.send(producer, halves(config)[half], key, value, at)
    assert producer.flush(30) == 0


def published(config: Config) -> dict[str, bytes]:
    """Alerts and retrain events by id; one id has one payload."""
    found = workers.events_by_id(bootstrap(config), config.topics.alerts)
    return found | workers.events_by_id(bootstrap(config), config.topics.retrain)


def wait_for(what: Callable[[], bool]) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def refused(folder: Path) -> str:
    """What a worker says that ends by itself."""
    command = [sys.executable, "-m", "streams.cli.main", "run", "--config", str(folder / "monitor.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr.splitlines()[-1]


def left(config: Config) -> tuple[str, dict[str, dict[str, int]], list[dict[str, object]]]:
    """Digest, ledgers and windows that stand in Redis."""
    store, state = workers.left(config)
    return digest(store, state), scenario.counted(state), list(window_records(store, state))


def replayed(config: Config, *dumps: Path) -> Replay:
    """A replay of some dumps together."""
    replay = Replay(config, [record for path in dumps for record in logfile.read(path)])
    replay.run()
    return replay


def cut_off(config: Config, before: dict[tuple[str, int], int]) -> None:
    """Let Kafka delete the records before these offsets."""
    admin = AdminClient({"bootstrap.servers": bootstrap(config)})
    for future in admin.delete_records([TopicPartition(t, p, o) for (t, p), o in before.items()]).values():
        future.result(timeout=20)


def test_after_a_rebuild_all_is_counted_again_and_published_under_the_same_ids(
    driftline: Driftline, config: Config, redis_url: str, tmp_path: Path
) -> None:
    monitor, story = tmp_path / "monitor.yaml", scenario.story(N)

    def proposals() -> list[str]:
        events = [orjson.loads(v) for _, v in workers.read(bootstrap(config), config.topics.retrain)]
        return [e["data"]["idempotency_key"] for e in events if e["type"] == "dev.driftline.retrain.proposed.v1"]

    with workers.worker(tmp_path):
        send(config, story[: len(story) * 3 // 4])
        wait_for(lambda: bool(proposals()))
        producer = Producer({"bootstrap.servers": bootstrap(config)})
        approval = msgspec.json.encode(Approve(model="loans", request=proposals()[0], by="a person"))
        producer.produce(config.topics.control, approval, key="loans")
        assert producer.flush(10) == 0
        wait_for(lambda: b"retrain.requested.v1" in b"".join(published(config).values()))
        assert driftline("recover", "-c", monitor, "--rebuild").err.endswith("Stop the workers first\n")
        scenario.produce(bootstrap(config), halves(config), PARTITIONS, story[len(story) * 3 // 4 :])
        workers.wait_until_read(config, PARTITIONS)
    before, events = left(config), published(config)
    times = len(workers.read(bootstrap(config), config.topics.alerts))
    with redis.from_url(redis_url) as client:
        client.flushall()

    assert "`driftline recover --rebuild`" in refused(tmp_path)
    ran = driftline("recover", "-c", monitor, "--rebuild")
    assert ran.status == 0, ran.err
    assert "start the workers" in ran.out
    with workers.worker(tmp_path):
        workers.wait_until_read(config, PARTITIONS)

    assert left(config) == before
    assert published(config) == events
    assert len(workers.read(bootstrap(config), config.topics.alerts)) == 2 * times


def test_a_rebuild_that_cannot_count_everything_again_wants_to_be_sure(
    driftline: Driftline, config: Config, redis_url: str, tmp_path: Path
) -> None:
    monitor = tmp_path / "monitor.yaml"
    with workers.worker(tmp_path):
        scenario.produce(bootstrap(config), halves(config), PARTITIONS, scenario.story(3_000))
        workers.wait_until_read(config, PARTITIONS)
    cut_off(config, {(config.topics.predictions, 0): 500, (config.topics.labels, 1): 700})
    with redis.from_url(redis_url) as client:
        heads = client.keys("*:head")
        client.hset(heads[0], "body", b"damaged")
        ran = driftline("recover", "-c", monitor, "--rebuild")
        assert ran.status == 1
        assert "1,200 records are gone from 2 partitions" in ran.err
        assert len(client.keys("*:head")) == len(heads)
    assert driftline("recover", "-c", monitor, "--rebuild", "--yes").status == 0
    with workers.worker(tmp_path):
        workers.wait_until_read(config, PARTITIONS)

    _, ledger, _ = left(config)
    ends = {half: sum(workers.ends(bootstrap(config), t, PARTITIONS).values()) for half, t in halves(config).items()}
    assert {half: sum(counts.values()) for half, counts in ledger.items()} == {
        "predictions": ends["predictions"] - 500,
        "labels": ends["labels"] - 700,
    }


def test_records_that_retention_took_are_skipped_by_decision_and_a_replay_agrees(
    driftline: Driftline, config: Config, tmp_path: Path
) -> None:
    monitor, story, topic = tmp_path / "monitor.yaml", scenario.story(N), config.topics.predictions
    with workers.worker(tmp_path):
        send(config, story[: len(story) // 2])
        workers.wait_until_read(config, PARTITIONS)
    stood = workers.committed(config, PARTITIONS)
    scenario.produce(bootstrap(config), halves(config), PARTITIONS, story[len(story) // 2 :])
    early = tmp_path / "early.jsonl.gz"
    dump(config, early)
    begins = stood[topic, 1] + 321
    cut_off(config, {(topic, 0): stood[topic, 0] - 5, (topic, 1): begins})

    said = refused(tmp_path)
    assert f"{topic}/1" in said
    assert "`driftline recover --skip-to earliest`" in said
    before = left(config)
    unsure = driftline("recover", "-c", monitor, "--skip-to", "earliest", "--json")
    assert (unsure.status, left(config)) == (1, before)
    assert unsure.json == [
        {
            "group": "predictions",
            "partition": 1,
            "topic": topic,
            "stands": stood[topic, 1],
            "begins": begins,
            "ends": workers.ends(bootstrap(config), topic, PARTITIONS)[1],
            "offset": begins,
            "why": "behind",
        }
    ]
    sure = driftline("recover", "-c", monitor, "--skip-to", "earliest", "--yes")
    assert sure.status == 0, sure.err
    assert "1 partitions go on; 321 records will never be counted" in sure.out
    assert driftline("recover", "-c", monitor, "--skip-to", "earliest", "--yes").status == 1
    with workers.worker(tmp_path):
        workers.wait_until_read(config, PARTITIONS)

    now, ledger, windows = left(config)
    ends = workers.ends(bootstrap(config), topic, PARTITIONS)
    assert sum(ledger["predictions"].values()) == sum(ends.values()) - 321
    late = tmp_path / "late.jsonl.gz"
    dump(config, late)
    offsets = workers.committed(config, PARTITIONS)
    whole, rest = replayed(config, early, late), replayed(config, late)
    for replay in (whole, rest):
        tasks = replay.host.tasks.values()
        assert {(t, o.partition): at for o in tasks for t, at in o.task.offsets.items()} == offsets
    assert digest(whole.store, whole.host) == now
    assert list(whole.windows()) == windows
    assert {e.event_id: payload(e.value) for e in whole.events} == published(config)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning_by_decision(
    driftline: Driftline, config: Config, tmp_path: Path
) -> None:
    monitor, story = tmp_path / "monitor.yaml", scenario.story(3_000)
    with workers.worker(tmp_path):
        send(config, story)
        workers.wait_until_read(config, PARTITIONS)
    _, first, _ = left(config)
    workers.make_anew(bootstrap(config), halves(config).values(), PARTITIONS, KEEP)
    scenario.produce(bootstrap(config), halves(config), PARTITIONS, story)  # longer than what was there

    assert "made anew" in refused(tmp_path)
    ran = driftline("recover", "-c", monitor, "--skip-to", "earliest", "--yes")
    assert ran.status == 0, ran.err
    with workers.worker(tmp_path):
        workers.wait_until_read(config, PARTITIONS)

    _, both, _ = left(config)
    ends = {half: sum(workers.ends(bootstrap(config), t, PARTITIONS).values()) for half, t in halves(config).items()}
    assert {half: sum(counts.values()) - sum(first[half].values()) for half, counts in both.items()} == ends


def test_a_worker_that_was_killed_is_a_member_until_its_session_is_over(
    driftline: Driftline, config: Config, tmp_path: Path
) -> None:
    monitor = tmp_path / "monitor.yaml"
    with workers.worker(tmp_path) as process:
        workers.wait_until_shared(config, PARTITIONS, members=1)
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    ran = driftline("recover", "-c", monitor, "--rebuild")
    assert (ran.status, "a worker is in the consumer group" in ran.err) == (1, True)
    wait_for(lambda: driftline("recover", "-c", monitor, "--rebuild").status == 0)
