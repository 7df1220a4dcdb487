"""One task driven through one partition of a history, without evaluators: batches, interleavings, silences, starts, crashes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from streams.edges.memory_journal import MemoryJournal
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.records import batch_of
from streams.engine.shard import claim
from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE
from streams.engine.task import Task
from streams.engine.task_restore import restore
from tests.oracle.histories import label_bytes, prediction_bytes
from tests.oracle.join_oracle import Prediction
from tests.oracle.monitor_oracle import Log
from tests.oracle.monitor_partition import Start, Wall
from tests.oracle.themes import PARTITIONS
from tests.oracle.worlds import worlds
from tests.property.whole import TOPICS, Hoard, plan_of, stored

if TYPE_CHECKING:
    from random import Random

    from streams.engine.plan import Plan
    from tests.oracle.monitor_partition import Entry
    from tests.oracle.themes import History

SHARD = "{task:test:0}"


@cache
def _process(world: str) -> tuple[Plan, PredictionDecoder, LabelDecoder]:
    """What a process has made ready: all tasks of a world share it, because what it has met elsewhere may not matter."""
    plan = plan_of(worlds()[world])
    return plan, PredictionDecoder(plan, "predictions"), LabelDecoder(plan)


class Solo:
    """A process with one task. The store stays. ``entries`` are what a journal would say of it."""

    def __init__(self, history: History, partition: int, random: Random) -> None:
        """Nothing read yet."""
        self.history, self.partition, self.random = history, partition, random
        self.plan, self.decoder, self.label_decoder = _process(history.world.name)
        self.sides = {topic: history.sides[topic, partition] for topic in TOPICS}
        self.rows = {
            topic: [
                (0, r.offset, r.record_time, prediction_bytes(r) if isinstance(r, Prediction) else label_bytes(r))
                for r in side.records
            ]
            for topic, side in self.sides.items()
        }
        other = history.sides["predictions", (partition + 1) % PARTITIONS].records
        self.begun = {p.model: (p.event_time, p.record_time) for p in reversed(other) if p.readable}
        self.entries: list[Entry] = []
        self.journaled = 0
        self.store, self.journal = Hoard(), MemoryJournal()
        self.start()

    def start(self) -> None:
        """Claim the shard and load what was committed."""
        self.shard = claim(self.store, self.journal, [SHARD], lambda: str(self.random.random()))[SHARD]
        del self.entries[self.journaled :]
        if self.shard.body is None:
            self.task = Task(self.plan, SHARD, *TOPICS)
        else:
            self.task = restore(self.plan, SHARD, TOPICS, self.shard.body, self.store, None)

    def commit(self) -> None:
        """Write what changed."""
        self.shard.commit(self.task.stage)
        self.task.committed()
        self.journaled = len(self.entries)

    def _hush(self, topic: str) -> None:
        """The wall clock stands in where the side is silent."""
        for silence in self.sides[topic].silences:
            if silence.offset == self.task.offsets[topic] and silence.time > self.task.record_time[topic]:
                self.task.clock(topic, silence.time)
                self.entries.append(Wall(topic, silence.offset, silence.time))

    def _learn(self) -> None:
        """A model has begun on the other partition."""
        model = self.random.choice(["m1", "m2"])
        if model in self.begun and self.task.start(model, *self.begun[model]):
            self.entries.append(Start(model, dict(self.task.offsets), *self.begun[model]))

    def _take(self, topic: str, most: int) -> None:
        at = self.task.offsets[topic]
        self._hush(topic)
        stop = min([at + most, *(s.offset for s in self.sides[topic].silences if s.offset > at)])
        batch = batch_of(topic, self.rows[topic][at:stop])
        if not len(batch):
            return
        if topic == "predictions":
            self.task.predictions(self.decoder.decode(batch.values), 0, len(batch), batch.offset, batch.timestamp_ms)
        else:
            columns = self.label_decoder.decode(batch.values, batch.timestamp_ms)
            self.task.labels(columns, 0, len(batch), batch.offset, batch.timestamp_ms)

    def run(self) -> None:
        """Read everything, in any order and in any pieces; then what is silent is silent; then a last commit."""
        random, first = self.random, self.random.choice([None, None, *TOPICS])
        most = max(random.choice([2, 10, 1000]), sum(map(len, self.rows.values())) // 5)
        while left := [t for t in TOPICS if self.task.offsets[t] < len(self.rows[t])]:
            self._take(first if first in left else random.choice(left), random.randrange(1, most + 1))
            what = random.random()
            if what < 0.15:
                self._learn()
            elif what < 0.3:
                self.commit()
            elif what < 0.4:
                self.start()
        for topic in TOPICS:
            self._hush(topic)
        self.commit()

    def log(self) -> Log:
        """What it has read."""
        return Log(self.sides["predictions"].records, self.sides["labels"].records, list(self.entries))

    def panes(self) -> dict[str, dict[Any, Any]]:
        """All cells that were ever stored, as plain values."""
        found: dict[str, dict[Any, Any]] = {kind: {} for kind in (FEATURES, ARRIVALS, PERFORMANCE)}
        for (_, cell), data in self.store.ever.items():
            if cell[0] in found:
                found[cell[0]].update({(0, *key): v for key, v in stored(self.plan, cell, data)})
        return found
