"""A whole deployment driven through a history: workers, their batches, interleavings, silences, crashes and rebalances.

Everything comes out of the seed. What the workers said is gathered as plain values, to be held against the oracle's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from schemas import journal
from schemas.identifiers import task_tag
from schemas.outbox import payload
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine import cells, outcomes, snapshot
from streams.engine.plan import Plan, compile_plan
from streams.engine.records import batch_of
from streams.engine.shape import HEADER
from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE, Verdict
from streams.host import Host
from tests.oracle.histories import label_bytes, prediction_bytes
from tests.oracle.join_oracle import Prediction
from tests.oracle.monitor_counts import spelt
from tests.oracle.monitor_oracle import Log
from tests.oracle.monitor_partition import Start, Wall
from tests.oracle.themes import PARTITIONS
from tests.oracle.worlds import worlds

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from schemas.outbox import OutboxEvent
    from streams.engine.store import Cell, Commit
    from tests.oracle.themes import History
    from tests.oracle.worlds import World

GROUP = "predictions"
TOPICS = ("predictions", "labels")


class Hoard(MemoryStore):
    """A store that remembers the last bytes of every cell, also of those that were dropped since."""

    def __init__(self) -> None:
        """Empty."""
        super().__init__()
        self.ever: dict[tuple[str, Cell], bytes] = {}

    def commit(self, commit: Commit) -> Verdict:
        """As the protocol says."""
        verdict = super().commit(commit)
        if verdict is Verdict.DONE:
            self.ever.update({(commit.shard, cell): data for cell, data in commit.put})
        return verdict


class Forgetful(MemoryPublisher):
    """A publisher that may die with what it was given: neither published nor acknowledged."""

    def __init__(self, random: Random, losses: float) -> None:
        """Loses this share."""
        super().__init__()
        self._random, self.losses = random, losses

    def publish(self, event: OutboxEvent, done: Callable[[], None]) -> None:
        """Keep and acknowledge, or neither."""
        if self._random.random() >= self.losses:
            super().publish(event, done)


@dataclass
class Said:
    """What came out, as plain values. ``panes`` by kind, partition and key; ``records`` by kind and key; the rest by id."""

    panes: dict[str, dict[tuple[int, str, int, str, str], Any]] = field(default_factory=dict)
    records: dict[str, dict[tuple[str, int, str, str], Any]] = field(default_factory=dict)
    alerts: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, Any] = field(default_factory=dict)


_RULES: dict[str, dict[Any, Any]] = {}
"""Compiled rules by world and model: a plan is made anew for every process, what it computes from a reference is not."""


def plan_of(world: World) -> Plan:
    """The plan, as a process that starts compiles it."""
    configs = {name: m.config for name, m in world.models.items()}
    plan = compile_plan(GROUP, configs, {name: [m.reference] for name, m in world.models.items()}, world.future)
    for model in plan.models:
        model.rules = _RULES.setdefault(f"{world.name} {model.name}", {})
    return plan


@cache
def _used_plan(world: str) -> Plan:
    return plan_of(worlds()[world])


class Deployment:
    """Workers that may crash and come back, or hand partitions over. Store and published events stay."""

    def __init__(self, history: History, random: Random) -> None:
        """Nothing read yet."""
        self.history, self.random = history, random
        self.store = Hoard()
        self.publisher = Forgetful(random, random.choice([0.0, 0.0, 0.1]))
        self.journal = MemoryJournal()
        self.clock = 0.0
        self.crashes = 0
        self.rows = {
            key: [
                (key[1], r.offset, r.record_time, prediction_bytes(r) if isinstance(r, Prediction) else label_bytes(r))
                for r in side.records
            ]
            for key, side in history.sides.items()
        }
        self.pending = {key: list(side.silences) for key, side in history.sides.items()}
        self.workers = random.choice([1, 1, 2])
        self.start()

    def start(self) -> None:
        """New processes; who owns what is drawn anew."""
        self.hosts = [self._host() for _ in range(self.workers)]
        self.owner = {p: self.random.randrange(self.workers) for p in range(PARTITIONS)}
        for p, w in self.owner.items():
            self.hosts[w].claim([(GROUP, p)])

    def _host(self) -> Host:
        # A plan may have met other streams before: what a process knows from elsewhere changes nothing.
        world = self.history.world
        plans = {GROUP: plan_of(world) if self.random.random() < 0.2 else _used_plan(world.name)}
        return Host(
            world.config,
            plans,
            {GROUP: PARTITIONS},
            self.store,
            self.publisher,
            self.journal,
            None,
            lambda: self.clock,
            lambda: str(self.clock),
        )

    def move(self) -> None:
        """A partition is handed over: given up with a last commit, or taken by surprise."""
        partition = self.random.randrange(PARTITIONS)
        old = self.owner[partition]
        new = self.owner[partition] = (old + 1) % self.workers
        if new != old:
            self.hosts[old].release(GROUP, partition, commit=self.random.random() < 0.5)
            self.hosts[new].claim([(GROUP, partition)])

    def task(self, partition: int) -> Any:  # noqa: ANN401  # the engine's
        """The task of a partition."""
        return self.hosts[self.owner[partition]].tasks[GROUP, partition].task

    # -- records ------------------------------------------------------------------------------------------------------

    def _step(self, topic: str, partition: int, most: int) -> list[tuple[int, int, int, bytes | None]]:
        """The next records of one side, up to where it falls silent; tells the worker so if it stands there."""
        at = self.task(partition).offsets[topic]
        self._hush(topic, partition)
        silences = [s.offset for s in self.pending[topic, partition] if s.offset > at]
        stop = min([at + most, *silences])
        return self.rows[topic, partition][at:stop]

    def _hush(self, topic: str, partition: int) -> None:
        task = self.task(partition)
        at = task.offsets[topic]
        for silence in self.pending[topic, partition]:
            if silence.offset == at and silence.time > task.record_time[topic]:
                self.hosts[self.owner[partition]].silent(GROUP, partition, topic, silence.time)

    def left(self) -> list[tuple[str, int]]:
        """The sides that have records left."""
        return [(t, p) for (t, p), rows in self.rows.items() if self.task(p).offsets[t] < len(rows)]

    def run(self) -> None:
        """Read everything; then let what is caught up and silent be so; then decide all that can be decided."""
        random = self.random
        most = random.choice([1, 7, 50, 1000])
        total = sum(len(rows) for rows in self.rows.values())
        most = max(most, total // 10)
        first = random.choice([None, None, "predictions", "labels"])
        trouble = random.choice([0.0, 0.05, 0.15])
        while left := self.left():
            self.clock += random.choice([0.0, 1.0])
            preferred = [side for side in left if side[0] == first] or left
            topic, partition = random.choice(preferred)
            rows = self._step(topic, partition, random.randrange(1, most + 1))
            both = [p for t, p in left if t == topic and p != partition and self.owner[p] == self.owner[partition]]
            if both and random.random() < 0.3:
                rows = sorted(rows + self._step(topic, both[0], random.randrange(1, most + 1)), key=lambda r: r[:2])
            if rows:
                self.hosts[self.owner[partition]].take(batch_of(topic, rows))
            if random.random() < 0.5:
                random.choice(self.hosts).tick()
            if random.random() < trouble:
                if self.workers > 1 and random.random() < 0.5:
                    self.move()
                else:
                    self.crashes += 1
                    self.start()
        self._settle()
        if self.publisher.losses:
            self.publisher.losses = 0.0
            self.start()
            self._settle()

    def _settle(self) -> None:
        quiet = 0
        while quiet < 2:  # of two workers, one hears of the other's commit a turn later
            before = len(self.publisher.events), len(self.journal.records)
            for topic, partition in self.rows:
                self._hush(topic, partition)
            self.clock += 1
            more = [host.tick() for host in self.hosts]
            after = len(self.publisher.events), len(self.journal.records)
            quiet = 0 if any(more) or before != after else quiet + 1
        for host in self.hosts:
            for owned in host.tasks.values():
                host.commit(owned)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def logs(self) -> list[Log]:
        """The inputs of each partition, and what the journal says of it."""
        logs = []
        for p in range(PARTITIONS):
            tag = task_tag(f"{self.history.world.config.group}.{GROUP}", p)
            entries: list[Wall | Start] = []
            # Nobody is replaced here while its records are under way: every one counts.
            found = [r.entries for r in self.journal.records if isinstance(r, journal.Entries) and r.shard == tag]
            for entry in (e for entries_of in found for e in entries_of):
                if isinstance(entry, journal.ClockEntry):
                    entries.append(Wall(entry.topic, entry.offsets[entry.topic], entry.time_ms))
                elif isinstance(entry, journal.StartEntry):
                    entries.append(Start(entry.model, entry.offsets, entry.event_time, entry.record_time))
            sides = [self.history.sides[t, p].records for t in TOPICS]
            logs.append(Log(sides[0], sides[1], entries))
        return logs

    def said(self) -> Said:
        """Everything that the workers came to. Raises AssertionError when an id was given two payloads (P3)."""
        said = Said({kind: {} for kind in (FEATURES, ARRIVALS, PERFORMANCE)}, {"drift": {}, "performance": {}})
        partition_of = {task_tag(f"{self.history.world.config.group}.{GROUP}", p): p for p in range(PARTITIONS)}
        plan = _used_plan(self.history.world.name)
        for (shard, (kind, name, start)), data in self.store.ever.items():
            if shard in partition_of and kind in said.panes:
                found = stored(plan, (kind, name, start), data)
                said.panes[kind].update({(partition_of[shard], *key): value for key, value in found})
            elif kind.endswith("-results"):
                for record in orjson.loads(data):
                    key = (name, start, record["version"], record["variant"])
                    said.records[kind.removesuffix("-results")][key] = record
        topics = self.history.world.config.topics
        payloads: dict[str, bytes] = {}
        for event in self.publisher.events:
            if event.topic in {topics.alerts, topics.retrain}:
                known = payloads.setdefault(event.event_id, payload(event.value))
                assert known == payload(event.value), event.event_id
        for name, data in payloads.items():
            told = orjson.loads(data)
            (said.alerts if ".alert." in told["type"] else said.requests)[name] = told
        return said


def stored(plan: Plan, cell: Cell, data: bytes) -> list[tuple[tuple[str, int, str, str], Any]]:
    """What a cell holds of each stream, as plain values."""
    kind, name, start = cell
    return [
        ((name, start, e.version, e.variant), READ[kind](plan.by_name[name], snapshot.unpack_vector(e.vector)))
        for e in cells.decode(data, "test")
    ]


def _features(_: Any, vector: Any) -> Any:  # noqa: ANN401  # the engine's
    return int(vector[0]), int(vector[1]), int(vector[2]), sparse(vector[HEADER:])


def sparse(vector: Any) -> dict[int, int]:  # noqa: ANN401  # an array
    """The counts that are not zero, by place."""
    at = np.flatnonzero(vector)
    return dict(zip(at.tolist(), vector[at].tolist(), strict=True))


def _arrivals(model: Any, vector: Any) -> Any:  # noqa: ANN401  # the engine's
    found = outcomes.arrival(model, vector)
    return int(vector[0]), sparse(spelt(found.counts)), sparse(found.delays)


def _performance(model: Any, vector: Any) -> Any:  # noqa: ANN401  # the engine's
    early, both = outcomes.mature(model, vector), outcomes.final(model, vector)
    parts = (spelt(early.counts), early.delays, spelt(both.counts), both.delays)
    return outcomes.remembered(model, vector), *map(sparse, parts)


READ: dict[str, Callable[[Any, Any], Any]] = {FEATURES: _features, ARRIVALS: _arrivals, PERFORMANCE: _performance}
"""A stored vector as plain values."""
