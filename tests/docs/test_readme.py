"""The README, typed in as printed: reference, topics, worker, first predictions and labels, alerts, dump and replay.

Only addresses and topic names are replaced. The topics have one partition, so that one prediction of now closes every window
before it, and nothing waits for the wall clock.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import redis
import yaml
from confluent_kafka import Producer

from schemas import config as configuration
from schemas.config import Config
from schemas.settings import Topics
from streams.edges.redis_store import RedisStore
from streams.status import Status, read_status
from tests.conftest import make_topic
from tests.docs.blocks import README, block
from tests.docs.tables import REPOSITORY
from tests.services.kafka import KafkaService
from tests.services.redis import RedisService

pytestmark = pytest.mark.kafka
PATIENCE_S = 60.0
LONGEST_S = 240.0
HOW_TO = REPOSITORY / "docs" / "how-to"


@dataclass
class Desk:
    """Where the commands are typed: a copy of examples/fraud with addresses of its own, and what replaces the printed ones."""

    folder: Path
    config: Config
    bootstrap: str
    topics: dict[str, str]

    def own(self, text: str) -> str:
        """Replace the address and the topics of a printed text."""
        for printed, name in self.topics.items():
            if printed != "features":  # nothing printed sends to that topic, and events have a field of this name
                text = text.replace(f'"{printed}"', f'"{name}"').replace(f"-t {printed} ", f"-t {name} ")
        return text.replace("localhost:9092", self.bootstrap)

    def shell(self, text: str) -> str:
        """Run lines of a shell, with this Python's commands found first; returns what they print."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def python(self, text: str) -> None:
        """Run a Python block to its end."""
        done = subprocess.run(
            [sys.executable, "-c", self.own(text)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    def status(self) -> Status:
        """What the worker has committed."""
        return read_status(self.config, RedisStore(self.config.redis.url))

    def outcomes(self, half: str) -> dict[str, int]:
        """What became of the records of one input topic."""
        tasks = self.status().tasks
        return tasks[0].outcomes.get(self.topics[half], {}) if tasks else {}

    def wait_for(self, half: str, applied: int) -> None:
        """Return when so many records of a topic are applied, and none became anything else."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.outcomes(half)) != {"applied": applied}:
            assert time.monotonic() < deadline, f"{half}: {found} instead of {applied} applied"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def desk(kafka: KafkaService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The example at its own Kafka topics and Redis, its first commands typed, and a worker running."""
    folder = tmp_path_factory.mktemp("readme") / "fraud"
    shutil.copytree(REPOSITORY / "examples" / "fraud", folder, ignore=shutil.ignore_patterns("*.csv", "fraud.json"))
    names: dict[str, str] = Topics().model_dump()
    topics = {printed: make_topic(kafka, "readme", 1, {}) for printed in names.values()}
    with RedisService() as server:
        raw = yaml.safe_load(block(README, "monitor"))
        raw |= {"kafka": {"bootstrap.servers": kafka.bootstrap}, "redis": {"url": server.url}, "http": {"port": 0}}
        raw["topics"] = {key: topics[printed] for key, printed in names.items()}
        (folder / "monitor.yaml").write_text(yaml.safe_dump(raw))
        desk = Desk(folder, configuration.load(folder / "monitor.yaml"), kafka.bootstrap, topics)
        first, rest = block(README, "begin").split("\n", 1)
        assert first == "source .venv/bin/activate && cd examples/fraud"
        desk.shell(rest)
        with running(block(README, "run"), folder):
            yield desk


@contextmanager
def running(text: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One command of a block, or a Python block, that runs until the test has seen enough."""
    words = text.split()
    command = (
        [str(Path(sys.executable).parent / words[0]), *words[1:]]
        if words[0] == "driftline"
        else [sys.executable, "-c", text]
    )
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        # Whoever waits for a line that never comes reads the end of the output instead.
        watchdog = threading.Timer(LONGEST_S, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def with_traffic(desk: Desk) -> int:
    """The example's three hours of payments, applied; returns how many."""
    names = [f"--{half} {desk.topics[half]}" for half in ("predictions", "labels")]
    desk.shell(f"python payments.py traffic --bootstrap {desk.bootstrap} {' '.join(names)}")
    desk.wait_for("predictions", 5400)
    desk.wait_for("labels", 5251)
    return 5400


def test_the_first_prediction_and_its_label_in_python_are_applied(desk: Desk, with_traffic: int) -> None:
    before, labels = desk.outcomes("predictions")["applied"], desk.outcomes("labels")["applied"]
    assert before >= with_traffic
    desk.python(block(README, "predict"))
    desk.wait_for("predictions", before + 1)
    desk.python(block(README, "label"))
    desk.wait_for("labels", labels + 1)


def test_predictions_and_labels_sent_with_kcat_are_applied(desk: Desk, with_traffic: int) -> None:
    if shutil.which("kcat") is None:
        pytest.skip("not run: kcat is not installed")
    before, labels = desk.outcomes("predictions")["applied"], desk.outcomes("labels")["applied"]
    assert before >= with_traffic
    desk.shell(desk.own(block(README, "kcat")))
    desk.wait_for("predictions", before + 1)
    desk.wait_for("labels", labels + 1)


def test_the_subscriber_reads_the_alert_about_the_doubled_amounts(desk: Desk, with_traffic: int) -> None:
    assert with_traffic
    with running(desk.own(block(README, "alerts")), desk.folder) as subscriber:
        assert subscriber.stdout is not None
        lines = iter(subscriber.stdout.readline, "")
        line = next((one for one in lines if "amount" in one), "nothing about amount")
    assert re.match(
        r"dev.driftline.alert.opened.v1 \w+ fraud v1: amount has drifted from the reference \(PSI [\d.]+ ", line
    )


def test_the_subscriber_acts_once_on_a_repeat_and_not_on_an_older_event(desk: Desk) -> None:
    producer = Producer({"bootstrap.servers": desk.bootstrap})
    for alert, sequence, summary in (
        ("one", 1, "opened"),
        ("one", 1, "opened, a repeat"),
        ("one", 2, "escalated"),
        ("one", 1, "opened, from an old owner"),
        ("two", 1, "another alert"),
    ):
        data = {"alert_id": alert, "severity": "info", "summary": summary}
        event = {"id": f"{alert}-{sequence}", "type": "made-up", "sequence": f"{sequence:010d}", "data": data}
        producer.produce(desk.topics["driftline.alerts"], json.dumps(event), key="fraud")
    assert producer.flush(20) == 0
    program = desk.own(block(README, "alerts")).replace("my-pipeline", "another-pipeline")
    with running(program, desk.folder) as subscriber:
        assert subscriber.stdout is not None
        heard = []
        for line in iter(subscriber.stdout.readline, ""):
            heard += [line.removeprefix("made-up info ").strip()] if line.startswith("made-up") else []
            if "another alert" in line:
                break
    assert heard == ["opened", "escalated", "another alert"]


def test_the_acknowledgement_of_a_retrain_request_is_a_command_that_the_evaluator_takes(desk: Desk) -> None:
    desk.python(block(HOW_TO / "subscribers.md", "acknowledge"))
    deadline = time.monotonic() + PATIENCE_S
    journal = ""
    while '"entry":"command"' not in journal:
        assert time.monotonic() < deadline, "no command in the journal"
        desk.shell(f"driftline dump --out journal.jsonl --topics {desk.topics['driftline.journal']}")
        values = [orjson.loads(line)["value"] for line in (desk.folder / "journal.jsonl").read_bytes().splitlines()]
        journal = "\n".join(values)
    assert '"applied":false' in journal, "it names no request in flight"


def test_the_dump_replays_to_the_events_of_the_live_worker(desk: Desk, with_traffic: int) -> None:
    assert with_traffic
    desk.shell(block(HOW_TO / "replay.md", "dump"))
    lines = (desk.folder / "monday" / "events.jsonl").read_bytes().splitlines()
    replayed = {event["id"] for event in map(orjson.loads, lines)}
    desk.shell(f"driftline dump --out alerts.jsonl --topics {desk.topics['driftline.alerts']}")
    dumped = [orjson.loads(line)["value"] for line in (desk.folder / "alerts.jsonl").read_bytes().splitlines()]
    published = [orjson.loads(value) for value in dumped]
    assert replayed == {event["id"] for event in published if event["type"].startswith("dev.driftline.")} != set()


def test_redis_holds_the_keys_that_the_page_lists_and_no_others(desk: Desk, with_traffic: int) -> None:
    assert with_traffic
    page = (REPOSITORY / "docs" / "reference" / "redis-keys.md").read_text()
    with redis.from_url(desk.config.redis.url) as client:
        keys = {key.decode() for key in client.scan_iter("*")}
        assert all(client.ttl(key) == -1 for key in keys)
    roots = {key.split("}:")[1].split(":")[0] for key in keys if "}:" in key}
    others = {key.rpartition(":")[2] for key in keys if "}:" not in key}
    assert roots == {"head", "cell", "cells", "segment", "segments"} | (roots & {"outbox"})
    assert others == {"starts", "pins"}
    assert all(f"SHARD:{root}" in page for root in roots)
    assert all(f"predictions:{name}`" in page for name in others)
