"""The command line against a real Kafka and a real Redis."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource, ConfigSource

from schemas.config import Config, load
from schemas.control import Approve, Command
from streams.edges import kafka_log
from streams.edges.kafka_range import KafkaRange
from streams.edges.kafka_topics import create_topics, untrusted_times
from tests.cli import story
from tests.cli.conftest import Driftline
from tests.conftest import TopicMaker
from tests.services.kafka import KafkaService
from tests.services.redis import RedisService

pytestmark = pytest.mark.kafka

PARTITIONS = 2
PATIENCE_S = 30.0
_numbers = itertools.count(1)


@pytest.fixture
def setting(kafka: KafkaService, redis_url: str) -> story.Setting:
    """A configuration whose topics nobody has made yet."""
    number = next(_numbers)
    roles = ("predictions", "labels", "features", "control", "alerts", "retrain", "dead_letters", "journal")
    return story.Setting(kafka.bootstrap, redis_url, {role: f"cli-{number}-{role}" for role in roles})


@contextlib.contextmanager
def worker(config: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """One ``driftline run`` in its own process."""
    command = [sys.executable, "-m", "streams.cli.main", "run", "--config", str(config), *options]
    with (config.parent / "worker.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()  # a killed member stays in its group, and the next test may want to be alone
            try:
                process.wait(20)
            finally:
                process.kill()
            if process.stdout is not None:
                process.stdout.close()


def wait_for(what: Callable[[], Any], said: Callable[[], str]) -> Any:  # noqa: ANN401 - whatever is waited for
    """Return the first true answer."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.2)
    pytest.fail(f"it did not happen within {PATIENCE_S} s\n{said()}")


def test_topics_create_makes_what_is_missing_and_leaves_the_rest(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, topics: TopicMaker, kafka: KafkaService
) -> None:
    setting.topics["predictions"] = topics("cli-there", partitions=PARTITIONS)
    config = story.write_config(tmp_path, setting)

    made = driftline("topics", "create", "--partitions", PARTITIONS, "--config", config, "--json")
    again = driftline("topics", "create", "--partitions", 7, "--config", config, "--json")

    assert (made.status, again.status) == (0, 0), made.err
    expected = {name: [name != setting.topics["predictions"], PARTITIONS] for name in setting.topics.values()}
    assert made.json == expected
    assert again.json == {name: [False, PARTITIONS] for name in expected}
    there = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    assert {len(there[name].partitions) for name in expected} == {PARTITIONS}


def test_predictions_and_labels_with_different_numbers_of_partitions_are_an_error(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, topics: TopicMaker
) -> None:
    setting.topics["predictions"] = topics("cli-three", partitions=3)
    config = story.write_config(tmp_path, setting)

    created = driftline("topics", "create", "--partitions", 2, "--config", config)
    checked = driftline("check", "--config", config, "--json")
    ran = driftline("run", "--config", config)

    assert (created.status, checked.status, ran.status) == (2, 1, 2)
    for err in (created.err, ran.err):
        assert "has 3 partitions" in err.splitlines()[-1]
        assert "Traceback" not in err
    failed = [f for f in msgspec.convert(checked.json, list[dict[str, Any]]) if f["state"] == "failed"]
    assert [f["subject"] for f in failed] == ["predictions and labels share partitions"]


def test_a_replication_that_the_cluster_cannot_give_is_refused_in_one_sentence(
    driftline: Driftline, tmp_path: Path, setting: story.Setting
) -> None:
    ran = driftline("topics", "create", "--replication", 3, "--config", story.write_config(tmp_path, setting))

    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "--replication" in ran.err


def test_missing_topics_are_an_answer_to_check_and_an_error_to_run_and_nobody_makes_them(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, kafka: KafkaService
) -> None:
    config = story.write_config(tmp_path, setting)

    ran = driftline("run", "--config", config)
    checked = driftline("check", "--config", config, "--json")
    dumped = driftline("dump", "--out", tmp_path / "dump.jsonl", "--config", config)

    assert (ran.status, checked.status, dumped.status) == (2, 1, 2)
    assert "does not exist" in ran.err
    assert "driftline topics create" in ran.err
    assert "Traceback" not in ran.err
    failed = [f for f in msgspec.convert(checked.json, list[dict[str, Any]]) if f["state"] == "failed"]
    used = {name for role, name in setting.topics.items() if role != "features"}
    assert {f["subject"] for f in failed} == {f"topic {name}" for name in used}
    assert all("driftline topics create" in f["remedy"] for f in failed)
    there = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    assert not used & set(there)


