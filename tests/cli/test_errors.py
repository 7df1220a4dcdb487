"""What a person can get wrong: one clear sentence with the remedy, exit status 2, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from detectors.reference import Reference
from streams.cli import run as run_module
from streams.edges import kafka_log, kafka_topics
from streams.edges.embedded import EmbeddedKafka
from tests.cli import story
from tests.cli.conftest import Driftline, Ran

NOBODY = "127.0.0.1:1"
"""Port 1 (tcpmux): nothing listens there."""


def assert_one_sentence(ran: Ran, *words: str) -> None:
    """One line on stderr that has the words, nothing of a traceback, and status 2."""
    lines = ran.err.strip().splitlines()
    assert (ran.status, len(lines)) == (2, 1), ran
    assert "Traceback" not in ran.out + ran.err
    for word in words:
        assert word in lines[0]


def test_a_missing_configuration_file(driftline: Driftline, tmp_path: Path) -> None:
    assert_one_sentence(driftline("check", "--config", tmp_path / "nowhere.yaml"), "nowhere.yaml")


def test_a_bad_value_in_the_configuration_is_named_with_its_line_and_what_is_allowed(
    driftline: Driftline, tmp_path: Path
) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text("models:\n  loans: {task: binry, reference: r.json}\n")

    ran = driftline("run", "--config", path)

    assert ran.status == 2
    assert "monitor.yaml" in ran.err
    assert "line 2" in ran.err or ":2" in ran.err
    assert "binary" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", ["run", "replay"])
def test_a_missing_reference_file(driftline: Driftline, tmp_path: Path, command: str) -> None:
    config = story.write_config(tmp_path)
    (tmp_path / "reference.json").unlink()
    dump = tmp_path / "empty.jsonl"
    dump.write_text("")

    ran = driftline(command, *([dump] if command == "replay" else []), "--config", config)

    assert_one_sentence(ran, "models.loans.reference", "reference.json", "driftline reference build")


def test_a_reference_that_does_not_match_the_model(driftline: Driftline, tmp_path: Path) -> None:
    config = story.write_config(tmp_path)
    table = story.columns(500, 1) | {"prediction": [1.5] * 500, "label": [1.0] * 500}
    Reference.build(table, task="regression").save(tmp_path / "reference.json")

    assert_one_sentence(driftline("run", "--config", config), "binary", "regression", "rebuild")


def test_a_reference_that_was_edited(driftline: Driftline, tmp_path: Path) -> None:
    config = story.write_config(tmp_path)
    path = tmp_path / "reference.json"
    path.write_bytes(path.read_bytes().replace(b'"rows":2000', b'"rows":2001'))

    assert_one_sentence(driftline("run", "--config", config), "reference.json", "edited")


def test_a_redis_that_does_not_answer(driftline: Driftline, tmp_path: Path) -> None:
    for command in ("run", "status"):
        ran = driftline(command, "--config", story.write_config(tmp_path))
        assert_one_sentence(ran, "Redis at 127.0.0.1:1", "redis.url")


def test_a_broker_that_does_not_answer(
    driftline: Driftline, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_log, "REQUEST_S", 1.0)
    config = story.write_config(tmp_path, story.Setting(bootstrap=NOBODY, redis=redis_url))

    for command in (["run"], ["dump", "--out", tmp_path / "dump.jsonl"]):
        assert_one_sentence(driftline(*command, "--config", config), "Kafka did not answer", "kafka.bootstrap.servers")


def test_a_missing_topic_is_not_made_by_asking_for_it(driftline: Driftline, tmp_path: Path, redis_url: str) -> None:
    # The embedded cluster makes what a producer's client asks for, as a broker with auto.create.topics.enable does.
    with EmbeddedKafka() as kafka:
        config = story.write_config(tmp_path, story.Setting(bootstrap=kafka.bootstrap, redis=redis_url))
        ran = driftline("run", "--config", config)
        checked = driftline("check", "--config", config)
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "looks"})
        there = consumer.list_topics(timeout=5).topics
        consumer.close()

    assert_one_sentence(ran, "topic 'driftline.control' does not exist", "driftline topics create")
    assert checked.status == 1
    assert there == {}


def test_an_embedded_cluster_cannot_be_asked_to_make_topics(
    driftline: Driftline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_topics, "_CREATE_S", 1.0)
    with EmbeddedKafka() as kafka:
        config = story.write_config(tmp_path, story.Setting(bootstrap=kafka.bootstrap))
        ran = driftline("topics", "create", "--config", config)

    assert_one_sentence(ran, "controller", "embedded Kafka")


def test_a_command_line_that_is_none(driftline: Driftline) -> None:
    ran = driftline("replai")

    assert ran.status == 2
    assert "No such command" in ran.err


def test_a_replay_of_nothing(driftline: Driftline, tmp_path: Path) -> None:
    assert_one_sentence(driftline("replay", "--config", story.write_config(tmp_path)), "dumps", "--predictions")


def test_a_dump_that_is_none_is_named_with_its_line(driftline: Driftline, tmp_path: Path) -> None:
    dump = tmp_path / "dump.jsonl"
    dump.write_text('{"topic": "predictions"}\n')

    ran = driftline("replay", dump, "--config", story.write_config(tmp_path))

    assert_one_sentence(ran, "dump.jsonl, line 1", "driftline dump")


def test_the_console_script_ends_with_the_same_status_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streams.cli.main", "check", "--config", str(tmp_path / "none.yaml")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "none.yaml" in done.stderr


def test_an_interrupt_ends_with_130(driftline: Driftline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_config: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "work", interrupted)

    assert driftline("run", "--config", story.write_config(tmp_path)).status == 130
