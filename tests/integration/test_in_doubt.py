"""P1, P2, P4 while the answer to a commit is out: nothing may slip in beside it, and no late commit may pass for a later one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.errors import ConnectionProblem
from schemas.identifiers import task_tag
from schemas.journal import ClockEntry
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.fence import Pending, Position
from streams.engine.records import RecordBatch, batch_of
from streams.engine.store import Commit, Verdict
from streams.host import Host
from streams.owned import OwnedTask
from streams.references import ReferenceBook, plans
from tests.property import story

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.config import Config

SHARD = task_tag("driftline.predictions", 0)


class Away(MemoryStore):
    """A store that keeps what it is sent, and does not answer while ``away``."""

    def __init__(self) -> None:
        """Here."""
        super().__init__()
        self.away = False
        self.unanswered: list[Commit] = []

    def commit(self, commit: Commit) -> Verdict:
        """The answer of the twin, or none."""
        if self.away:
            self.unanswered.append(commit)
            raise ConnectionProblem("the store is away", "wait")
        return super().commit(commit)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The story's configuration."""
    return story.config(tmp_path)


def host_of(config: Config, store: MemoryStore) -> tuple[Host, MemoryPublisher]:
    """A process that owns the predictions of the story; its clock stands still."""
    publisher = MemoryPublisher()
    groups = {"predictions": story.PARTITIONS, "features": story.PARTITIONS}
    book = ReferenceBook(config, store)
    host = Host(config, plans(config), groups, store, publisher, MemoryJournal(), book, lambda: 0.0, str)
    for partition in range(story.PARTITIONS):
        host.claim([("predictions", partition)])
    return host, publisher


def take(host: Host, first: int, last: int) -> None:
    """Records first..last-1 of the first partition of the predictions."""
    rows = [(0, r.offset, r.timestamp, r.value) for r in story.records(0, 60)["predictions", 0]]
    host.take(batch_of("predictions", rows[first:last]))


def test_a_commit_of_an_earlier_claim_that_arrives_late_changes_nothing_and_hides_no_later_one(config: Config) -> None:
    store = Away()
    host, _ = host_of(config, store)
    take(host, 0, 10)
    store.away = True
    with pytest.raises(ConnectionProblem):
        host.commit(host.tasks["predictions", 0])
    store.away = False
    host.release("predictions", 0, commit=False)
    host.claim([("predictions", 0)])

    [late] = store.unanswered
    assert store.commit(late) is Verdict.LOST
    take(host, 0, 20)
    host.commit(host.tasks["predictions", 0])
    host.release("predictions", 0, commit=False)
    assert host.claim([("predictions", 0)])[0].task.offsets["predictions"] == 20


def test_a_model_starts_in_a_task_only_after_the_commit_in_doubt_is_settled(config: Config) -> None:
    store = Away()
    host, publisher = host_of(config, store)
    owned = host.tasks["predictions", 1]
    owned.dirty = True
    store.away = True
    with pytest.raises(ConnectionProblem):
        host.commit(owned)
    store.declare_start(host.state_group("predictions"), "loans", story.BEGIN, story.BEGIN)
    host.declare_starts("predictions")
    assert owned.shard.journaled

    store.away = False
    host.commit(owned)
    assert publisher.events == []
    host.declare_starts("predictions")
    assert not owned.shard.journaled


def test_what_a_task_tells_the_outside_is_what_it_has_committed(config: Config) -> None:
    host, _ = host_of(config, MemoryStore())
    owned = host.tasks["predictions", 0]
    take(host, 0, 10)
    assert owned.offsets == {"predictions": 0, "labels": 0}
    assert sum(owned.ledger["predictions"].values()) == 0
    host.commit(owned)
    assert owned.offsets == {"predictions": 10, "labels": 0}
    assert sum(owned.ledger["predictions"].values()) == 10


def test_nothing_is_folded_beside_a_commit_in_doubt(config: Config) -> None:
    store = Away()
    host, _ = host_of(config, store)
    take(host, 0, 20)
    owned = host.tasks["predictions", 0]
    store.away = True
    with pytest.raises(ConnectionProblem):
        host.commit(owned)
    with pytest.raises(ConnectionProblem):
        take(host, 0, 40)  # the answer is still out
    assert owned.task.offsets["predictions"] == 20

    [late] = [store.unanswered[0]]
    assert MemoryStore.commit(store, late) is Verdict.DONE  # it had happened, and only the answer was lost
    store.away = False
    take(host, 0, 40)
    assert (owned.offsets["predictions"], owned.task.offsets["predictions"], owned.dirty) == (20, 40, True)
    host.commit(owned)
    host.release("predictions", 0, commit=False)
    host.forget()
    assert host.claim([("predictions", 0)])[0].task.outcomes() == owned.task.outcomes()


def test_records_that_an_entry_holds_back_are_not_lost_when_a_fold_fails(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = host_of(config, MemoryStore())
    owned = host.tasks["predictions", 0]
    found = {t: [(0, r.offset, r.timestamp, r.value) for r in story.records(0, 400)[t, 0]] for t in owned.task.topics}
    entry = ClockEntry(topic="labels", time_ms=0, offsets={"predictions": 50, "labels": 10})
    owned.shard.pending.append(Pending(Position(5, 1), [entry]))
    host.take(batch_of("labels", found["labels"][:40]))
    host.take(batch_of("labels", found["labels"][40:60]))
    assert sum(map(len, owned.held)) == 50

    intake = host._intake  # noqa: SLF001  # where a reference is looked up
    fold = intake._fold  # noqa: SLF001
    failed: list[RecordBatch] = []

    def failing(group: str, batch: RecordBatch, runs: list[tuple[OwnedTask, int, int]]) -> None:
        if batch.topic == "labels" and not failed:
            failed.append(batch)
            raise ConnectionProblem("the reference of a version cannot be read", "wait")
        fold(group, batch, runs)

    monkeypatch.setattr(intake, "_fold", failing)
    predictions = batch_of("predictions", found["predictions"][:60])
    with pytest.raises(ConnectionProblem):
        host.take(predictions)
    host.take(predictions)
    host.take(batch_of("labels", found["labels"][60:80]))
    counted = sum(owned.task.outcomes()["labels"].values()) + owned.task.join.waiting
    assert (owned.task.offsets["labels"], counted, owned.held) == (80, 80, [])
