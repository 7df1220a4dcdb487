"""P1 and P3 with `group.protocol: consumer` (KIP-848), where partitions move one by one while the others go on being read."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest
import yaml

from schemas import config as configuration
from tests.conftest import TopicMaker
from tests.integration import scenario, workers
from tests.services.kafka import KafkaService

PARTITIONS = 4
N = 12_000
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807"}
"""The story's record times lie in the past, and its closing records in the future."""


@pytest.mark.kafka
def test_workers_that_join_leave_and_die_count_every_record_once(
    kafka: KafkaService, redis_url: str, topics: TopicMaker, tmp_path: Path
) -> None:
    inputs = {half: topics(half, partitions=PARTITIONS, config=KEEP) for half in ("predictions", "labels")}
    outputs = {name: topics(name) for name in ("control", "alerts", "retrain", "dead_letters", "journal", "features")}
    scenario.write_config(tmp_path, kafka.bootstrap, redis_url, inputs | outputs)
    path = tmp_path / "monitor.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["group"] = "incremental"
    del raw["kafka"]["session.timeout.ms"]  # the broker's, with this protocol
    raw["kafka"]["group.protocol"] = "consumer"
    path.write_text(yaml.safe_dump(raw))
    config = configuration.load(path)
    workers.forget_group(kafka.bootstrap, config.group)
    story = scenario.story(N)
    parts = [story[: N // 2], story[N // 2 : N], story[N : 3 * N // 2], story[3 * N // 2 :]]

    with contextlib.ExitStack() as stack:
        run = [stack.enter_context(workers.worker(tmp_path, f"worker-{n}")) for n in range(2)]
        workers.wait_until_shared(config, PARTITIONS, 2)
        send(kafka.bootstrap, inputs, parts[0])
        run.append(stack.enter_context(workers.worker(tmp_path, "worker-2")))
        workers.wait_until_shared(config, PARTITIONS, 3)
        send(kafka.bootstrap, inputs, parts[1])
        run[0].kill()  # its partitions come to the others when the broker has missed it
        send(kafka.bootstrap, inputs, parts[2])
        run[1].send_signal(signal.SIGTERM)
        assert run[1].wait(20) == 0
        scenario.produce(kafka.bootstrap, inputs, PARTITIONS, parts[3])
        workers.wait_until_read(config, PARTITIONS)
        assert run[2].poll() is None

    found, expected = scenario.counted(workers.left(config)[1]), scenario.expected_ledger(N)
    closing = PARTITIONS
    expected["predictions"]["applied"] += closing
    assert expected["predictions"] == {k: v for k, v in found["predictions"].items() if v}
    labels = found["labels"]
    assert {k: labels[k] for k in ("applied", "duplicate", "conflict")} == {
        k: expected["labels"][k] for k in ("applied", "duplicate", "conflict")
    }
    assert labels["orphan"] + labels["waiting"] == expected["labels"]["orphan"] + closing
    text = b"\n".join(workers.events_by_id(kafka.bootstrap, config.topics.alerts).values())
    assert b'"feature":"a"' in text


def send(bootstrap: str, topics: dict[str, str], records: list[tuple[str, int, str, bytes]]) -> None:
    """A part of the story, without closing records."""
    scenario.produce(bootstrap, topics, 0, records)
