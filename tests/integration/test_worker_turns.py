"""The worker's loop, turn by turn, with everything outside it in memory: what must not be counted, fetched, or kept."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError

from schemas.errors import (
    AheadOfLogEnd,
    BehindLogStart,
    ConnectionProblem,
    PartitionCountChanged,
    StoreRestarted,
    TopicMissing,
)
from schemas.journal import ClockEntry
from streams import worker as module
from streams.edges import heap
from streams.edges.kafka_log import KafkaLog, raise_for
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.fence import Pending, Position
from streams.engine.records import RecordBatch, batch_of
from streams.worker import Worker
from tests.property import story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Place = tuple[str, int]


class Log:
    """The input topics and one consumer of them, as far as a worker knows ``KafkaLog``."""

    # ruff: noqa: D102  # the methods are KafkaLog's

    def __init__(self, claimed: Callable[..., Any], revoked: Callable[..., Any], lost: Callable[..., Any]) -> None:
        self.claimed, self.revoked, self.lost = claimed, revoked, lost
        self.records = {
            (topic, p): [(p, r.offset, r.timestamp, r.value) for r in rows]
            for (topic, p), rows in story.records(0, 60).items()
            if topic != "features"
        }
        self.ends = {place: len(rows) for place, rows in self.records.items()}
        self.given: list[Place] = []
        self.positions: dict[Place, int] = {}
        self.held: set[Place] = set()
        self.paused = False
        self.away = 0
        self.most = 10
        self.begins = dict.fromkeys(self.records, 0)

    def poll(self, _most: int, _timeout_s: float) -> list[RecordBatch]:
        if waiting := [p for p in self.given if p not in self.positions]:
            self.assign_again(self.claimed(waiting))
        found = []
        for place, at in self.positions.items():
            if not self.paused and place not in self.held:
                rows = self.records[place][at : min(at + self.most, self.ends[place])]
                self.positions[place] += len(rows)
                found += [batch_of(place[0], rows)] if rows else []
        return found

    def assign_again(self, starts: dict[Place, int]) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionProblem("Kafka did not say where the partition begins", "wait")
        self.positions.update(starts)

    def bounds(self, topic: str, partition: int, _timeout_s: float = 0.0) -> tuple[int, int]:
        return self.begins[topic, partition], len(self.records[topic, partition])

    def verify(self, topic: str, partition: int, offset: int) -> int:
        # The real one, over what is told here.
        return KafkaLog.verify(self, topic, partition, offset)  # type: ignore[arg-type]

    def position(self, topic: str, partition: int) -> int:
        return self.positions.get((topic, partition), -1)

    def cached_end(self, topic: str, partition: int) -> int:
        return self.bounds(topic, partition)[1]

    def hold(self, places: set[Place]) -> None:
        self.held = places

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def commit(self, offsets: dict[Place, int]) -> None:
        pass


class Store(MemoryStore):
    """A store that may have been restarted, or be told to evict."""

    def __init__(self) -> None:
        super().__init__()
        self.restarted = self.evicts = False

    def check(self) -> None:
        if self.evicts:
            raise ConnectionProblem("maxmemory-policy allkeys-lru", "set noeviction")

    def progress(self, shards: Iterable[str]) -> list[bytes | None]:  # asked at every turn
        if self.restarted:
            raise StoreRestarted("Redis was restarted", "nothing")
        return super().progress(list(shards))

    def go_on(self) -> None:
        self.restarted = False


class Publisher(MemoryPublisher):
    """One whose client is asked for nothing here."""

    client, full = None, False


@pytest.fixture
def ids() -> dict[str, str]:
    """The ids that the cluster tells of topics."""
    return {}


@pytest.fixture
def counts() -> Counter[str]:
    """How many partitions the topics have; a topic that is not in here is missing."""
    return Counter()


def tell(counts: Counter[str], topics: Iterable[str]) -> dict[str, int]:
    """The numbers of partitions, as ``partition_counts`` tells them of a cluster that has these topics."""
    topics = list(topics)
    for topic in topics:
        if topic not in counts:
            raise_for(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), topic)
    return {topic: counts[topic] for topic in topics}


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: dict[str, str], counts: Counter[str]) -> Worker:
    """A worker that has all partitions of the story's predictions and labels; it never sleeps."""
    config = story.config(tmp_path).model_copy(update={"feature_sets": {}, "commit_interval": 1})
    counts.update(dict.fromkeys(("predictions", "labels", config.topics.journal), story.PARTITIONS))
    outside = {
        "RedisStore": lambda _: Store(),
        "KafkaPublisher": lambda *_: Publisher(),
        "KafkaJournal": lambda *_: MemoryJournal(),
        "KafkaLog": lambda _k, _g, _t, claimed, revoked, lost, _together: Log(claimed, revoked, lost),
        "ControlLog": lambda *_: None,
        "check_topics": lambda *_: counts,
        "partition_counts": lambda _, topics: tell(counts, topics),
        "topic_ids": lambda *_: dict(ids),
        "admin_client": lambda _: None,
        "RETRY_S": 0.0,
    }
    for name, twin in outside.items():
        monkeypatch.setattr(module, name, twin)
    made = Worker(config)
    log_of(made).given = [(t, p) for t in ("predictions", "labels") for p in range(story.PARTITIONS)]
    return made