def test_check_is_content_when_everything_is_there(
    driftline: Driftline, tmp_path: Path, setting: story.Setting
) -> None:
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)

    ran = driftline("check", "--config", config)

    assert ran.status == 0, ran.out
    assert "failed" not in ran.out
    # There are no records yet that labels could be looked for in.
    assert (ran.out.count("not checked"), ran.out.count("no records yet")) == (2, 2)


def test_check_says_no_to_a_redis_that_evicts_keys(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, redis_service: RedisService
) -> None:
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    with redis.from_url(redis_service.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            checked, ran = driftline("check", "--config", config), driftline("run", "--config", config)
        finally:
            client.config_set("maxmemory-policy", "noeviction")

    assert (checked.status, ran.status) == (1, 2)
    assert "set maxmemory-policy noeviction" in checked.out
    assert "set maxmemory-policy noeviction" in ran.err


def test_check_cannot_answer_when_the_broker_is_away(
    driftline: Driftline, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_log, "REQUEST_S", 1.0)
    config = story.write_config(tmp_path, story.Setting(redis=redis_url))

    ran = driftline("check", "--config", config, "--json")

    assert ran.status == 2
    states = {f["subject"]: f["state"] for f in msgspec.convert(ran.json, list[dict[str, Any]])}
    assert (states["Kafka"], states["topic predictions"], states["Redis"]) == ("failed", "not checked", "ok")


def test_a_worker_is_watched_dumped_and_replayed_with_the_same_digest(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, kafka: KafkaService
) -> None:
    setting.model = {"alerts": {"confirm": "1 of 1"}, "windows": {"idle": "3000d"}}
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    story.produce(kafka.bootstrap, setting.topics["predictions"], story.predictions(shift=2.0), PARTITIONS)
    story.produce(kafka.bootstrap, setting.topics["labels"], story.labels(shift=2.0), PARTITIONS)
    log = tmp_path / "worker.log"

    def status() -> dict[str, Any]:
        return msgspec.convert(driftline("status", "--config", config, "--json").json, dict[str, Any])

    def finished() -> dict[str, Any] | None:
        found = status()
        read = sum(sum(task["offsets"].values()) for task in found["tasks"])
        done = read == 2 * story.EVENTS and found["models"][0]["open_alerts"]
        return found if done and not found["models"][0]["unpublished"] else None

    with worker(config) as process:
        found = wait_for(finished, log.read_text)
        while_running = driftline("status", "--config", config)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()

    outcomes = [task["outcomes"] for task in found["tasks"]]
    assert sum(o[setting.topics["predictions"]]["applied"] for o in outcomes) == story.EVENTS
    assert sum(o[setting.topics["labels"]]["applied"] for o in outcomes) == story.EVENTS
    assert "amount" in {alert["subject"] for alert in found["models"][0]["open_alerts"]}
    assert while_running.status == 0
    for word in ("loans", "amount", "open alerts", "applied 5"):
        assert word in while_running.out
    assert all(line.startswith("{") for line in log.read_text().splitlines()), log.read_text()

    live = driftline("status", "--digest", "--config", config, "--json").json
    dumped = driftline("dump", "--out", tmp_path / "dump.jsonl.gz", "--config", config, "--json")
    expected = {setting.topics["predictions"]: story.EVENTS, setting.topics["labels"]: story.EVENTS}
    assert isinstance(dumped.json, dict)
    assert {k: dumped.json[k] for k in expected} == expected
    replayed = driftline("replay", tmp_path / "dump.jsonl.gz", "--config", config, "--json", "--digest").json
    assert isinstance(live, dict)
    assert isinstance(replayed, dict)
    assert replayed["parts"] == live["parts"]
    assert replayed["digest"] == live["digest"]


def test_a_dump_can_be_a_range_of_one_topic(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, kafka: KafkaService
) -> None:
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", 1, "--config", config)
    story.produce(kafka.bootstrap, setting.topics["predictions"], story.predictions(50), 1)
    options = ["--out", tmp_path / "dump.jsonl", "--topics", "predictions", "--config", config, "--json"]

    ran = driftline("dump", *options, "--from-offset", 10, "--until", 30)

    assert ran.json == {setting.topics["predictions"]: 20}
    lines = (tmp_path / "dump.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["offset"] for line in lines] == list(range(10, 30))


def test_approving_puts_the_command_on_the_control_topic_only_for_the_proposal_that_waits(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, kafka: KafkaService
) -> None:
    setting.model = {
        "alerts": {"confirm": "1 of 1"},
        "retrain": {"min_labels": 10, "approval": "required"},
        "windows": {"idle": "3000d"},
    }
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    story.produce(kafka.bootstrap, setting.topics["predictions"], story.predictions(2_000, shift=2.0), PARTITIONS)
    story.produce(kafka.bootstrap, setting.topics["labels"], story.labels(2_000, shift=2.0), PARTITIONS)
    log = tmp_path / "worker.log"

    def request(state: str) -> str | None:
        found = msgspec.convert(driftline("status", "--config", config, "--json").json, dict[str, Any])
        flight = found["models"][0]["request"] if found["models"] else None
        return flight["request"] if flight and flight["state"] == state else None

    options = ["--model", "loans", "--config", config]
    with worker(config) as process:
        name = wait_for(lambda: request("proposed"), log.read_text)
        assert driftline("approve", "0" * 32, *options).status == 1
        assert driftline("approve", name, *options, "--by", "ada").status == 0
        assert wait_for(lambda: request("requested"), log.read_text) == name
        assert driftline("approve", name, *options).status == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    loaded: Config = load(config)
    sent = [msgspec.json.decode(m.value(), type=Command) for m in KafkaRange(loaded.kafka, [loaded.topics.control])]
    assert sent == [Approve(model="loans", request=name, by="ada")]


def test_run_dev_brings_its_own_kafka_and_redis_and_takes_them_away(tmp_path: Path) -> None:
    config = story.write_config(tmp_path)
    with worker(config, "--dev") as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        bootstrap, url = words[3].rstrip(","), words[-1]
        story.produce(bootstrap, "predictions", story.predictions(100), 4)
        log = tmp_path / "worker.log"
        wait_for(lambda: "assigned" in log.read_text(), log.read_text)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, log.read_text()

    with redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert os.environ.get("DRIFTLINE_CHILD_LOG") is None
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "log_level": 0})
    with pytest.raises(Exception, match="transport"):
        consumer.list_topics(timeout=1)
    consumer.close()


