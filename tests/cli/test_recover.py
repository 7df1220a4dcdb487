"""`driftline recover`: going on where state or records are gone, by decision only. On twins in memory, then on real servers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas import journal as journals
from schemas.config import Config, load
from schemas.errors import ConfigError, ConnectionProblem, DriftlineError, PartitionCountChanged, StateMissing
from schemas.identifiers import model_tag, task_tag
from schemas.journal import Claim, ClockEntry, Entries, Rebuild, Record, SkipEntry
from schemas.outbox import payload
from streams import logfile
from streams.digest import digest
from streams.edges import kafka_recovery
from streams.edges.embedded import EmbeddedKafka
from streams.edges.kafka_log import KafkaLog
from streams.edges.kafka_recovery import KafkaTopics
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine import fence
from streams.engine.records import batch_of
from streams.engine.shard import PROVEN_S
from streams.host import Host
from streams.recovery import at_work, plan_rebuild, plan_skip, rebuild, skip
from streams.references import ReferenceBook, plans
from streams.replay import Replay
from streams.stored import read_state
from streams.worker import Worker
from tests.cli import story
from tests.cli.conftest import Driftline

PARTITIONS = 2
GROUP = "driftline.predictions"
OWNER = "somebody"
NOWHERE = "127.0.0.1:1"
Row = tuple[int, int, int, bytes]


def rows_of(events: Sequence[dict[str, object]]) -> list[Row]:
    """Events as records of two partitions: (partition, offset, record time, value)."""
    found = [(i % 2, i // 2, int(str(e["event_time"])), orjson.dumps(e)) for i, e in enumerate(events)]
    return sorted(found)


@dataclass
class Log:
    """The input topics; ``begins`` is where retention has cut each partition off."""

    rows: dict[str, list[Row]]
    begins: dict[tuple[str, int], int] = field(default_factory=dict)
    identity: dict[str, str] = field(default_factory=lambda: {"predictions": "first", "labels": "first"})
    workers: int = 0
    forgotten: list[str] = field(default_factory=list)

    def counts(self, topics: Sequence[str]) -> Mapping[str, int]:
        """As Kafka tells."""
        return {t: 1 if t == "driftline.journal" else PARTITIONS for t in topics}

    def ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """As Kafka tells."""
        return {t: self.identity[t] for t in topics if t in self.identity}

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """As Kafka tells."""
        ends = [o + 1 for p, o, _, _ in self.rows.get(topic, []) if p == partition]
        begins = self.begins.get((topic, partition), 0)
        return begins, max([begins, *ends])

    def verify(self, topic: str, partition: int, offset: int) -> int:
        """As a worker's log does."""
        log: Any = self
        return KafkaLog.verify(log, topic, partition, offset)

    def members(self, group: str) -> int:
        """As Kafka tells."""
        assert group == "driftline"
        return self.workers

    def forget(self, group: str) -> bool:
        """As Kafka does."""
        self.forgotten.append(group)
        return True

    def still(self, topic: str, partition: int) -> list[Row]:
        """What a partition has."""
        begins = self.begins.get((topic, partition), 0)
        return [r for r in self.rows[topic] if r[0] == partition and r[1] >= begins]