def log_of(worker: Worker) -> Log:
    """The worker's log, as what it is here."""
    found: Any = worker.log
    assert isinstance(found, Log)
    return found


def store_of(worker: Worker) -> Store:
    """The worker's store, as what it is here."""
    found: Any = worker.store
    assert isinstance(found, Store)
    return found


def play(worker: Worker, turns: int) -> None:
    """So many turns; time passes between them."""
    for _ in range(turns):
        worker.step()
        time.sleep(0.002)


def counted(worker: Worker) -> dict[Place, int]:
    """How many records of each partition have an outcome or wait for one."""
    found: dict[Place, int] = {}
    for (_, p), owned in worker.host.tasks.items():
        outcomes = owned.task.outcomes()
        found["predictions", p] = sum(outcomes["predictions"].values())
        found["labels", p] = sum(outcomes["labels"].values()) + owned.task.join.waiting
    return found


def test_a_partition_whose_assignment_failed_after_its_claim_is_claimed_again_and_no_record_is_passed_over(
    worker: Worker,
) -> None:
    play(worker, 3)
    log = log_of(worker)
    store_of(worker).restarted = True
    log.away = 3
    play(worker, 1)
    assert worker.host.tasks == {}
    play(worker, 3)  # each of them claims, and cannot assign
    assert (log.away, worker.host.tasks) == (0, {})
    play(worker, 20)
    assert counted(worker) == {place: len(rows) for place, rows in log.records.items()}


def test_a_task_without_state_begins_where_the_topic_does_and_one_with_state_misses_what_is_gone(
    worker: Worker,
) -> None:
    log = log_of(worker)
    log.begins["predictions", 0] = 5
    log.ends["labels", 0] = 0
    play(worker, 20)
    owned = worker.host.tasks["predictions", 0]
    assert owned.offsets == {"predictions": log.ends["predictions", 0], "labels": 0}
    assert counted(worker)["predictions", 0] == log.ends["predictions", 0] - 5
    log.begins["labels", 0] = 3  # labels came while nobody read, and retention took three of them
    store_of(worker).restarted = True
    with pytest.raises(BehindLogStart, match="labels/0: the state stands at offset 0, the topic begins at 3"):
        play(worker, 2)