def test_topics_whose_record_times_reach_into_the_future_are_found_out(kafka: KafkaService, topics: TopicMaker) -> None:
    free = topics("free", config={"message.timestamp.after.max.ms": "9223372036854775807"})
    appended = topics("appended", config={"message.timestamp.type": "LogAppendTime"})
    settings = {"bootstrap.servers": kafka.bootstrap}
    assert untrusted_times(settings, [free, appended, topics("ordinary")]) == [free]


@pytest.mark.parametrize("forgets", [{"retention.ms": "604800000"}, {"cleanup.policy": "compact"}])
def test_check_says_no_to_a_journal_that_forgets(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, topics: TopicMaker, forgets: dict[str, str]
) -> None:
    setting.topics["journal"] = topics("forgets", config={"retention.ms": "-1"} | forgets)
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    ran = driftline("check", "--config", config, "--json")
    (failed,) = [f for f in msgspec.convert(ran.json, list[dict[str, Any]]) if f["state"] == "failed"]
    assert (ran.status, failed["subject"]) == (1, "the journal is kept")
    assert f"cleanup.policy=delete on {setting.topics['journal']}" in failed["remedy"]


def test_check_says_no_to_inputs_that_are_compacted(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, topics: TopicMaker
) -> None:
    setting.topics["labels"] = topics("compacted", partitions=PARTITIONS, config={"cleanup.policy": "compact"})
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    ran = driftline("check", "--config", config, "--json")
    (failed,) = [f for f in msgspec.convert(ran.json, list[dict[str, Any]]) if f["state"] == "failed"]
    assert (ran.status, failed["subject"]) == (1, "inputs are not compacted")


def test_a_new_journal_never_deletes_by_age(kafka: KafkaService) -> None:
    names = ["journal-kept", "alerts-not-kept"]
    made = create_topics({"bootstrap.servers": kafka.bootstrap}, names, 2, 1, keep=names[:1])
    assert made == dict.fromkeys(names, (True, 2))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    told = {
        r.name: f.result()["retention.ms"]
        for r, f in admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]).items()
    }
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value  # said of this topic, not inherited from the broker
    assert (told["journal-kept"].value, told["journal-kept"].source) == ("-1", own)
    assert told["alerts-not-kept"].source != own