@dataclass
class Deployment:
    """A worker's surroundings in memory; ``reads``: by topic and partition, the offset that its consumer reads next."""

    config: Config
    log: Log
    store: MemoryStore = field(default_factory=MemoryStore)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    reads: dict[tuple[str, int], int] = field(default_factory=dict)

    def worker(self) -> Host:
        """A host that owns everything, as a worker claims it and begins; it has read nothing."""
        self.refuse_other_topics()
        outside = (self.store, self.publisher, self.journal, ReferenceBook(self.config, self.store))
        host = Host(self.config, plans(self.config), {"predictions": PARTITIONS}, *outside, lambda: 0.0, lambda: "")
        worker = Worker.__new__(Worker)  # of which only how it begins matters here
        vars(worker).update(host=host, log=self.log, _ends={}, _last_record={})
        for partition in range(PARTITIONS):
            (owned,) = host.claim([("predictions", partition)])
            self.reads |= worker._begin(owned)  # noqa: SLF001
        return host

    def refuse_other_topics(self) -> None:
        """As a worker does when it starts."""
        for topic, found in self.log.identity.items():
            assert self.store.pin(GROUP, f"topic {topic}", found) == found, "the worker would refuse"

    def read(self, host: Host, until: int = 1 << 60, at_once: int = 100) -> None:
        """Let the host read every partition up to an offset, in turns and never back, and commit."""
        for first in range(0, min(until, 2_000), at_once):
            end = min(first + at_once, until)
            for topic in ("predictions", "labels"):
                for partition in range(PARTITIONS):
                    at = self.reads[topic, partition]
                    if some := [r for r in self.log.still(topic, partition) if at <= r[1] < end]:
                        host.take(batch_of(topic, some))
                        self.reads[topic, partition] = some[-1][1] + 1
            self.settle(host)

    def settle(self, host: Host) -> None:
        """Commit what was read, and decide what can be decided."""
        for owned in host.tasks.values():
            owned.shard.write()
            if owned.dirty:
                host.commit(owned)
        while host.evaluate("predictions"):
            pass

    def written(self) -> list[tuple[int, Record]]:
        """The journal, by offset."""
        return list(enumerate(self.journal.records))

    def rebuild(self) -> None:
        """Plan a rebuild and do it."""
        plan = plan_rebuild(self.config, self.store, self.log, self.written())
        rebuild(self.config, self.store, self.log, self.journal, plan)

    def skip(self) -> list[tuple[str, int, int, int, str]]:
        """Plan a skip and do it; returns topic, partition, from, to and why."""
        plan = plan_skip(self.config, self.store, self.log)
        skip(self.config, self.store, self.journal, plan)
        return [(s.topic, s.partition, s.stands, s.offset, s.why) for s in plan.skips]

    def events(self) -> dict[str, bytes]:
        """Payloads by id; one id has one payload (P3)."""
        found: dict[str, bytes] = {}
        outputs = {self.config.topics.alerts, self.config.topics.retrain}
        for event in (e for e in self.publisher.events if e.topic in outputs):
            said = payload(event.value)
            assert found.setdefault(event.event_id, said) == said, "two payloads under one id"
        return found

    def dumped(self) -> list[logfile.Record]:
        """What a dump has of inputs and journal now."""
        found = [
            logfile.Record(topic, p, o, t, None, v)
            for topic in self.log.rows
            for partition in range(PARTITIONS)
            for p, o, t, v in self.log.still(topic, partition)
        ]
        values = [msgspec.json.encode(r, order="deterministic") for r in self.journal.records]
        return found + [logfile.Record(self.config.topics.journal, 0, i, 0, None, v) for i, v in enumerate(values)]

    def digest(self) -> str:
        """Everything that is stored."""
        return digest(self.store, read_state(self.config, self.store))


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """The story of the command line with a change halfway, so that alerts open; nothing is read yet."""
    model = {
        "alerts": {"false_alarms": "1 per 1h", "confirm": "1 of 1"},
        "retrain": {"min_labels": 500, "approval": "none"},
    }
    setting = story.Setting(model=model)
    config = load(story.write_config(tmp_path, setting))
    n = 4_000
    sent = story.predictions(n // 2) + story.predictions(n, shift=3.0)[n // 2 :]
    known = story.labels(n // 2) + story.labels(n, shift=3.0)[n // 2 :]
    return Deployment(config, Log({"predictions": rows_of(sent), "labels": rows_of(known)}))


def silence(deployment: Deployment, host: Host) -> None:
    """Let both partitions fall silent for long, which the journal remembers."""
    last = story.BEGIN + 4_000 * story.STEP
    for minutes in (30, 60, 90):
        for partition in range(PARTITIONS):
            for topic in ("predictions", "labels"):
                host.silent("predictions", partition, topic, last + minutes * story.MINUTE)
        deployment.settle(host)


def total(host: Host, topic: str) -> int:
    """The records of a topic that have an outcome or wait."""
    tasks = [o.task for o in host.tasks.values()]
    waiting = sum(t.join.waiting for t in tasks) if topic == "labels" else 0
    return sum(sum(t.outcomes()[topic].values()) for t in tasks) + waiting


# -- rebuild ----------------------------------------------------------------------------------------------------------


def proven(host: Host) -> None:
    """Let the first commits be long ago."""
    for shard in (*(o.shard for o in host.tasks.values()), *(e.shard for e in host.evaluators.values())):
        shard.prove(0.0)
        shard.prove(PROVEN_S)


def test_a_rebuild_counts_everything_again_and_every_alert_gets_its_old_id(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host)
    proven(host)
    silence(deployment, host)
    before, events = deployment.digest(), deployment.events()
    assert len(events) >= 2
    deployment.store = MemoryStore()  # all of it is gone
    deployment.publisher = MemoryPublisher()
    with pytest.raises(StateMissing, match="driftline recover --rebuild"):
        deployment.worker()

    deployment.rebuild()
    host = deployment.worker()
    deployment.read(host, at_once=70)

    assert deployment.digest() == before
    assert deployment.events() == events
    assert deployment.log.forgotten == ["driftline"]


class Away(MemoryJournal):
    """Only the records of one shard reach the topic before Kafka goes away."""

    def __init__(self, topic: list[Record], shard: str) -> None:
        """``topic``: what the others read."""
        super().__init__()
        self.records, self.shard = topic, shard

    def write(self, record: Record, done: Callable[[int], None]) -> None:
        """As the protocol says."""
        if record.shard == self.shard:
            super().write(record, done)

    def settled(self) -> bool:
        """Never."""
        raise ConfigError("Kafka went away", "")


def break_off(deployment: Deployment, shard: str = "") -> None:
    """Begin a rebuild, of whose records only those of one shard reach the journal."""
    plan = plan_rebuild(deployment.config, deployment.store, deployment.log, deployment.written())
    away = Away(deployment.journal.records, shard)
    with pytest.raises(ConfigError):
        rebuild(deployment.config, deployment.store, deployment.log, away, plan)


def test_a_rebuild_that_was_broken_off_starts_nothing_on_empty_state(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=500)
    proven(host)

    break_off(deployment)

    with pytest.raises(StateMissing):
        deployment.worker()
    deployment.rebuild()
    deployment.read(deployment.worker(), until=500)


def test_a_rebuild_forgets_models_that_are_no_longer_configured_and_no_other_group(deployment: Deployment) -> None:
    deployment.read(deployment.worker(), until=200)
    parked, other = model_tag("driftline", "parked"), task_tag("another.predictions", 0)
    for name in (parked, other):
        deployment.store.claim(name, "somebody")
    deployment.journal.records.append(Claim(shard=model_tag("driftline", "gone"), token=OWNER, epoch=1, sequence=3))

    plan = plan_rebuild(deployment.config, deployment.store, deployment.log, deployment.written())
    rebuild(deployment.config, deployment.store, deployment.log, deployment.journal, plan)

    tasks = {task_tag(GROUP, p) for p in range(PARTITIONS)}
    models = {model_tag("driftline", m) for m in ("loans", "parked", "gone")}
    assert set(plan.shards) == tasks | models
    assert {r.shard for r in deployment.journal.records if isinstance(r, Rebuild)} == tasks | models
    assert deployment.store.shards("{") == [other]


def test_a_rebuild_of_a_log_that_lost_its_beginning_says_so_and_waits_for_nothing_that_is_gone(
    deployment: Deployment,
) -> None:
    host = deployment.worker()
    deployment.read(host, until=300)
    silence(deployment, host)  # the journal now names offset 300
    deployment.read(host)
    cut = {("predictions", 0): 700, ("labels", 1): 2_000}
    deployment.log.begins = cut
    deployment.store = MemoryStore()

    plan = plan_rebuild(deployment.config, deployment.store, deployment.log, deployment.written())
    assert plan.loses
    assert {(r.topic, r.partition): r.begins for r in plan.gone} == cut
    assert plan.shards[task_tag(GROUP, 0)] >= 1
    deployment.rebuild()
    host = deployment.worker()
    deployment.read(host)

    assert not any(owned.held or owned.shard.pending for owned in host.tasks.values())
    assert (total(host, "predictions"), total(host, "labels")) == (4_000 - 700, 4_000 - 2_000)


def test_a_rebuild_on_topics_that_were_made_anew_does_not_obey_what_the_old_ones_meant(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host)
    silence(deployment, host)
    fresh = story.predictions(400)
    deployment.log.rows = {"predictions": rows_of(fresh), "labels": rows_of(story.labels(400))}
    deployment.store = MemoryStore()

    plan = plan_rebuild(deployment.config, deployment.store, deployment.log, deployment.written())
    assert "which ends at 200" in plan.anew
    assert plan.loses
    deployment.rebuild()
    host = deployment.worker()
    deployment.read(host)

    assert not any(owned.held or owned.shard.pending for owned in host.tasks.values())
    assert (total(host, "predictions"), total(host, "labels")) == (400, 400)


def test_a_rebuild_after_a_skip_begins_where_the_topics_begin_by_now(deployment: Deployment) -> None:
    deployment.read(deployment.worker(), until=600)
    deployment.log.begins = {(t, p): 900 for t in ("predictions", "labels") for p in range(PARTITIONS)}
    deployment.skip()
    deployment.read(deployment.worker(), until=1_500)
    deployment.log.begins = dict.fromkeys(deployment.log.begins, 1_200)
    deployment.store = MemoryStore()

    deployment.rebuild()
    host = deployment.worker()
    deployment.read(host)

    assert (total(host, "predictions"), total(host, "labels")) == (2 * 800, 2 * 800)


def cut_off(deployment: Deployment, partitions: int, most: int) -> None:
    """The topics are other ones: so many of their partitions end before what the journal names."""
    for topic, rows in deployment.log.rows.items():
        deployment.log.rows[topic] = [r for r in rows if r[0] >= partitions or r[1] < most]


def pending(host: Host) -> list[str]:
    """The shards that have entries of the journal to obey."""
    shards = [o.shard for o in host.tasks.values()] + [e.shard for e in host.evaluators.values()]
    return [shard.name for shard in shards if shard.pending]


@pytest.mark.parametrize("shard", [*(task_tag(GROUP, p) for p in range(PARTITIONS)), model_tag("driftline", "loans")])
def test_a_rebuild_on_other_topics_that_was_broken_off_obeys_nothing_old_when_it_is_done_again(
    deployment: Deployment, shard: str
) -> None:
    host = deployment.worker()
    deployment.read(host)
    silence(deployment, host)
    cut_off(deployment, 1, 100)  # of the other partition nothing shows that it is another one
    deployment.store = MemoryStore()

    break_off(deployment, shard)
    deployment.rebuild()

    assert {r.anew for r in deployment.journal.records if isinstance(r, Rebuild)} == {True}
    assert not pending(deployment.worker())


def test_an_entry_that_comes_late_behind_a_rebuild_on_other_topics_is_not_obeyed(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=300)
    silence(deployment, host)
    stand = len(deployment.journal.records)
    for partition in range(PARTITIONS):
        assert host.silent("predictions", partition, "predictions", story.BEGIN + 200 * story.MINUTE)
        host.tasks["predictions", partition].shard.write()
    late = deployment.journal.records[stand:]
    del deployment.journal.records[stand:]
    cut_off(deployment, PARTITIONS, 100)
    deployment.store = MemoryStore()

    deployment.rebuild()
    deployment.journal.records += late

    assert [r.shard for r in late] == [task_tag(GROUP, p) for p in range(PARTITIONS)]
    assert not pending(deployment.worker())


def test_a_store_that_went_back_before_a_rebuild_on_other_topics_is_not_gone_on_with(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=300)
    silence(deployment, host)
    before = deepcopy(deployment.store)
    cut_off(deployment, PARTITIONS, 100)

    deployment.rebuild()
    deployment.log.rows = {"predictions": rows_of(story.predictions(1_000)), "labels": rows_of(story.labels(1_000))}
    deployment.store = before  # by now the topics are long enough for it

    with pytest.raises(StateMissing, match="went back to before the last rebuild"):
        deployment.worker()


def test_a_rebuild_sees_that_topics_are_others_by_their_ids_though_it_was_broken_off(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=300)
    silence(deployment, host)
    deployment.log.identity = {"predictions": "second", "labels": "first"}
    deployment.log.rows["predictions"] = rows_of(story.predictions(1_000))  # longer than the journal speaks of

    break_off(deployment)
    plan = plan_rebuild(deployment.config, deployment.store, deployment.log, deployment.written())
    assert "another topic predictions" in plan.anew
    assert plan.loses
    assert not any(plan.shards.values())
    rebuild(deployment.config, deployment.store, deployment.log, deployment.journal, plan)

    assert not pending(deployment.worker())


# -- skip -------------------------------------------------------------------------------------------------------------


def test_a_skip_goes_on_with_the_first_record_that_is_left_and_a_replay_agrees(deployment: Deployment) -> None:
    deployment.read(deployment.worker(), until=600)
    early = deployment.dumped()
    deployment.log.begins = {("predictions", 0): 900, ("labels", 1): 601, ("predictions", 1): 400}

    assert deployment.skip() == [("predictions", 0, 600, 900, "behind"), ("labels", 1, 600, 601, "behind")]
    host = deployment.worker()
    deployment.read(host)

    assert (total(host, "predictions"), total(host, "labels")) == (4_000 - 300, 4_000 - 1)
    replay = Replay(deployment.config, [*early, *deployment.dumped()])
    replay.run()
    for key, owned in replay.host.tasks.items():
        assert owned.task.offsets == host.tasks[key].task.offsets
        assert owned.task.outcomes() == host.tasks[key].task.outcomes()
    assert digest(replay.store, replay.host) == deployment.digest()
    assert {e.event_id: payload(e.value) for e in replay.events} == deployment.events()


def test_a_replay_of_what_is_left_after_a_skip_ends_at_the_same_offsets(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=600)
    silence(deployment, host)
    deployment.log.begins = {(t, p): 900 for t in ("predictions", "labels") for p in range(PARTITIONS)}
    deployment.skip()
    host = deployment.worker()
    deployment.read(host)

    replay = Replay(deployment.config, deployment.dumped())
    replay.run()

    for key, owned in replay.host.tasks.items():
        assert owned.task.offsets == host.tasks[key].task.offsets
        assert not owned.held
        assert sum(owned.task.outcomes()["predictions"].values()) == 2_000 - 900


@pytest.mark.parametrize("cut", [650, 900])
def test_what_was_journaled_and_not_committed_before_a_skip_is_obeyed_in_its_place(
    deployment: Deployment, cut: int
) -> None:
    host = deployment.worker()
    deployment.read(host, until=600)
    for partition in range(PARTITIONS):  # read, silent, journaled; and the worker dies before it commits
        for topic in ("predictions", "labels"):
            some = [r for r in deployment.log.still(topic, partition) if 600 <= r[1] < 700]
            host.take(batch_of(topic, some))
        assert host.silent("predictions", partition, "predictions", story.BEGIN + 20 * story.MINUTE)
        host.tasks["predictions", partition].shard.write()
    deployment.log.begins = {("predictions", p): cut for p in range(PARTITIONS)}

    assert [(s[0], s[3]) for s in deployment.skip()] == [("predictions", cut)] * PARTITIONS
    host = deployment.worker()
    assert all(owned.shard.pending for owned in host.tasks.values())  # of the labels nothing is gone
    deployment.read(host, until=700)
    host = deployment.worker()
    deployment.read(host)

    assert not any(owned.held or owned.shard.pending for owned in host.tasks.values())
    assert (total(host, "predictions"), total(host, "labels")) == (4_000 - 2 * (cut - 600), 4_000)
    replay = Replay(deployment.config, deployment.dumped())
    replay.run()
    for key, owned in replay.host.tasks.items():
        assert owned.task.offsets == host.tasks[key].task.offsets


def test_topics_that_were_made_anew_are_counted_from_their_beginning(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=600)
    for partition in range(PARTITIONS):  # journaled and not committed, in the old topic
        host.take(batch_of("predictions", [r for r in deployment.log.still("predictions", partition) if r[1] == 600]))
        assert host.silent("predictions", partition, "predictions", story.BEGIN + 20 * story.MINUTE)
        host.tasks["predictions", partition].shard.write()
    deployment.log.identity = {"predictions": "second", "labels": "first"}
    deployment.log.rows["predictions"] = deployment.log.rows["predictions"][2_000:]  # of the second partition
    new = [
        (p, o, t, v)
        for p in range(PARTITIONS)
        for o, (_, _, t, v) in enumerate(rows_of(story.predictions(1_000))[:300])
    ]
    deployment.log.rows["predictions"] = new
    with pytest.raises(AssertionError, match="would refuse"):
        deployment.worker()

    assert deployment.skip() == [("predictions", p, 600, 0, "anew") for p in range(PARTITIONS)]
    counted = total_stored(deployment)
    host = deployment.worker()
    deployment.read(host)

    assert not any(owned.held or owned.shard.pending for owned in host.tasks.values())
    assert total(host, "predictions") == counted + 600
    assert {owned.task.offsets["predictions"] for owned in host.tasks.values()} == {300}
    assert deployment.skip() == []


def total_stored(deployment: Deployment) -> int:
    """The predictions that stand in the store as counted."""
    state = read_state(deployment.config, deployment.store)
    return sum(sum(s.task.outcomes()["predictions"].values()) for s in state.tasks.values())


def test_a_topic_that_was_cut_off_is_not_counted_twice(deployment: Deployment) -> None:
    deployment.read(deployment.worker(), until=600)
    whole = deployment.log.rows["labels"]
    deployment.log.rows["labels"] = [r for r in whole if r[1] < 550]

    assert deployment.skip() == [("labels", p, 600, 550, "ahead") for p in range(PARTITIONS)]
    deployment.log.rows["labels"] = [r for r in whole if r[1] < 580]
    host = deployment.worker()
    deployment.read(host)

    assert total(host, "labels") == 2 * (600 + 30)


def test_a_store_that_went_back_before_a_skip_back_is_read_from_where_that_goes_on(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=1_000)
    before = deepcopy(deployment.store)
    deployment.read(host, until=1_100)
    whole = deployment.log.rows["predictions"]
    deployment.log.rows["predictions"] = [r for r in whole if r[1] < 900]
    assert deployment.skip() == [("predictions", p, 1_100, 900, "ahead") for p in range(PARTITIONS)]
    deployment.log.rows["predictions"] = whole
    deployment.store = before

    host = deployment.worker()
    deployment.read(host)

    assert not any(owned.held for owned in host.tasks.values())
    assert (total(host, "predictions"), total(host, "labels")) == (2 * (1_000 + 1_100), 4_000)


def test_a_skip_can_be_repeated_and_changes_nothing_where_nothing_is_wrong(deployment: Deployment) -> None:
    deployment.read(deployment.worker(), until=600)
    assert deployment.skip() == []
    before = deployment.digest()
    deployment.log.begins = {("predictions", 0): 900}
    deployment.skip()
    assert deployment.skip() == []
    assert deployment.digest() == before


def test_a_skip_can_be_kept_to_a_topic_and_a_partition(deployment: Deployment) -> None:
    deployment.read(deployment.worker(), until=600)
    deployment.log.begins = {(t, p): 900 for t in ("predictions", "labels") for p in range(PARTITIONS)}

    def found(topic: str | None, partition: int | None) -> list[tuple[str, int]]:
        plan = plan_skip(deployment.config, deployment.store, deployment.log, topic, partition)
        return [(s.topic, s.partition) for s in plan.skips]

    assert found(None, None) == [("predictions", 0), ("predictions", 1), ("labels", 0), ("labels", 1)]
    assert found("labels", None) == [("labels", 0), ("labels", 1)]
    assert found("predictions", 1) == [("predictions", 1)]
    with pytest.raises(ConfigError, match=r"no input topic 'driftline\.alerts'"):
        found("driftline.alerts", None)
    with pytest.raises(ConfigError, match="no partition 2"):
        found(None, 2)


def test_a_skip_does_not_pass_over_another_number_of_partitions(deployment: Deployment) -> None:
    deployment.read(deployment.worker(), until=600)
    deployment.store.unpin(GROUP)
    deployment.store.pin_partitions(GROUP, 3)
    with pytest.raises(PartitionCountChanged):
        plan_skip(deployment.config, deployment.store, deployment.log)


# -- who works --------------------------------------------------------------------------------------------------------


def test_workers_are_seen_by_their_group_or_by_their_commits(deployment: Deployment) -> None:
    host = deployment.worker()
    deployment.read(host, until=100)
    asked: list[float] = []

    def working(seconds: float) -> None:
        asked.append(seconds)
        deployment.read(host, until=200)

    assert at_work(deployment.config, deployment.store, deployment.log, asked.append) == ""
    assert "shards were committed within 3 s" in at_work(deployment.config, deployment.store, deployment.log, working)
    deployment.log.workers = 2
    assert "2 workers are in the consumer group" in at_work(deployment.config, deployment.store, deployment.log)
    assert asked == [3.0, 3.0]


@pytest.mark.parametrize(
    ("there", "error", "said"),
    [
        (True, ConfigError, "this Kafka cannot tell which workers are in the group 'driftline'"),
        (False, ConnectionProblem, "Kafka did not answer"),
    ],
    ids=["unsupported", "away"],
)
def test_a_kafka_that_does_not_tell_who_works_is_not_taken_for_one_where_nobody_does(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, error: type[DriftlineError], said: str, *, there: bool
) -> None:
    monkeypatch.setattr(kafka_recovery, "REQUEST_S", 10.0 if there else 0.2)
    asked: list[float] = []
    # The embedded Kafka has no administrative side: it is one that cannot tell.
    with EmbeddedKafka() as kafka:
        bootstrap = kafka.bootstrap if there else NOWHERE
        with (
            contextlib.closing(KafkaTopics({"bootstrap.servers": bootstrap})) as topics,
            pytest.raises(error, match=said),
        ):
            at_work(deployment.config, deployment.store, topics, asked.append)
    assert asked == []  # commits that do not come prove nothing where members cannot be seen


def test_a_group_that_kafka_does_not_know_has_no_members_and_commits_are_still_looked_for(
    deployment: Deployment,
) -> None:
    host = deployment.worker()
    deployment.read(host, until=100)
    answer: Future[Any] = Future()
    answer.set_exception(KafkaException(KafkaError(KafkaError.GROUP_ID_NOT_FOUND)))
    with contextlib.closing(KafkaTopics({"bootstrap.servers": NOWHERE})) as topics:
        # As DescribeGroups answers from its version 6 on; the brokers of our tests tell of a dead group without members.
        topics._admin = SimpleNamespace(describe_consumer_groups=lambda names, **_: dict.fromkeys(names, answer))  # type: ignore[assignment]  # noqa: SLF001
        said = at_work(deployment.config, deployment.store, topics, lambda _: deployment.read(host, until=200))
        assert "shards were committed within 3 s" in said
        assert at_work(deployment.config, deployment.store, topics, lambda _: None) == ""


# -- the rule of the log ----------------------------------------------------------------------------------------------


def entries(number: int, *said: ClockEntry | SkipEntry) -> Entries:
    """A record of the first owner."""
    return Entries(shard="s", token=OWNER, epoch=1, number=number, entries=list(said))


def clock(predictions: int, labels: int) -> ClockEntry:
    """A clock entry at these offsets."""
    return ClockEntry(topic="p", time_ms=1, offsets={"p": predictions, "l": labels})


def places(records: Iterable[Record]) -> list[tuple[int, int]]:
    """The offsets that what counts names."""
    reading = fence.read(enumerate([Claim(shard="s", token=OWNER, epoch=1, sequence=0), *records]))
    named = [fence.offsets_of(entry) for pending in reading.pending for entry in pending.entries]
    return [(at["p"], at["l"]) for at in named]


def test_a_skip_back_caps_what_stands_before_it_and_nothing_behind_it() -> None:
    back = SkipEntry(topic="p", offset=10, offsets={"p": 50, "l": 7})
    records = [
        entries(0, clock(5, 1), clock(40, 6)),
        entries(1, clock(50, 7), back, clock(30, 8)),
        entries(2, clock(60, 9)),
    ]
    assert places(records) == [(5, 1), (10, 6), (10, 7), (10, 7), (30, 8), (60, 9)]


def test_a_skip_forward_caps_nothing() -> None:
    ahead = SkipEntry(topic="p", offset=90, offsets={"p": 50, "l": 7})
    assert places([entries(0, clock(5, 1)), entries(1, ahead)]) == [(5, 1), (50, 7)]


def test_a_rebuild_on_other_topics_voids_what_stands_before_it() -> None:
    before, late = entries(0, clock(5, 1)), entries(1, clock(7, 2))
    behind: list[Record] = [
        Claim(shard="s", token=f"{OWNER}2", epoch=3, sequence=0),
        Entries(shard="s", token=f"{OWNER}2", epoch=3, number=0, entries=[clock(9, 2)]),
    ]
    assert places([before, Rebuild(shard="s"), late, *behind]) == [(5, 1), (9, 2)]
    assert places([before, Rebuild(shard="s", anew=True), late, *behind]) == [(9, 2)]


def test_a_rebuild_of_an_older_journal_is_read_as_one_that_obeys_it() -> None:
    assert journals.decode(b'{"record":"rebuild","shard":"s"}') == Rebuild(shard="s", anew=False)


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "choose --rebuild or --skip-to earliest"),
        (("--rebuild", "--skip-to", "earliest"), "choose --rebuild or --skip-to earliest"),
        (("--rebuild", "--partition", "1"), "leave --topic and --partition out"),
    ],
)
def test_a_question_that_means_nothing_is_refused(
    driftline: Driftline, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    ran = driftline("recover", "--config", story.write_config(tmp_path), *options)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
