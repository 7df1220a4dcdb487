"""P7: a window closes when its time is over, also when traffic stops; silence is itself an alert, in replay as live."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from schemas.journal import to_event
from schemas.outbox import payload
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.records import batch_of
from streams.host import Host
from streams.logfile import Record
from streams.references import ReferenceBook, plans
from streams.replay import Replay
from tests.property import story

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.config import Config
    from schemas.outbox import OutboxEvent

SILENT_S = 100


class Deployment:
    """A host that reads a log, and then hears nothing."""

    def __init__(self, config: Config) -> None:
        """Own everything."""
        self.config, self.publisher, self.now = config, MemoryPublisher(), 0.0
        store = MemoryStore()
        book = ReferenceBook(config, store)
        groups = {"predictions": story.PARTITIONS, "features": story.PARTITIONS}
        self.journal = MemoryJournal()
        outside = (store, self.publisher, self.journal, book)
        self.host = Host(config, plans(config), groups, *outside, lambda: self.now, lambda: "")
        for group in groups:
            for partition in range(story.PARTITIONS):
                self.host.claim([(group, partition)])

    def settle(self) -> None:
        """Commit and decide."""
        self.now += 1
        while self.host.tick():
            self.now += 1

    def read(self, inputs: dict[tuple[str, int], list[Record]]) -> None:
        """Everything, by topic."""
        for (topic, partition), records in inputs.items():
            self.host.take(batch_of(topic, [(partition, r.offset, r.timestamp, r.value) for r in records]))
        self.settle()

    def silence(self, since: int, seconds: int) -> None:
        """Nothing comes on any partition, second by second."""
        for second in range(1, seconds + 1):
            for (group, partition), owned in self.host.tasks.items():
                for topic in owned.task.topics:
                    self.host.silent(group, partition, topic, since + second * story.SECOND)
            self.settle()

    def log(self, inputs: dict[tuple[str, int], list[Record]]) -> list[Record]:
        """The inputs and the journal."""
        said = [to_event(record, self.config.topics.journal) for record in self.journal.records]
        entries = [Record(e.topic, 0, i, 0, e.key, e.value) for i, e in enumerate(said)]
        return [*(r for records in inputs.values() for r in records), *entries]

    def alerts(self) -> list[OutboxEvent]:
        """The alerts."""
        return [e for e in self.publisher.events if e.topic == self.config.topics.alerts]


def data(events: list[OutboxEvent], kind: str) -> list[dict[str, Any]]:
    found = [json.loads(e.value) for e in events if e.topic == "driftline.alerts"]
    return [e["data"] | {"type": e["type"], "time": e["time"]} for e in found if e["data"]["kind"] == kind]


def test_when_all_traffic_stops_every_model_and_feature_set_is_missed_and_a_replay_says_the_same(
    tmp_path: Path,
) -> None:
    config, inputs = story.config(tmp_path), story.records(1)
    live = Deployment(config)
    live.read(inputs)
    assert data(live.alerts(), "service") == []
    last = max(r.timestamp for records in inputs.values() for r in records)
    live.silence(last, SILENT_S)
    found = {(d["model"], d["subject"]["model_version"], d["severity"]): d for d in data(live.alerts(), "service")}
    assert {who[0] for who in found} == {"loans", "customers", "late-comer"}
    assert found["loans", "v1", "critical"]["subject"]["metric"] == "no_data"
    assert found["loans", "v1", "critical"]["window"]["end_ms"] <= last + 45 * story.SECOND

    replay = Replay(config, live.log(inputs))
    replay.run()
    assert {e.event_id: payload(e.value) for e in live.alerts()} == {
        e.event_id: payload(e.value) for e in replay.events if e.topic == config.topics.alerts
    }


def test_time_that_is_only_made_to_run_on_is_no_silence(tmp_path: Path) -> None:
    config, inputs = story.config(tmp_path), story.records(1)
    replay = Replay(config, [r for records in inputs.values() for r in records])
    replay.run(close=True)
    assert data(replay.events, "service") == []
    assert [d for d in data(replay.events, "labels") if d["subject"]["metric"] == "rate"] == []
    assert len({w["window"][0] for w in replay.windows()}) > 20  # type: ignore[index]  # a record of a window
