"""R4 end to end: every window is evaluated twice, over cells that are kept until then, and replayed as it was lived."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from schemas.outbox import payload
from streams.engine.evaluator import PERFORMANCE_RESULTS, Evaluator
from streams.engine.store import PERFORMANCE
from streams.hosting.readers import DROP_AFTER_S
from streams.logfile import Record
from streams.replay import Replay, window_records
from tests.property import story
from tests.property.test_replay import Live

if TYPE_CHECKING:
    from pathlib import Path

LATE = 45 * story.SECOND
"""After maturity (20 s after a window of 10 s), before the horizon (60 s)."""


def late_errors(seed: int, n: int = 3000) -> dict[tuple[str, int], list[Record]]:
    """The story without its own errors to come; each third label is late, and from the second half on wrong."""
    inputs = story.records(seed, n)
    for p in range(story.PARTITIONS):
        told: list[tuple[int, dict[str, Any]]] = []
        for record in inputs["labels", p]:
            said, at = json.loads(record.value or b""), record.timestamp
            k = int(said["prediction_id"][1:])
            if k % 3 == 0:
                at = max(at, story.BEGIN + k * story.STEP + LATE)
                if k > n // 2:
                    said["label"] = "no" if said["label"] == "yes" else "yes"
            told.append((at, said))
        told.sort(key=lambda row: row[0])
        inputs["labels", p] = [
            Record("labels", p, i, at, value=json.dumps(said).encode()) for i, (at, said) in enumerate(told)
        ]
    return inputs


def evaluator(live: Live, name: str = "loans") -> Evaluator:
    return next(e.evaluator for e in live.host.evaluators.values() if e.evaluator.model.name == name)


@pytest.mark.parametrize("seed", [1, 4])
def test_every_window_gets_its_second_evaluation_and_a_replay_repeats_it(seed: int, tmp_path: Path) -> None:
    live = Live(story.config(tmp_path), late_errors(seed), seed)
    live.answers = False
    live.run()
    replay = Replay(live.config, live.log())
    replay.run()
    assert live.crashes > 0
    assert list(window_records(live.store, live.host)) == list(replay.windows())
    assert live.events() == {e.event_id: payload(e.value) for e in replay.events}

    records: list[Any] = list(window_records(live.store, live.host))
    of_drift = {_place(r): r["rows"] for r in records if r["kind"] == "drift" and r["model"] != "customers"}
    performance = {_place(r): r for r in records if r["kind"] == "performance"}
    assert of_drift == {place: r["remembered"] for place, r in performance.items()}
    assert [r["remembered"] for r in performance.values()] == [r["final"]["labels"] for r in performance.values()]
    early = sum(r["labels"] for r in performance.values()) / sum(r["remembered"] for r in performance.values())
    assert 0.5 < early < 0.7  # two of three, but for those that come a little after maturity by themselves
    assert {1.0} == {r["final"]["coverage"] for r in performance.values()}

    alerts = [json.loads(value) for value in live.events().values()]
    of_horizon = [a for a in alerts if a["data"].get("evidence", {}).get("revision") == 2]
    assert any(".opened." in a["type"] for a in of_horizon)
    assert all(a["data"]["evidence"]["coverage"] == 1.0 for a in of_horizon)


def _place(record: dict[str, Any]) -> tuple[object, ...]:
    return record["model"], record["version"], record["variant"], *record["window"]


def test_cells_are_kept_until_their_second_evaluation_and_dropped_after_it(tmp_path: Path) -> None:
    live = Live(story.config(tmp_path), late_errors(2), 2)
    live.run()
    mine = evaluator(live)
    final, window = mine.head.cursors.final, mine.model.window
    assert mine.head.cursors.performance == final  # the silence at the end was longer than the horizon
    evaluated = live.store.starts(mine.shard, PERFORMANCE_RESULTS, "loans", 0, 1 << 62)
    assert evaluated[-1] + window == final
    for _ in range(2):  # what every reader has passed stays for a while, because a reader's shard may go back
        live.clock += DROP_AFTER_S
        live.host.tick()
    for owned in live.host.tasks.values():
        if len(owned.task.topics) > 1:
            live.host.commit(owned)
            assert [s for s in live.store.starts(owned.shard.name, PERFORMANCE, "loans", 0, 1 << 62) if s < final] == []


def test_results_of_performance_are_kept_from_their_second_evaluation_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.engine.evaluator.KEPT_WINDOWS", 2)
    live = Live(story.config(tmp_path), late_errors(3, 1500), 3)
    live.run()
    records: list[Any] = list(window_records(live.store, live.host))
    kept = [r for r in records if r["kind"] == "performance" and r["model"] == "loans"]
    assert kept
    assert all("final" in r for r in kept)
    last = evaluator(live).head.cursors.final
    assert {r["window"][1] for r in kept} <= set(range(last - 20 * story.SECOND, last + 1, 10 * story.SECOND))
