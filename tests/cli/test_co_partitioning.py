"""Labels that cannot meet their predictions, and what waiting for labels costs: ``check`` and ``run`` on a real Kafka."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import redis
from confluent_kafka import Producer

from schemas.config import load
from streams.edges.kafka_sample import count_since, newest
from streams.label_checks import MEMORY, PLACED, SHARED, STORE
from streams.partitioners import MURMUR2
from tests.cli import story
from tests.cli.conftest import Driftline
from tests.cli.test_live import wait_for, worker
from tests.conftest import TopicMaker
from tests.services import kafka as kafka_jars
from tests.services.kafka import KafkaService

pytestmark = pytest.mark.kafka

PARTITIONS = 3
LOANS = MEMORY.format("loans")
_numbers = itertools.count(1)


@pytest.fixture
def setting(kafka: KafkaService, redis_url: str) -> story.Setting:
    """A configuration whose topics nobody has made yet."""
    number = next(_numbers)
    roles = ("predictions", "labels", "features", "control", "alerts", "retrain", "dead_letters", "journal")
    return story.Setting(kafka.bootstrap, redis_url, {role: f"placed-{number}-{role}" for role in roles})


def send(
    setting: story.Setting, role: str, events: list[dict[str, Any]], partitioner: str, times: list[int] | None = None
) -> None:
    """Send events with their id as key, and let the client choose the partition."""
    producer = Producer({"bootstrap.servers": setting.bootstrap, "partitioner": partitioner})
    for i, event in enumerate(events):
        at = event["event_time"] if times is None else times[i]
        producer.produce(setting.topics[role], orjson.dumps(event), key=event["prediction_id"], timestamp=at)
    assert producer.flush(20) == 0


JAVA = """
    import java.io.*;
    import java.util.Properties;
    import org.apache.kafka.clients.producer.*;
    public class Send {
        public static void main(String[] to) throws IOException {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", to[0]);
            String text = "org.apache.kafka.common.serialization.StringSerializer";
            settings.put("key.serializer", text);
            settings.put("value.serializer", text);
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings)) {
                for (String line; (line = lines.readLine()) != null; ) {
                    String[] record = line.split("\t");
                    producer.send(new ProducerRecord<>(to[1], record[0], record[1]));
                }
            }
        }
    }
"""


def send_with_java(setting: story.Setting, role: str, events: list[dict[str, Any]], folder: Path) -> None:
    """The same with Kafka's own producer, as it is when nobody sets anything."""
    source = folder / "Send.java"
    source.write_text(JAVA)
    command = ["java", "-cp", f"{kafka_jars.fetch()}/*", str(source), setting.bootstrap, setting.topics[role]]
    lines = "".join(f"{event['prediction_id']}\t{json.dumps(event)}\n" for event in events)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def findings(driftline: Driftline, config: Path) -> dict[str, dict[str, Any]]:
    """What check found, by subject."""
    ran = driftline("check", "--config", config, "--json")
    return {f["subject"]: f for f in msgspec.convert(ran.json, list[dict[str, Any]])}


def test_a_python_producer_and_a_java_producer_are_told_apart_and_what_to_change_is_said(
    driftline: Driftline, tmp_path: Path, setting: story.Setting
) -> None:
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    send(setting, "predictions", story.predictions(), "consistent_random")
    send_with_java(setting, "labels", story.labels(), tmp_path)

    found = findings(driftline, config)[PLACED]
    checked = driftline("check", "--config", config)
    ran = driftline("run", "--config", config)

    predictions, labels = setting.topics["predictions"], setting.topics["labels"]
    assert (found["state"], checked.status, ran.status) == ("failed", 1, 2)
    for said in (found["detail"], ran.err.splitlines()[-1]):
        assert f"{predictions} is partitioned by crc32 of the id" in said
        assert f"{labels} by murmur2 (Java clients" in said
    for said in (found["remedy"], ran.err.splitlines()[-1]):
        assert f"let the producers of {predictions} use murmur2" in said
        assert '"partitioner": "murmur2_random"' in said
    assert "--no-partition-check" in ran.err
    assert "Traceback" not in ran.err
    log = tmp_path / "worker.log"
    with worker(config, "--no-partition-check"):
        assert wait_for(lambda: "assigned" in log.read_text(), log.read_text)


