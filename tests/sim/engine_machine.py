"""A machine of the engine's simulation: the product's own ``Host`` with everything in it, in the loop that a worker runs."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from schemas.control import Command, RetrainFailed, RetrainStarted, RetrainSucceeded
from schemas.errors import (
    CommitConflict,
    ConnectionProblem,
    DriftlineError,
    OwnershipLost,
    StateMissing,
    StoreRestarted,
)
from schemas.journal import Rebuild
from streams.engine.records import batch_of
from streams.host import Host
from tests.oracle.histories import label_bytes, prediction_bytes
from tests.oracle.join_oracle import Prediction
from tests.oracle.themes import PARTITIONS
from tests.property.whole import GROUP, plan_of
from tests.sim.consumer import SimLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.edges.kafka_assignment import Place
    from streams.engine.records import RecordBatch
    from streams.owned import OwnedTask
    from tests.oracle.themes import History
    from tests.oracle.worlds import World as Watched
    from tests.sim.consumer import Run
    from tests.sim.world import Machine, World

TURN_S = 0.002
"""What the clock goes on with each turn of a machine: more than a commit interval of the worlds (1 ms)."""
QUIET = 3
"""Turns of every machine without anything new after which all is decided: one hears of another's commit a turn later."""

_PLANS: dict[str, Any] = {}


def used_plan(world: Watched) -> Any:  # noqa: ANN401  # the engine's
    """The plan of a world, compiled once: what a process has met before changes nothing."""
    if world.name not in _PLANS:
        _PLANS[world.name] = plan_of(world)
    return _PLANS[world.name]


class Inputs:
    """The input topics as they are written, bit by bit; and the commands that answer what was published."""

    def __init__(self, world: World, history: History, most: int) -> None:
        """Nothing written yet; ``most`` records of a side come at a time."""
        self._world, self._history, self.most = world, history, most
        self.rows = {
            key: [
                (key[1], r.offset, r.record_time, prediction_bytes(r) if isinstance(r, Prediction) else label_bytes(r))
                for r in side.records
            ]
            for key, side in history.sides.items()
        }
        self.written = dict.fromkeys(self.rows, 0)
        self.silences = {
            key: deque(sorted(side.silences, key=lambda s: s.offset)) for key, side in history.sides.items()
        }
        self.commands: list[Command] = []
        self._answered = 0

    def go_on(self) -> None:
        """Write something more, but not past a place where the topic falls silent: that is passed another time."""
        random = self._world.whim
        for key, rows in self.rows.items():
            at = self.written[key]
            if at == len(rows) or not (self._world.calm or random(2)):
                continue
            silent = self.silences[key]
            while silent and silent[0].offset <= at:
                silent.popleft()
            end = min([len(rows), at + 1 + random(self.most), *(s.offset for s in list(silent)[:1])])
            self.written[key] = end

    def silence(self, key: tuple[str, int]) -> int | None:
        """The time at which the topic is silent where it ends now, None where it is not."""
        found = [s.time for s in self.silences[key] if s.offset == self.written[key]]
        return found[0] if found else None

    def answer(self) -> None:
        """A pipeline answers requests to train again."""
        events = self._world.outputs.events
        if self._world.calm or self._answered == len(events) or self._world.whim(3):
            return
        event = events[self._answered]
        self._answered += 1
        said = orjson.loads(event.value)
        if said.get("type") != "dev.driftline.retrain.requested.v1":
            return
        model, key = said["data"]["model"], said["data"]["idempotency_key"]
        self.commands.append(RetrainStarted(model=model, request=key))
        done = RetrainSucceeded(model=model, request=key, model_version="v2")
        self.commands.append(done if self._world.whim(2) else RetrainFailed(model=model, request=key, reason="made up"))


