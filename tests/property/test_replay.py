"""P2, P3: a replay of inputs and journal gives the windows, events and state of a live run, however that was cut and crashed."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from schemas.control import RetrainStarted, RetrainSucceeded
from schemas.identifiers import model_tag
from schemas.journal import CommandEntry, Entries, to_event
from schemas.outbox import payload
from streams.digest import parts
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.kernels.clock import NEVER
from streams.engine.records import batch_of
from streams.host import Host
from streams.logfile import Record
from streams.references import ReferenceBook, plans
from streams.replay import Replay, window_records
from tests.property import story

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.config import Config


class Live:
    """A process over a store and a publisher that outlive it; one tick of its clock is a second."""

    def __init__(self, config: Config, inputs: dict[tuple[str, int], list[Record]], seed: int, most: int = 300) -> None:
        """Own everything; ``most`` records of a partition are taken at a time."""
        self.config, self.inputs, self.random, self.most = config, inputs, Random(seed), most
        self.store, self.publisher, self.journal = MemoryStore(), MemoryPublisher(), MemoryJournal()
        self.clock, self.answers = 0.0, True
        self.answered: set[str] = set()
        self.crashes = 0
        self.start()

    def start(self) -> None:
        """A new process."""
        groups = {"predictions": story.PARTITIONS, "features": story.PARTITIONS}
        book = ReferenceBook(self.config, self.store)
        self.host = Host(
            self.config,
            plans(self.config),
            groups,
            self.store,
            self.publisher,
            self.journal,
            book,
            lambda: self.clock,
            lambda: str(self.clock),
        )
        for group, count in groups.items():
            for partition in range(count):
                self.host.claim([(group, partition)])

    def _take(self) -> bool:
        """A batch of one topic, from one partition or from both."""
        topic = self.random.choice(["predictions", "labels", "features"])
        group = "features" if topic == "features" else "predictions"
        rows = []
        for p in self.random.choice([[0], [1], [0, 1]]):
            at = self.host.tasks[group, p].task.offsets[topic]
            chunk = self.inputs[topic, p][at : at + self.random.randrange(1, self.most)]
            rows += [(p, r.offset, r.timestamp, r.value) for r in chunk]
        return bool(rows) and self.host.take(batch_of(topic, rows)) > 0

    def _left(self) -> bool:
        return any(
            owned.task.offsets[topic] < len(self.inputs[topic, p])
            for (_, p), owned in self.host.tasks.items()
            for topic in owned.task.topics
        )

    def run(self) -> None:
        """Read everything, then let the wall clock close what is open."""
        while self._left():
            self.clock += self.random.choice([0.0, 1.0])
            if self._take() and self.random.random() < 0.8:
                self.host.tick()
            self._answer()
            if self.random.random() < 0.05:
                self.crashes += 1
                self.start()
        last = max(r.timestamp for records in self.inputs.values() for r in records)
        for minute in range(1, 5):
            for (group, partition), owned in self.host.tasks.items():
                for topic in owned.task.topics:
                    self.host.silent(group, partition, topic, last + minute * 60 * story.SECOND)
            self.clock += 1
            while self.host.tick():
                self.clock += 1
        for owned in self.host.tasks.values():
            self.host.commit(owned)

    def _answer(self) -> None:
        """Sometimes a pipeline answers a request; the control topic has one partition."""
        for event in self.publisher.events if self.answers else []:
            said = json.loads(event.value)
            if said.get("type") != "dev.driftline.retrain.requested.v1" or self.random.random() < 0.7:
                continue
            key, model = said["data"]["idempotency_key"], said["data"]["model"]
            if key not in self.answered:
                self.answered.add(key)
                offset = 2 * len(self.answered)
                self.host.command("predictions", RetrainStarted(model=model, request=key), 0, offset)
                done = RetrainSucceeded(model=model, request=key, model_version="v2")
                self.host.command("predictions", done, 0, offset + 1)

    def log(self) -> list[Record]:
        """The inputs, and the journal."""
        said = [to_event(record, self.config.topics.journal) for record in self.journal.records]
        entries = [Record(e.topic, 0, i, 0, e.key, e.value) for i, e in enumerate(said)]
        return [*(r for records in self.inputs.values() for r in records), *entries]

    def events(self) -> dict[str, bytes]:
        """Alerts and requests by id; every repeat of an id has the same payload (P3)."""
        found: dict[str, bytes] = {}
        for event in self.publisher.events:
            if event.topic in {self.config.topics.alerts, self.config.topics.retrain}:
                assert payload(event.value) == found.setdefault(event.event_id, payload(event.value))
        return found


@pytest.mark.parametrize("seed", range(6))
def test_a_replay_of_inputs_and_journal_is_the_live_run(seed: int, tmp_path: Path) -> None:
    config = story.config(tmp_path)
    live = Live(config, story.records(seed), seed)
    live.run()
    replay = Replay(config, live.log())
    replay.run()

    kinds = {(said["type"].split(".")[2], said["data"].get("kind")) for said in map(json.loads, live.events().values())}
    assert {("alert", "drift"), ("alert", "sequential"), ("alert", "performance"), ("retrain", None)} <= kinds
    assert live.crashes > 0
    assert live.answered

    assert live.events() == {e.event_id: payload(e.value) for e in replay.events}
    assert _windows(live.store, live.host) == _windows(replay.store, replay.host)
    assert parts(live.store, live.host) == parts(replay.store, replay.host)


@pytest.mark.parametrize("families", [("sequential",), ("drift", "performance", "sequential")])
@pytest.mark.parametrize("seed", [1, 3, 5])
def test_a_request_names_the_same_data_however_often_the_evaluator_ran(
    seed: int, families: tuple[story.Family, ...], tmp_path: Path
) -> None:
    config = story.config(tmp_path, families)
    live = Live(config, story.records(seed), seed, most=20)
    live.answers = False  # a command stops the replay at the same decisions, and would hide a difference
    live.run()
    replay = Replay(config, live.log())
    replay.run()
    assert any("retrain.requested" in json.loads(value)["type"] for value in live.events().values())
    assert live.events() == {e.event_id: payload(e.value) for e in replay.events}
    assert parts(live.store, live.host) == parts(replay.store, replay.host)


def _windows(store: Any, host: Host) -> list[dict[str, object]]:  # noqa: ANN401  # both stores are of one kind here
    return list(window_records(store, host))


@pytest.mark.parametrize("seed", range(3))
def test_every_record_is_accounted_for_once_in_a_live_run_that_crashes(seed: int, tmp_path: Path) -> None:
    live = Live(story.config(tmp_path), story.records(seed, 1500), seed)
    live.run()
    for (_, partition), owned in live.host.tasks.items():
        for topic, outcomes in owned.task.outcomes().items():
            waiting = owned.task.join.waiting if topic == "labels" else 0
            assert len(live.inputs[topic, partition]) == sum(outcomes.values()) + waiting


def test_a_replay_without_a_monitor_does_not_wait_for_what_only_that_monitor_moved(tmp_path: Path) -> None:
    config = story.config(tmp_path)
    model = config.models["loans"]
    config = config.model_copy(
        update={"feature_sets": {}, "models": {"loans": model.model_copy(update={"service": ()})}}
    )
    quiet = range(story.BEGIN + 60 * story.SECOND, story.BEGIN + 100 * story.SECOND)
    inputs = [
        r
        for (topic, _), records in story.records(0).items()
        for r in records
        if topic == "labels" or (topic == "predictions" and json.loads(r.value or b"")["event_time"] not in quiet)
    ]
    plain = Replay(config, inputs)
    plain.run()

    first = story.BEGIN - 10 * story.SECOND
    said = {"command": "approve", "model": "loans", "request": "another"}
    # Taken while the service monitor watched: its silence had moved the cursor to 80 s, where no window ends.
    cursors = (story.BEGIN + 80 * story.SECOND, first, first, NEVER, first)
    entry = CommandEntry(partition=0, offset=0, cursors=cursors, command=dict(said), applied=False)
    shard, worker = model_tag(config.group, "loans"), "a worker"
    event = to_event(Entries(shard=shard, token=worker, epoch=1, number=0, entries=[entry]), config.topics.journal)
    replay = Replay(config, [*inputs, Record(event.topic, 0, 0, 0, event.key, event.value)])
    replay.run()
    assert plain.events
    assert {e.event_id for e in replay.events} == {e.event_id for e in plain.events}
