"""What an adversary found: records, dumps, commands and stored state that once stopped a worker or lost something in silence."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import pytest
import redis
from confluent_kafka import KafkaError

from detectors.reference import Reference
from schemas.config import Config
from schemas.errors import ConfigError, ConnectionProblem, PermissionMissing, StateCorrupt, StateMismatch, StateMissing
from schemas.identifiers import task_tag
from schemas.journal import ClockEntry, Entries, SkipEntry, StartEntry
from streams import logfile
from streams.edges.kafka_log import KafkaLog
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.edges.redis_store import RedisStore
from streams.engine.records import batch_of
from streams.engine.store import Commit, Verdict
from streams.host import Host
from streams.references import ReferenceBook, plans
from streams.replay import Replay
from tests.property import story

NOW = story.BEGIN
NAMES = ('say "when"', "back\\slash", "new\nline", "nul\0", "", "ü☃")


def event(name: str, **changes: Any) -> bytes:  # noqa: ANN401  # JSON
    """A sound prediction with changes."""
    sound = {"prediction_id": name, "model": "loans", "model_version": "v1", "event_time": NOW, "prediction": "yes"}
    return json.dumps(sound | {"score": 0.9, "features": {"a": 1.0, "c": "de"}} | changes).encode()


SOMEONE = "a worker"
JOURNALS: WeakKeyDictionary[MemoryStore, MemoryJournal] = WeakKeyDictionary()
"""A store and its journal belong together, however many hosts come and go."""


def own(config: Config, store: MemoryStore, publisher: MemoryPublisher | None = None) -> Host:
    """A host that owns the one partition of predictions."""
    groups = {"predictions": 1, "features": 1}
    made = Host(
        config,
        plans(config),
        groups,
        store,
        publisher or MemoryPublisher(),
        JOURNALS.setdefault(store, MemoryJournal()),
        ReferenceBook(config, store),
        lambda: 0.0,
        str,
    )
    made.claim([("predictions", 0)])
    return made


def changed(config: Config, **settings: object) -> Config:
    """The configuration with other settings of its first model."""
    loans = config.models["loans"].model_copy(update=settings)
    return config.model_copy(update={"models": {**config.models, "loans": loans}})


def take(host: Host, topic: str, *values: bytes, first: int = 0) -> None:
    """Take records and commit them."""
    host.take(batch_of(topic, [(0, first + i, NOW, v) for i, v in enumerate(values)]))
    host.commit(host.tasks["predictions", 0])


def ledger(host: Host) -> dict[str, dict[str, int]]:
    """The outcomes that are not zero, and the labels that wait."""
    task = host.tasks["predictions", 0].task
    found = {topic: {k: v for k, v in counts.items() if v} for topic, counts in task.outcomes().items()}
    return found | {"waiting": {"labels": task.join.waiting}}


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_feature_may_have_any_name_that_json_can_spell(tmp_path: Path, name: str) -> None:
    host = own(story.config(tmp_path), MemoryStore())
    take(host, "predictions", event("p0", features={name: 1}), event("p1"))
    take(host, "predictions", event("p2", features={name: 1}), first=2)
    assert ledger(host)["predictions"] == {"applied": 3}


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_of_the_reference_may_have_any_name_that_json_can_spell(tmp_path: Path, name: str) -> None:
    config = story.config(tmp_path)
    rng = np.random.default_rng(3)
    table = {name: rng.normal(size=500), "a": rng.normal(size=500), "prediction": ["yes", "no"] * 250}
    Reference.build(table, task="binary", positive_class="yes").save(Path(config.models["loans"].reference))
    host = own(config, MemoryStore())
    unknown = {f"u{i}": 1 for i in range(100)}  # more than a struct learns
    take(host, "predictions", event("p0", features={name: 0.0}), event("p1", features={"a": 1.0} | unknown))
    take(host, "predictions", event("p2", features={name: 0.0, "a": 0.0}), event("p3", features={}), first=2)
    task = host.tasks["predictions", 0].task
    model = task.plan.by_name["loans"]
    [(_, vector)] = task.open["features"].vectors(model.index, NOW)
    missing = {s.name: int(model.default.counts(vector, i)[-2]) for i, s in enumerate(model.default.subjects)}
    assert (missing[name], missing["a"]) == (2, 2)


def test_an_unknown_feature_may_become_known_by_the_reference_of_a_new_version(tmp_path: Path) -> None:
    store = MemoryStore()
    host = own(story.config(tmp_path), store)
    take(host, "predictions", event("p0", features={"later": 1}))
    table = {"later": list(range(500)), "prediction": ["yes", "no"] * 250}
    made = Reference.build(table, task="binary", positive_class="yes")
    made.save(tmp_path / "v2.json")
    store.publish_reference(made.content_hash, (tmp_path / "v2.json").read_bytes(), "loans", "v2")
    take(host, "predictions", event("p1", model_version="v2", features={"later": 7}), first=1)
    assert ledger(host)["predictions"] == {"applied": 2}


def test_a_model_that_is_taken_out_and_put_back_goes_on_where_it_stood(tmp_path: Path) -> None:
    whole, store = story.config(tmp_path), MemoryStore()
    host = own(whole, store)
    labels = [json.dumps({"prediction_id": p, "label": "no", "model": "late-comer"}).encode() for p in ("q0", "early")]
    take(host, "predictions", event("p0"), event("q0", model="late-comer", model_version="v7"))
    take(host, "labels", *labels)
    without = whole.model_copy(update={"models": {"loans": whole.models["loans"]}})
    host = own(without, store)
    assert ledger(host) == {"predictions": {"applied": 2}, "labels": {"applied": 1}, "waiting": {"labels": 1}}
    take(host, "predictions", event("p1"), event("q1", model="late-comer"), first=2)
    host = own(whole, store)
    take(
        host,
        "predictions",
        event("early", model="late-comer"),
        event("q0", model="late-comer", model_version="v7"),
        first=4,
    )
    assert ledger(host) == {
        "predictions": {"applied": 4, "unknown_model": 1, "duplicate": 1},
        "labels": {"applied": 2},
        "waiting": {"labels": 0},
    }


def test_a_segment_of_the_join_log_that_is_listed_and_gone_is_said(tmp_path: Path) -> None:
    class Forgetful(MemoryStore):
        def segments(self, shard: str) -> dict[str, bytes]:
            return dict.fromkeys(super().segments(shard), b"")

    config, store = story.config(tmp_path), Forgetful()
    take(own(config, store), "predictions", event("p0"))
    with pytest.raises(StateMissing, match="segment p:loans"):
        own(config, store)


@pytest.mark.parametrize("side", ["j", "l"])
def test_a_segment_of_the_join_log_that_lost_its_last_commit_is_said(tmp_path: Path, side: str) -> None:
    class Forgetful(MemoryStore):
        earlier: dict[str, bytes] | None = None

        def segments(self, shard: str) -> dict[str, bytes]:
            found = super().segments(shard)
            return found if self.earlier is None else found | {s: d for s, d in self.earlier.items() if s[0] == side}

    config, store = story.config(tmp_path), Forgetful()
    host = own(config, store)
    labels = [json.dumps({"prediction_id": i, "label": "yes"}).encode() for i in ("p0", "stranger", "p1", "another")]
    take(host, "predictions", event("p0"), event("p1"))
    take(host, "labels", *labels[:2])
    earlier = store.segments(host.tasks["predictions", 0].shard.name)
    take(host, "labels", *labels[2:], first=2)
    own(config, store)
    store.earlier = earlier
    with pytest.raises(StateMissing, match=rf"segment {side}:.* of the join log had \d+ bytes, \d+ are there"):
        own(config, store)


@pytest.mark.parametrize("lost", ["segments", "starts"])
def test_what_was_committed_and_is_neither_there_nor_listed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    config, store = story.config(tmp_path), MemoryStore()
    take(own(config, store), "predictions", event("p0"))
    own(config, store)
    monkeypatch.setattr(store, lost, lambda *_: {} if lost == "segments" else [])
    with pytest.raises(StateMissing, match=r"(bytes|1 open panes were committed), 0 are there"):
        own(config, store)


def test_an_evaluator_whose_head_is_gone_does_not_start_anew(tmp_path: Path) -> None:
    config, store = story.config(tmp_path), MemoryStore()
    host = own(config, store)
    later = NOW + 60_000
    host.take(batch_of("predictions", [(0, 0, NOW, event("p0")), (0, 1, later, event("p1", event_time=later))]))
    host.commit(host.tasks["predictions", 0])
    host.tick()
    evaluator = host.evaluators["predictions", "loans"].shard.name
    assert store.peek(evaluator).body is not None
    store._shards[evaluator].body = None  # noqa: SLF001  # as if the key had been lost
    with pytest.raises(StateMissing, match="the journal knows of commits, and the store has no state"):
        own(config, store)


def test_an_evaluator_leaves_with_its_task_also_when_the_last_commit_fails(tmp_path: Path) -> None:
    class Away(MemoryStore):
        away = False

        def commit(self, commit: Commit) -> Verdict:
            if self.away:
                raise ConnectionProblem("gone", "wait")
            return super().commit(commit)

    store = Away()
    host = own(story.config(tmp_path), store)
    host.take(batch_of("predictions", [(0, 0, NOW, event("p0"))]))
    store.away = True
    with pytest.raises(ConnectionProblem):
        host.release("predictions", 0, commit=True)
    assert (host.tasks, host.evaluators) == ({}, {})


def test_records_that_come_with_an_error_are_handed_on_before_it_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Message:
        """What the client hands out, as far as it is looked at."""

        def __init__(self, offset: int, error: KafkaError | None = None) -> None:
            self._offset, self._error = offset, error

        def topic(self) -> str:
            return "t"

        def partition(self) -> int:
            return 0

        def offset(self) -> int:
            return self._offset

        def timestamp(self) -> tuple[int, int]:
            return 1, NOW

        def value(self) -> bytes:
            return b"{}"

        def error(self) -> KafkaError | None:
            return self._error

    monkeypatch.setattr("streams.edges.kafka_log.Message", Message)
    gone = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    polls = iter([[Message(4), Message(5), Message(-1, gone)], []])
    log = KafkaLog({"bootstrap.servers": "127.0.0.1:1"}, "g", ["t"], lambda _: {}, print, print)
    log._consumer = SimpleNamespace(consume=lambda *_: next(polls))  # type: ignore[assignment]  # noqa: SLF001
    [batch] = log.poll(10, 0)
    assert batch.offset.tolist() == [4, 5]
    with pytest.raises(PermissionMissing):
        log.poll(10, 0)


def _dump(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path


def _row(offset: int, topic: str = "predictions", value: str | None = None) -> dict[str, Any]:
    said = value if value is not None else event(f"p{offset}").decode()
    return {
        "topic": topic,
        "partition": 0,
        "offset": offset,
        "timestamp": NOW,
        "key": None,
        "value": said,
        "headers": [],
    }


def test_dumps_that_overlap_count_a_record_once(tmp_path: Path) -> None:
    rows = [
        _row(
            i, "features", json.dumps({"feature_set": "customers", "entity_id": "e", "event_time": NOW, "features": {}})
        )
        for i in range(9)
    ]
    replay = Replay(story.config(tmp_path), logfile.read(_dump(tmp_path / "d.jsonl", [*rows, *rows[3:]])))
    replay.run()
    assert replay.host.tasks["features", 0].task.outcomes() == {"features": {"applied": 9}}


def _cut(data: bytes) -> bytes:
    return data[:-30]


def _damage(data: bytes) -> bytes:
    return data[:40] + bytes(5) + data[45:]


@pytest.mark.parametrize("harm", [_cut, _damage])
def test_a_compressed_dump_that_is_damaged_is_named_in_one_sentence(
    tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    plain = _dump(tmp_path / "d.jsonl", [_row(i) for i in range(100)])
    damaged = tmp_path / "d.jsonl.gz"
    damaged.write_bytes(harm(gzip.compress(plain.read_bytes())))
    with pytest.raises(ConfigError, match="cannot be read to its end"):
        list(logfile.read(damaged))


@pytest.mark.parametrize("change", [{"offset": 1 << 63}, {"timestamp": 10**30}, {"partition": -1}])
def test_a_number_that_kafka_cannot_have_is_no_record(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="line 1: not a record"):
        list(logfile.read(_dump(tmp_path / "d.jsonl", [_row(0) | change])))


@pytest.mark.parametrize("value", ['{"record":"nothing"}', "[[", ""])
def test_a_journal_record_that_is_none_is_named(tmp_path: Path, value: str) -> None:
    rows = [_row(7, "driftline.journal", value)]
    with pytest.raises(ConfigError, match=r"driftline\.journal/0, offset 7"):
        Replay(story.config(tmp_path), logfile.read(_dump(tmp_path / "d.jsonl", rows)))


def test_a_journal_of_topics_with_other_names_is_refused(tmp_path: Path) -> None:
    entry = ClockEntry(topic="old-name", time_ms=NOW, offsets={})
    said = Entries(shard=task_tag("driftline.predictions", 0), token=SOMEONE, epoch=1, number=0, entries=[entry])
    rows = [_row(0), _row(0, "driftline.journal", msgspec.json.encode(said).decode())]
    with pytest.raises(ConfigError, match="old-name"):
        Replay(story.config(tmp_path), logfile.read(_dump(tmp_path / "d.jsonl", rows))).run()


@pytest.mark.parametrize(
    "entry",
    [
        StartEntry(model="loans", event_time=NOW, record_time=NOW, offsets={"old-name": 3}),
        SkipEntry(topic="old-name", offset=3, offsets={}),
    ],
    ids=["start", "skip"],
)
def test_an_entry_that_names_a_topic_of_another_configuration_is_refused(
    tmp_path: Path, entry: StartEntry | SkipEntry
) -> None:
    said = Entries(shard=task_tag("driftline.predictions", 0), token=SOMEONE, epoch=1, number=0, entries=[entry])
    rows = [_row(0), _row(0, "driftline.journal", msgspec.json.encode(said).decode())]
    with pytest.raises(ConfigError, match="old-name"):
        Replay(story.config(tmp_path), logfile.read(_dump(tmp_path / "d.jsonl", rows))).run()


def test_names_that_are_no_text_are_a_typed_error(redis_url: str) -> None:
    with redis.from_url(redis_url) as client:
        client.sadd("driftline:{task:g:0}:segments", b"\xff")
        client.hset("driftline:g:starts", b"\xff", "1 1")
    with contextlib.closing(RedisStore(redis_url)) as store:
        with pytest.raises(StateCorrupt, match="no name"):
            store.segments("{task:g:0}")
        with pytest.raises(StateCorrupt, match="no name"):
            store.model_starts("g")


@pytest.mark.parametrize(
    ("key", "fields", "ask"),
    [
        ("{task:g:0}:head", {"sequence": "many"}, lambda store: store.claim("{task:g:0}", "mine")),
        ("{task:g:0}:head", {"journal": "1:many:0"}, lambda store: store.claim("{task:g:0}", "mine")),
        ("{task:g:0}:outbox", {"first": "x"}, lambda store: store.outbox("{task:g:0}")),
        ("g:starts", {"loans": "never"}, lambda store: store.model_starts("g")),
        ("g:pins", {"partitions": "some"}, lambda store: store.pin_partitions("g", 3)),
    ],
)
def test_what_driftline_never_wrote_to_redis_is_a_typed_error(
    redis_url: str, key: str, fields: dict[str, str], ask: Callable[[RedisStore], object]
) -> None:
    with redis.from_url(redis_url) as client:
        client.hset(f"driftline:{key}", mapping=fields)
    with (
        contextlib.closing(RedisStore(redis_url)) as store,
        pytest.raises(StateCorrupt, match=r"no number|no pair|no position"),
    ):
        ask(store)


@pytest.mark.parametrize("change", [{"pane": 1000}, {"size": 20_000}])
def test_panes_of_another_length_are_not_mixed_with_new_ones(tmp_path: Path, change: dict[str, int]) -> None:
    config, store = story.config(tmp_path), MemoryStore()
    take(own(config, store), "predictions", event("p0"))
    windows = config.models["loans"].windows.model_copy(update=change)
    with pytest.raises(StateMismatch, match=r"windows\."):
        own(changed(config, windows=windows), store)


def test_outcomes_of_another_positive_class_are_not_mixed_with_new_ones(tmp_path: Path) -> None:
    config, store = story.config(tmp_path), MemoryStore()
    take(own(config, store), "predictions", event("p0"))
    other = tmp_path / "other.json"
    made = Reference.load(config.models["loans"].reference)
    replace(made, positive_class="no", classes=("", "no")).save(other)
    with pytest.raises(StateMismatch, match="classes"):
        own(changed(config, positive_class="no", reference=other), store)


def test_the_rules_of_alerts_may_change_without_losing_state(tmp_path: Path) -> None:
    config, store = story.config(tmp_path), MemoryStore()
    take(own(config, store), "predictions", event("p0"))
    alerts = config.models["loans"].alerts.model_copy(update={"cooldown": 1000})
    host = own(changed(config, alerts=alerts), store)
    take(host, "predictions", event("p1"), first=1)
    assert ledger(host)["predictions"] == {"applied": 2}


def test_a_key_of_another_type_is_a_typed_error_and_nothing_to_wait_for(redis_url: str) -> None:
    with redis.from_url(redis_url) as client:
        client.set("driftline:{task:g:0}:head", "x")
    with pytest.raises(StateCorrupt, match="something else"):
        RedisStore(redis_url).claim("{task:g:0}", "mine")