def test_records_that_are_held_back_in_masses_are_not_fetched_until_they_are_let_in(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(worker, 1)
    log = log_of(worker)
    monkeypatch.setattr(module, "MAX_HELD", 15)
    owned = worker.host.tasks["predictions", 0]
    last = log.ends["labels", 0]
    entry = ClockEntry(topic="predictions", time_ms=story.BEGIN, offsets={"labels": last})
    owned.shard.pending.append(Pending(Position(0, 1), [entry]))  # nothing of the predictions before all labels
    log.most, held = 8, list[bool]()
    while log.positions["labels", 0] < last:
        play(worker, 1)
        held.append(("predictions", 0) in log.held)
        assert sum(len(batch) for batch in owned.held) <= 15 + 8
    assert True in held
    play(worker, 20)
    assert log.held == set()
    assert counted(worker) == log.ends


def test_records_that_are_held_back_are_lag_although_the_consumer_has_passed_them(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAG_EVERY_S", 0.0)
    play(worker, 1)
    log, place = log_of(worker), ("predictions", 0)
    owned = worker.host.tasks[place]
    end, last = log.ends[place], log.ends["labels", 0]
    entry = ClockEntry(topic="predictions", time_ms=story.BEGIN, offsets={"labels": last})
    owned.shard.pending.append(Pending(Position(0, 1), [entry]))  # nothing of the predictions before all labels
    log.ends["labels", 0] = log.positions["labels", 0]  # and no label comes
    play(worker, 20)
    waiting = sum(len(batch) for batch in owned.held)
    assert waiting > 0
    assert (log.position(*place), owned.offsets["predictions"]) == (end, end - waiting)
    assert worker.status.lag[place] == waiting
    log.ends["labels", 0] = last
    play(worker, 20)
    assert (owned.held, worker.status.lag[place]) == ([], 0)


def test_a_partition_with_lag_that_does_not_move_is_reported_and_no_longer_when_it_does(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAG_EVERY_S", 0.0)
    play(worker, 10)
    stuck = ("predictions", 1)
    log = log_of(worker)
    log.ends[stuck] = log.positions[stuck]  # the broker says that there is more, and hands on none of it
    log.records[stuck] += [(p, o + 1_000, t, v) for (p, o, t, v) in log.records[stuck]]
    play(worker, 5)
    assert worker.status.unready == ""
    monkeypatch.setattr(module, "STALLED_S", 0.05)
    time.sleep(0.1)
    play(worker, 1)
    assert worker.status.stalled.keys() == {stuck}
    assert "predictions/1 for" in worker.status.unready
    log.ends[stuck] += 5
    play(worker, 1)
    assert (worker.status.stalled, worker.status.unready) == ({}, "")


def test_a_redis_that_begins_to_evict_is_waited_for_at_every_turn(worker: Worker) -> None:
    play(worker, 3)
    worker._next_topics = 0.0  # noqa: SLF001  # else it looks in half a minute
    store_of(worker).evicts = True
    for _ in range(3):
        play(worker, 1)
        assert "maxmemory-policy" in worker.status.unready
        assert log_of(worker).paused
    store_of(worker).evicts = False
    play(worker, 1)
    assert (worker.status.unready, log_of(worker).paused) == ("", False)


@pytest.mark.parametrize("topic", ["predictions", "journal"])
def test_a_topic_that_was_made_anew_ends_the_worker_at_its_next_look(
    worker: Worker, ids: dict[str, str], topic: str
) -> None:
    name = worker.config.topics.model_dump()[topic]
    for told in ({}, {name: "first"}, {}, {name: "first"}):  # a cluster that elects its controller tells no ids
        ids.clear()
        ids.update(told)
        worker._next_topics = 0.0  # noqa: SLF001  # else it looks in half a minute
        play(worker, 1)
    ids[name] = "second"
    worker._next_topics = 0.0  # noqa: SLF001  # as above
    with pytest.raises(AheadOfLogEnd, match=f"topic {name} was made anew"):
        play(worker, 1)


def test_a_journal_with_other_partitions_ends_the_worker(worker: Worker, counts: Counter[str]) -> None:
    counts[worker.config.topics.journal] += 1
    worker._next_topics = 0.0  # noqa: SLF001  # else it looks in half a minute
    with pytest.raises(PartitionCountChanged, match="the journal, has"):
        play(worker, 1)


def test_a_worker_gives_memory_back_now_and_then(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[int] = []
    monkeypatch.setattr(heap, "trim", lambda: trims.append(1))
    play(worker, 3)
    assert not trims  # half a minute is not over
    worker._next_topics = 0.0  # noqa: SLF001  # else it looks in half a minute
    play(worker, 3)
    assert len(trims) == 1


def test_a_topic_that_is_missing_once_is_asked_for_again_and_one_missing_twice_in_a_row_ends_the_worker(
    worker: Worker, counts: Counter[str]
) -> None:
    def look() -> None:
        worker._next_topics = 0.0  # noqa: SLF001  # else it looks in half a minute
        play(worker, 1)

    for _ in range(2):  # a miss counts no more once the topic was seen again
        partitions = counts.pop("labels")
        look()
        assert (worker.status.unready, log_of(worker).paused) == ("", False)
        counts["labels"] = partitions
        look()
    del counts["labels"]
    look()
    with pytest.raises(TopicMissing, match=r"topic 'labels' does not exist.*driftline topics create"):
        look()


def test_what_the_state_was_made_for_is_pinned_again_where_a_store_has_lost_it(worker: Worker) -> None:
    play(worker, 2)
    store, group = store_of(worker), worker.host.state_group("predictions")
    store.unpin(group)
    worker._distrust()  # noqa: SLF001  # as after a restart of Redis
    play(worker, 1)
    assert store.pinned_partitions(group) == story.PARTITIONS


def test_entries_that_wait_for_records_which_no_topic_has_end_the_worker(worker: Worker) -> None:
    play(worker, 2)
    owned = worker.host.tasks["predictions", 0]
    end = log_of(worker).ends["predictions", 0]
    for offset in (end, end + 1):
        owned.shard.note(ClockEntry(topic="predictions", time_ms=1, offsets={"predictions": offset, "labels": 0}))
    owned.shard.write()
    worker._distrust()  # noqa: SLF001  # as after a restart of Redis
    with pytest.raises(AheadOfLogEnd, match=f"speaks of offset {end + 1}, the topic ends at {end}"):
        play(worker, 1)


def test_what_was_revoked_and_did_not_come_back_is_let_go_after_a_while(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAG_EVERY_S", 0.0)
    play(worker, 2)
    log = log_of(worker)
    gone = [place for place in log.given if place[1] == 0]
    log.given = [place for place in log.given if place[1] != 0]
    log.positions = {place: at for place, at in log.positions.items() if place[1] != 0}
    log.revoked(gone)
    kept = worker.host._takeover._kept  # noqa: SLF001  # nobody else sees it
    play(worker, 2)
    assert kept
    monkeypatch.setattr(module, "KEPT_S", 0.0)
    play(worker, 1)
    assert not kept
    assert set(itertools.chain(worker.host.tasks)) == {("predictions", p) for p in range(1, story.PARTITIONS)}
