"""P1, P2, P3, P4 on a real Kafka and a real Redis: an undisturbed worker, killed workers, two workers, and a replay agree."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.config import Config
from schemas.outbox import payload
from streams import logfile
from streams.digest import digest, parts
from streams.dump import dump
from streams.replay import Replay, window_records
from tests.conftest import TopicMaker, make_topic
from tests.integration import scenario, workers
from tests.services.kafka import KafkaService
from tests.services.redis import RedisService

PARTITIONS = 3
N = 30_000
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807"}
"""The story's record times lie in the past, and its closing records in the future."""

pytestmark = pytest.mark.kafka


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind."""

    digest: str
    parts: dict[str, str]
    ledger: dict[str, dict[str, int]]
    alerts: dict[str, bytes]
    retrain: dict[str, bytes]
    windows: list[dict[str, object]]
    config: Config


@pytest.fixture(scope="module")
def loaded(kafka: KafkaService) -> dict[str, str]:
    """The input topics, loaded once for all runs of this module."""
    names = {half: make_topic(kafka, half, PARTITIONS, KEEP) for half in ("predictions", "labels")}
    scenario.produce(kafka.bootstrap, names, PARTITIONS, scenario.story(N))
    return names


def configure(
    kafka: KafkaService, redis_url: str, topics: TopicMaker, folder: Path, loaded: dict[str, str], member: str = ""
) -> Config:
    """A configuration with the loaded inputs and outputs of its own; a static member may return at once after a kill."""
    workers.forget_group(kafka.bootstrap, "driftline")
    outputs = {name: topics(name) for name in ("control", "alerts", "retrain", "dead_letters", "journal", "features")}
    return scenario.write_config(folder, kafka.bootstrap, redis_url, {**loaded, **outputs}, member)


def look(config: Config) -> Outcome:
    """Read back what the workers left."""
    store, state = workers.left(config)
    bootstrap = str(config.kafka["bootstrap.servers"])
    return Outcome(
        digest(store, state),
        parts(store, state),
        scenario.counted(state),
        workers.events_by_id(bootstrap, config.topics.alerts),
        workers.events_by_id(bootstrap, config.topics.retrain),
        list(window_records(store, state)),
        config,
    )


def run_to_the_end(config: Config, folder: Path) -> Outcome:
    """One worker, undisturbed."""
    with workers.worker(folder):
        workers.wait_until_read(config, PARTITIONS)
    return look(config)


@pytest.fixture(scope="module")
def undisturbed(
    kafka: KafkaService, loaded: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path]:
    """The run that the others are compared with."""
    folder = tmp_path_factory.mktemp("undisturbed")

    def topics(prefix: str, *, partitions: int = 4, config: Mapping[str, str] | None = None) -> str:
        return make_topic(kafka, prefix, partitions, config or {})

    with RedisService() as redis:
        config = configure(kafka, redis.url, topics, folder, loaded)
        return run_to_the_end(config, folder), folder


def assert_same(found: Outcome, expected: Outcome) -> None:
    assert found.ledger == expected.ledger
    assert found.alerts == expected.alerts
    assert found.retrain == expected.retrain
    assert found.windows == expected.windows
    assert found.parts == expected.parts
    assert found.digest == expected.digest


def test_every_record_of_the_story_has_the_outcome_it_was_made_for(undisturbed: tuple[Outcome, Path]) -> None:
    outcome, _ = undisturbed
    expected = scenario.expected_ledger(N)
    predictions, labels = outcome.ledger["predictions"], outcome.ledger["labels"]
    closing = PARTITIONS
    assert predictions["applied"] == expected["predictions"]["applied"] + closing
    assert predictions["duplicate"] == expected["predictions"]["duplicate"]
    assert predictions["dead_letter"] == expected["predictions"]["dead_letter"]
    assert labels["applied"] == expected["labels"]["applied"]
    assert labels["duplicate"] == expected["labels"]["duplicate"]
    assert labels["conflict"] == expected["labels"]["conflict"]
    assert labels["orphan"] + labels["waiting"] == expected["labels"]["orphan"] + closing
    produced = workers.ends(str(outcome.config.kafka["bootstrap.servers"]), outcome.config.topics.labels, PARTITIONS)
    assert sum(labels.values()) == sum(produced.values())


def test_the_story_opens_the_alerts_it_was_made_for(undisturbed: tuple[Outcome, Path]) -> None:
    outcome, _ = undisturbed
    text = b"\n".join(outcome.alerts.values())
    assert b'"feature":"a"' in text
    assert b'"metric":"error_rate"' in text
    assert b'"metric":"accuracy"' in text
    assert b'"feature":"b"' not in text
    assert len(outcome.retrain) >= 1


def test_a_worker_killed_at_random_moments_leaves_the_same_state_and_events(
    kafka: KafkaService,
    redis_url: str,
    topics: TopicMaker,
    tmp_path: Path,
    loaded: dict[str, str],
    undisturbed: tuple[Outcome, Path],
) -> None:
    config = configure(kafka, redis_url, topics, tmp_path, loaded, member="the-one")
    chance = random.Random(20260101)
    kills = 0
    for attempt in range(12):
        before = workers.committed(config, PARTITIONS)
        with workers.worker(tmp_path, f"worker{attempt}") as process:
            if attempt == 0:  # owned, and nothing committed yet
                workers.wait_until_shared(config, PARTITIONS, members=1)
            else:
                deadline = time.monotonic() + 30
                while workers.committed(config, PARTITIONS) == before and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(chance.random() * 0.4)
            process.send_signal(signal.SIGKILL)
            process.wait(5)
        landed = workers.committed(config, PARTITIONS)
        wanted = sum(sum(workers.ends(kafka.bootstrap, t, PARTITIONS).values()) for t in loaded.values())
        if sum(landed.values()) < wanted:
            kills += 1
        else:
            break
    assert kills >= 2, "inconclusive: the worker was done before it was killed"
    found = run_to_the_end(config, tmp_path)
    assert_same(found, undisturbed[0])


def test_two_workers_share_the_partitions_and_publish_what_one_publishes(
    kafka: KafkaService,
    redis_url: str,
    topics: TopicMaker,
    tmp_path: Path,
    loaded: dict[str, str],
    undisturbed: tuple[Outcome, Path],
) -> None:
    config = configure(kafka, redis_url, topics, tmp_path, loaded)
    # Both must be members before there is anything to read, or the first is done before the second has joined.
    workers.make_anew(kafka.bootstrap, loaded.values(), PARTITIONS, KEEP)
    with workers.worker(tmp_path, "one"), workers.worker(tmp_path, "two"):
        workers.wait_until_shared(config, PARTITIONS, members=2)
        scenario.produce(kafka.bootstrap, loaded, PARTITIONS, scenario.story(N))
        workers.wait_until_read(config, PARTITIONS)
        assert len(workers.owners(config, PARTITIONS)) == 2, "inconclusive: one of them owned everything"
    assert_same(look(config), undisturbed[0])


def test_a_replay_of_the_dumped_topics_gives_the_same_events_and_statistics(
    tmp_path: Path, undisturbed: tuple[Outcome, Path]
) -> None:
    outcome, _ = undisturbed
    config = outcome.config
    out = tmp_path / "dump.jsonl.gz"
    dump(config, out)
    replay = Replay(config, logfile.read(out))
    replay.run()
    events = {e.event_id: payload(e.value) for e in replay.events}
    assert events == {**outcome.alerts, **outcome.retrain}
    assert list(replay.windows()) == outcome.windows
    assert digest(replay.store, replay.host) == outcome.digest