def test_a_java_producer_and_a_python_producer_that_was_told_agree(
    driftline: Driftline, tmp_path: Path, setting: story.Setting
) -> None:
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    send(setting, "predictions", story.predictions(), "murmur2_random")
    send_with_java(setting, "labels", story.labels(), tmp_path)

    found = findings(driftline, config)[PLACED]

    assert found["state"] == "ok"
    assert found["detail"] == "both by murmur2 of the id (1,000 and 1,000 ids looked at)"
    lies = {
        r.key: r.partition
        for r in newest(load(config).kafka, {setting.topics["labels"]: PARTITIONS})[setting.topics["labels"]]
    }
    assert lies == {key: MURMUR2.partition(key or b"", PARTITIONS) for key in lies}


def test_topics_without_records_are_not_checked_and_stop_nobody(
    driftline: Driftline, tmp_path: Path, setting: story.Setting
) -> None:
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    began = time.monotonic()

    found = findings(driftline, config)

    assert {s: f["state"] for s, f in found.items() if f["state"] != "ok"} == {
        PLACED: "not checked",
        STORE: "not checked",
    }
    assert found[PLACED]["detail"] == f"{setting.topics['predictions']}: no records yet"
    assert time.monotonic() - began < 30  # a hang, not a speed
    assert driftline("check", "--config", config).status == 0


def test_an_unequal_number_of_partitions_says_which_command_mends_it(
    driftline: Driftline, tmp_path: Path, setting: story.Setting, topics: TopicMaker
) -> None:
    setting.topics["labels"] = topics("placed-two", partitions=2)
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)

    found = findings(driftline, config)

    assert found[SHARED]["state"] == "failed"
    assert f"--alter --topic {setting.topics['labels']} --partitions 3" in found[SHARED]["remedy"]
    assert PLACED not in found


def test_the_cost_of_waiting_is_said_and_a_bound_that_is_too_low_fails(
    driftline: Driftline, tmp_path: Path, setting: story.Setting
) -> None:
    # 7,200 predictions in the last hour, and older ones: 2 a second, four days and one more for two slots, 32 bytes each.
    now = time.time_ns() // 1_000_000
    times = [now - 2 * 3_600_000 + i * 1_000 for i in range(3_000)] + [now - 3_500_000 + i * 480 for i in range(7_200)]
    events = story.predictions(len(times))
    for event, at in zip(events, times, strict=True):
        event["event_time"] = at
    setting.model = {"labels": {"maturity": "5m", "horizon": "4d", "memory": "27MB"}}
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    send(setting, "predictions", events, "murmur2_random", times)

    found = findings(driftline, config)
    setting.model["labels"]["memory"] = "28MB"
    wider = findings(driftline, story.write_config(tmp_path, setting))

    assert count_since(load(config).kafka, setting.topics["predictions"], PARTITIONS, now - 3_600_000) == (7_200, True)
    assert found[LOANS]["state"] == "failed"
    assert "2.0 predictions a second (the last hour) wait 4 d for labels: 864,000 at once" in found[LOANS]["detail"]
    assert "27.6 MB in the memory of all workers together (labels.memory is 27.0 MB)" in found[LOANS]["detail"]
    assert "up to 20.7 MB in Redis" in found[LOANS]["detail"]
    assert "set labels.sample of loans to 0.97" in found[LOANS]["remedy"]
    assert (wider[LOANS]["state"], wider[STORE]["state"]) == ("ok", "ok")


def test_a_redis_that_is_too_small_for_the_labels_fails(
    driftline: Driftline, tmp_path: Path, setting: story.Setting
) -> None:
    setting.model = {"labels": {"maturity": "5m", "horizon": "100d"}}
    config = story.write_config(tmp_path, setting)
    driftline("topics", "create", "--partitions", PARTITIONS, "--config", config)
    send(setting, "predictions", story.predictions(), "murmur2_random")
    with redis.from_url(setting.redis) as client:
        client.config_set("maxmemory", "200mb")
        try:
            found = findings(driftline, config)
        finally:
            client.config_set("maxmemory", "0")

    # History: one event in 650 ms, 125 days, 24 bytes.
    assert found[STORE]["state"] == "failed"
    assert "of 200.0 MB" in found[STORE]["detail"] or "of 209.7 MB (maxmemory)" in found[STORE]["detail"]
    assert "(the event times of the newest)" in found[LOANS]["detail"]
    assert "1.5 predictions a second" in found[LOANS]["detail"]
