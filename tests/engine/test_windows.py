"""Windows are final: made of the closed panes of all tasks, in order, once all of them have passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from schemas.errors import StateMismatch, StateMissing
from schemas.identifiers import StreamKey
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine import cells, snapshot
from streams.engine.evaluator import frontier
from streams.engine.kernels.clock import NEVER
from streams.engine.records import batch_of
from streams.engine.snapshot import Entry
from streams.engine.store import FEATURES, Commit
from streams.engine.task_head import Progress
from streams.engine.windows import MAX_WINDOWS, closed_windows
from streams.host import Host
from streams.references import ReferenceBook, plans
from tests.property import story

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = ["{task:0}", "{task:1}"]


def stored(panes: dict[tuple[int, int], dict[str, list[int]]], shape: str = "s") -> MemoryStore:
    """A store with (task, start) -> version -> vector."""
    store = MemoryStore()
    for task, shard in enumerate(SHARDS):
        store.claim(shard, "t")
        put = [
            (
                (FEATURES, "m", at),
                cells.encode(
                    [Entry(v, "c", shape, snapshot.pack_vector(np.array(x, np.int64))) for v, x in streams.items()]
                ),
            )
            for (owner, at), streams in panes.items()
            if owner == task
        ]
        store.commit(Commit(shard, "t", 0, "id", b"", b"", put=put))
    return store


def test_panes_of_all_tasks_add_up_and_keep_their_offsets_by_task() -> None:
    store = stored(
        {
            (0, 100): {"v1": [2, 5, 9, 1, 1]},
            (0, 110): {"v1": [1, 11, 11, 0, 1], "v2": [1, 3, 3, 1, 0]},
            (1, 110): {"v1": [4, 1, 7, 4, 0]},
            (1, 120): {"v1": [9, 8, 8, 9, 9]},
        }
    )
    [window] = closed_windows(store, SHARDS, FEATURES, "m", 100, 120, 20)
    assert (window.start, window.end) == (100, 120)
    found = {stream: (shape, vector.tolist()) for stream, (shape, vector) in window.streams.items()}
    assert {
        StreamKey("m", "v1", "c"): ("s", [7, 1, 11, 5, 2]),
        StreamKey("m", "v2", "c"): ("s", [1, 3, 3, 1, 0]),
    } == found
    assert window.offsets == {0: (3, 11), 1: (1, 7)}


def test_empty_windows_are_passed_over_and_a_window_that_is_not_over_is_not_read() -> None:
    store = stored({(0, at): {"v1": [1, 0, 0, 1]} for at in (0, 30, 90, 110)})
    starts = [w.start for w in closed_windows(store, SHARDS, FEATURES, "m", 0, 119, 20)]
    assert starts == [0, 20, 80]
    assert [w.start for w in closed_windows(store, SHARDS, FEATURES, "m", 40, 120, 20)] == [80, 100]


def test_a_backlog_is_read_in_portions() -> None:
    store = stored({(0, at): {"v1": [1, 0, 0, 1]} for at in range(100)})
    assert list(range(MAX_WINDOWS)) == [w.start for w in closed_windows(store, SHARDS, FEATURES, "m", 0, 100, 1)]


def test_a_pane_that_is_listed_and_gone_is_missing_state() -> None:
    class Forgetful(MemoryStore):
        def cells(self, wanted: object) -> list[bytes | None]:
            del wanted
            return [None]

    store = Forgetful()
    store.claim(SHARDS[0], "t")
    store.commit(Commit(SHARDS[0], "t", 0, "id", b"", b"", put=[((FEATURES, "m", 0), b"x")]))
    with pytest.raises(StateMissing, match="at 0"):
        list(closed_windows(store, SHARDS, FEATURES, "m", 0, 10, 10))


def test_one_version_counted_with_two_references_is_a_mismatch() -> None:
    store = stored({(0, 0): {"v1": [1, 0, 0, 1]}})
    other = cells.encode([Entry("v1", "c", "another", snapshot.pack_vector(np.zeros(4, np.int64)))])
    store.commit(Commit(SHARDS[1], "t", 1, "next", b"", b"", put=[((FEATURES, "m", 0), other)]))
    with pytest.raises(StateMismatch, match="v1"):
        list(closed_windows(store, SHARDS, FEATURES, "m", 0, 10, 10))


def test_the_frontier_is_the_least_of_all_tasks_and_unknown_while_one_does_not_know_the_model() -> None:
    first, second = Progress({"m": (100, 90, 10)}), Progress({"m": (80, 95, -NEVER)})
    found = frontier("m", [first, second])
    assert found is not None
    assert (found.watermark, found.labels, found.first) == (80, 80, 10)
    assert frontier("m", [first, None]) is None
    assert frontier("m", [first, Progress({})]) is None
    assert frontier("m", [second, second]) is None  # it runs everywhere, and nobody has counted anything yet
    late = frontier("m", [first, Progress({"m": (80, NEVER, 20)})])
    assert late is not None
    assert late.labels == NEVER


@pytest.mark.parametrize("topic_of_time", ["predictions", "labels"])
def test_a_partition_that_never_saw_the_model_holds_every_window_back_until_its_clock_runs(
    tmp_path: Path, topic_of_time: str
) -> None:
    config, store = story.config(tmp_path), MemoryStore()
    now = [0.0]
    book = ReferenceBook(config, store)
    groups = {"predictions": 2, "features": 2}
    outside = (store, MemoryPublisher(), MemoryJournal(), book)
    host = Host(config, plans(config), groups, *outside, lambda: now[0], lambda: "")
    for partition in range(2):
        host.claim([("predictions", partition)])
    inputs = story.records(1, 900)

    def settle() -> int:
        now[0] += 1
        while host.tick():
            now[0] += 1
        return sum(owned.evaluator.head.windows for owned in host.evaluators.values())

    for topic in ("predictions", "labels"):
        host.take(batch_of(topic, [(0, r.offset, r.timestamp, r.value) for r in inputs[topic, 0]]))
    assert settle() == 0
    last = inputs["predictions", 0][-1].timestamp
    assert host.silent("predictions", 1, topic_of_time, last + 60 * story.SECOND)
    assert (settle() > 0) == (topic_of_time == "predictions")