@dataclass(eq=False)
class EngineMachine:
    """What a worker does, in its order."""

    world: World
    machine: Machine
    inputs: Inputs
    history: History
    again: set[tuple[str, int]] = field(default_factory=set)
    """Tasks that are claimed again, and read again from where their state stands, before anything else happens to them."""
    fetched: deque[RecordBatch] = field(default_factory=deque)
    busy: bool = False
    quiet: int = 0
    seen: tuple[int, ...] = ()

    def run(self) -> None:
        """Work until the machine dies."""
        world, now = self.history.world, self.world
        connection, publisher, journal = self.machine.connection, self.machine.publisher, self.machine.journal
        plans = {GROUP: used_plan(world)}
        args = (world.config, plans, {GROUP: PARTITIONS}, connection, publisher, journal, None)
        self.host = Host(*args, lambda: now.now, lambda: str(now.now))
        self.host.token = self.machine.name  # chance comes from the seed alone
        topics = self.host.topics[GROUP]
        written = self.inputs.written
        self.log = SimLog(now, self.machine, topics, lambda t, p: written[t, p], self.claimed, self.gone)
        while True:
            self.busy = False
            self.world.fibers.point()
            self.busy = True
            self.world.now += TURN_S
            try:
                self.step()
            except StateMissing as error:
                self.rebuild(error)
            except (StoreRestarted, CommitConflict):
                connection.go_on()
                self.distrust()
            except OwnershipLost:
                self.distrust()
                self.again.clear()
                self.host.forget()
                self.log.rejoin()
            except ConnectionProblem:
                self.log.pause()

    def distrust(self) -> None:
        """Everything is claimed again before anything else happens."""
        self.fetched.clear()
        self.again.update(self.host.tasks)
        self.abandon(list(self.host.tasks))

    def rebuild(self, error: StateMissing) -> None:
        """The store went back before a shard's first commit: an operator says that it may begin again."""
        shard = str(error).partition(": ")[0]
        assert "the journal knows of commits" in str(error), error
        if self.world.store.peek(shard).body is None:
            self.world.note("rebuilt")
            self.world.journal.append(Rebuild(shard=shard))

    # -- ownership ----------------------------------------------------------------------------------------------------

    def claimed(self, places: list[Place]) -> dict[Place, int]:
        """What the group gave is ours; returns the offsets to read from."""
        self.forget(places)
        return self.claim(sorted({(GROUP, p) for _, p in places}))

    def claim(self, wanted: list[tuple[str, int]]) -> dict[Place, int]:
        """Claim tasks, all or none; returns the offsets to read from."""
        self.abandon(wanted)
        try:
            starts = {place: at for owned in self.host.claim(wanted) for place, at in self.begin(owned).items()}
        except Exception as error:
            self.world.note(f"{'one claim' if len(wanted) == 1 else 'many claims'}: {type(error).__name__}")
            self.abandon(wanted)
            raise
        self.host.forget()
        return starts

    def begin(self, owned: OwnedTask) -> dict[Place, int]:
        """Ask how far the topics go; returns the offsets to read from."""
        for topic in owned.task.topics:
            owned.behind[topic] = self.log.bounds(topic, owned.partition)
        return {(topic, owned.partition): offset for topic, offset in owned.task.offsets.items()}

    def claim_again(self) -> None:
        """Claim in place. Only when the tasks are read from where their state stands is it done."""
        again = sorted(self.again)
        if not again:
            return
        starts = self.claim(again)
        try:
            self.log.assign_again(starts)
        except Exception:
            self.abandon(again)
            raise
        self.again.difference_update(again)

    def abandon(self, tasks: list[tuple[str, int]]) -> None:
        """Let tasks go as they are."""
        for group, partition in tasks:
            self.host.release(group, partition, commit=False)

    def gone(self, places: list[Place], last_commit: bool) -> None:  # noqa: FBT001  # a callback
        """The group took them."""
        self.forget(places)
        for group, partition in sorted({(GROUP, p) for _, p in places}):
            self.again.discard((group, partition))
            with suppress(DriftlineError):
                self.host.release(group, partition, commit=last_commit)
        if not last_commit:
            self.host.forget()

    def forget(self, places: list[Place]) -> None:
        """What was fetched of these is not ours to count."""
        self.fetched = deque(part for batch in self.fetched for part in batch.without(places))

    # -- work ---------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn of the loop."""
        self.inputs.go_on()
        self.inputs.answer()
        found = self.log.poll(self.inputs.most)
        self.fetched.extend(self.batches(found))
        while self.fetched:
            self.host.take(self.fetched[0])
            self.fetched.popleft()
        crowded = {place for owned in self.host.tasks.values() for place in owned.crowded(self.inputs.most // 3)}
        if crowded:
            self.world.note("held back")
        self.log.hold(crowded)
        self.claim_again()
        for offset, command in enumerate(self.inputs.commands):
            if not self.host.command(GROUP, command, 0, offset):
                break
        for owned in list(self.host.tasks.values()):
            for topic, end in list(owned.behind.items()):
                if self.log.position(topic, owned.partition) >= end and not owned.held:
                    del owned.behind[topic]
            for topic in owned.task.topics:
                self.hush(topic, owned)
        more = self.host.tick()
        self.log.resume()
        now = len(self.world.outputs.events), len(self.world.journal.records), self.world.store.commits
        self.quiet = self.quiet + 1 if now == self.seen and not more else 0
        self.seen = now

    def batches(self, runs: list[Run]) -> Iterator[RecordBatch]:
        """What was read, a batch for each topic."""
        for topic in sorted({topic for topic, *_ in runs}):
            mine = [self.inputs.rows[t, p][first:last] for t, p, first, last in runs if t == topic]
            yield batch_of(topic, [row for rows in mine for row in rows])

    def hush(self, topic: str, owned: OwnedTask) -> None:
        """Caught up and silent: the clock on the wall stands in for record time."""
        key = topic, owned.partition
        time_ms = self.inputs.silence(key)
        at_end = self.log.position(*key) == self.inputs.written[key] and key not in self.host.blocked()
        if time_ms is not None and at_end and time_ms > owned.task.record_time[topic]:
            self.host.silent(GROUP, owned.partition, topic, time_ms)

    def rests(self) -> bool:
        """Whether everything is read, decided, committed and published."""
        if self.busy or not self.log.rests or self.again or self.fetched:
            return False
        if not self.host.tasks:
            return True
        if self.quiet < QUIET or not self.machine.connection.current:
            return False
        shards = [t.shard for t in self.host.tasks.values()] + [e.shard for e in self.host.evaluators.values()]
        if any(s.in_doubt or s.pending or s.acknowledged or not s.journaled for s in shards):
            return False
        if any(owned.dirty for owned in self.host.tasks.values()):
            return False
        ends = {key: len(rows) for key, rows in self.inputs.rows.items()}
        return all(
            owned.task.offsets[t] == ends[t, p] for (_, p), owned in self.host.tasks.items() for t in owned.task.topics
        )
