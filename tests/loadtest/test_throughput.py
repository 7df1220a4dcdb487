"""The command measures a worker only when its answer is right, and says so in its exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis
from confluent_kafka.admin import AdminClient

from loadtest import place, throughput, workload
from loadtest.__main__ import main
from loadtest.measure import CLIENT_THREADS, REST

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.workload import Rows, Truth
    from tests.services.kafka import KafkaService

EVENTS = 5_000


def run(kafka: KafkaService, redis_url: str, *more: str) -> int:
    addresses = ["--bootstrap", kafka.bootstrap, "--redis", redis_url]
    return main(["throughput", "--events", str(EVENTS), "--partitions", "2", "--rounds", "1", *addresses, *more])


@pytest.mark.kafka
def test_a_right_answer_has_figures_and_leaves_nothing_behind(
    kafka: KafkaService, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics)
    file = tmp_path / "found.json"

    assert run(kafka, redis_url, "--labels", "0.3", "--json", str(file)) == 0

    found = json.loads(file.read_bytes())
    assert found["wrong"] == []
    assert found["workload"]["predictions"] == EVENTS
    assert found["workload"]["labels"] == pytest.approx(0.3 * EVENTS, rel=0.1)
    assert found["pipeline"]["per_cpu_second"]["median"] > 0
    assert found["pipeline"]["per_wall_second"]["median"] > 0
    assert found["bare"]["per_cpu_second"]["median"] > found["pipeline"]["per_cpu_second"]["median"]
    assert {"consume", "decode", "fold", "join", "commit", "evaluate", REST, CLIENT_THREADS} == set(
        found["stages_ns_per_event"]
    )
    per_event = sum(stage["median"] for stage in found["stages_ns_per_event"].values())
    assert per_event == pytest.approx(1e9 / found["pipeline"]["per_cpu_second"]["median"], rel=1e-6)
    assert found["machine"]["cores"] >= 1
    assert "right" in capsys.readouterr().out
    assert set(AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics) <= before | {
        "__consumer_offsets"
    }
    with redis.from_url(redis_url) as client:
        assert client.keys("driftline:*loadtest*") == []


@pytest.mark.kafka
def test_a_wrong_answer_has_no_figure_and_exit_status_1(
    kafka: KafkaService,
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = workload.truth_of

    def one_row_in_another_slot(made: Rows, against: Any) -> Truth:  # noqa: ANN401  # a Reference
        truth = honest(made, against)
        start = min(truth.panes)
        rows, slots = truth.panes[start]
        moved = [slots[0], slots[1] + 1, slots[2] - 1, *slots[3:]]
        return replace(truth, panes=truth.panes | {start: (rows, moved)})

    monkeypatch.setattr(workload, "truth_of", one_row_in_another_slot)
    file = tmp_path / "found.json"

    assert run(kafka, redis_url, "--json", str(file)) == 1

    said = capsys.readouterr().out
    assert "wrong: histograms: 1 of 1 panes are not the known truth" in said
    assert "no figure" in said
    assert "CPU" not in said
    assert set(json.loads(file.read_bytes())) == {"command", "wrong"}


def found_with(per_cpu_second: float) -> dict[str, Any]:
    spread = {"min": per_cpu_second, "median": per_cpu_second, "max": per_cpu_second}
    figures = {"per_cpu_second": spread, "per_wall_second": spread, "rounds": []}
    keys = ("predictions", "labels", "features", "bytes_per_event", "panes", "partitions")
    return {
        "wrong": [],
        "workload": dict.fromkeys(keys, 1),
        "machine": {"cpu": "one", "cores": 1, "python": "3", "load_before": 0.0, "load_after": 0.0},
        "bare": figures,
        "pipeline": figures,
        "ratio": spread,
        "stages_ns_per_event": {},
    }


@pytest.mark.parametrize(
    ("rate", "options", "status"), [(59_999, ["--check"], 1), (60_000, ["--check"], 0), (1, [], 0)]
)
def test_only_check_turns_a_figure_below_the_floor_into_exit_status_1(
    rate: float, options: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "measure", lambda _options: found_with(rate))
    assert main(["throughput", *options]) == status


@pytest.mark.parametrize(
    "wrong", [["--labels", "2"], ["--events", "0"], ["--rounds", "0"], ["--json", "/no/such/folder/x"]]
)
def test_a_question_that_makes_no_sense_has_exit_status_2(wrong: list[str]) -> None:
    assert main(["throughput", *wrong]) == 2


def test_a_redis_that_does_not_answer_is_one_sentence_and_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    addresses = ["--bootstrap", "127.0.0.1:1", "--redis", "redis://127.0.0.1:1/0"]
    assert main(["throughput", "--events", "10", *addresses]) == 2
    assert "Redis at 127.0.0.1:1" in capsys.readouterr().err


def test_a_broker_that_does_not_answer_is_one_sentence_and_exit_status_2(
    redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "REQUEST_S", 1.0)
    assert main(["throughput", "--events", "10", "--bootstrap", "127.0.0.1:1", "--redis", redis_url]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "Kafka did not answer" in said[0]
