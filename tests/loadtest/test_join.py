"""The join is measured only where its answer is right, and the page shows what was measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import redis

from loadtest import join, join_cost
from loadtest.__main__ import main
from loadtest.join_job import LABEL, RELOAD, REMEMBER, SHARD, Cost, Job, mixed
from loadtest.join_report import report

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "loadtest" / "results" / "join.json"
SIZE = 30_000


def run(phase: str, task: str, url: str, rows: int = 10_000) -> tuple[Cost, int, int]:
    return join_cost.run(Job(phase, task, SIZE, url, rows))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_what_a_restart_loads_is_what_was_remembered_and_labelled(redis_url: str, task: str) -> None:
    filled, at_end, _ = run(REMEMBER, task, redis_url)
    labelled, all_labelled, loaded = run(LABEL, task, redis_url)
    again, _, loaded_again = run(RELOAD, task, redis_url)

    assert filled.wrong == labelled.wrong == again.wrong == []
    assert (at_end, all_labelled) == (loaded, loaded_again)
    assert at_end != all_labelled
    for figure in (
        filled.join_ns,
        filled.log_ns,
        filled.log_bytes,
        filled.array_bytes,
        labelled.join_ns,
        labelled.load_s,
    ):
        assert figure > 0
    assert min(labelled.log_bytes, again.load_s, again.forget_ms, again.steady_ns) > 0


def test_a_label_that_a_restart_has_forgotten_changes_the_sum(redis_url: str) -> None:
    run(REMEMBER, "binary", redis_url)
    _, labelled, _ = run(LABEL, "binary", redis_url)
    with redis.from_url(redis_url) as client:
        key = f"driftline:{SHARD}:segments"
        marks = sorted(name for name in client.smembers(key) if name.startswith(b"j:"))
        client.srem(key, marks[0])

    assert run(RELOAD, "binary", redis_url)[2] != labelled


def test_a_prediction_that_is_not_remembered_is_told(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_cost, "mixed", lambda i: mixed(i // np.uint64(2)))  # two predictions for every id
    assert run(REMEMBER, "binary", redis_url)[0].wrong


def found_with(load_s: float) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(RESULTS.read_bytes())
    found["targets"] = [{"what": "load_s", "target": 15.0, "median": load_s, "holds": load_s <= 15.0}]
    return found


@pytest.mark.parametrize(("load_s", "options", "status"), [(16, ["--check"], 1), (14, ["--check"], 0), (16, [], 0)])
def test_only_check_turns_a_missed_target_into_exit_status_1(
    load_s: float, options: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "measure", lambda _rounds, _scale: found_with(load_s))
    assert main(["join", *options]) == status


@pytest.mark.parametrize(
    "wrong", [["--rounds", "0"], ["--scale", "0"], ["--json", "/no/such/folder/x"], ["--show", "/no/such/file"]]
)
def test_a_question_that_makes_no_sense_has_exit_status_2(wrong: list[str]) -> None:
    assert main(["join", *wrong]) == 2


def test_a_program_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(join.RunFailedError, match="there is no such task"):
        join._program(tmp_path, Job(REMEMBER, "there is no such task", 1, "redis://127.0.0.1:1/0", 1))  # noqa: SLF001  # the only way to make it fail


def test_every_table_on_the_page_is_printed_by_the_command() -> None:
    printed = report(orjson.loads(RESULTS.read_bytes()))
    blocks = re.findall(r"```text\n(.*?)```", (REPOSITORY / "docs" / "join.md").read_text(), re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        assert block.strip() in printed


def test_the_results_that_are_shown_are_of_full_size() -> None:
    found = orjson.loads(RESULTS.read_bytes())
    assert (found["scale"], max(row["size"] for row in found["cases"])) == (1.0, 10_000_000)
