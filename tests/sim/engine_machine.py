"""A machine of the engine's simulation: the product's own ``Host`` with everything in it, in the loop that a worker runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from schemas.control import Command, RetrainFailed, RetrainStarted, RetrainSucceeded
from schemas.errors import CommitConflict, ConnectionProblem, OwnershipLost, StateMissing, StoreRestarted
from schemas.journal import Rebuild
from streams.engine.records import batch_of
from streams.host import Host
from tests.oracle.histories import label_bytes, prediction_bytes
from tests.oracle.join_oracle import Prediction
from tests.oracle.themes import PARTITIONS
from tests.property.whole import GROUP, plan_of

if TYPE_CHECKING:
    from tests.oracle.themes import History
    from tests.oracle.worlds import World as Watched
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
    generations: dict[int, int] = field(default_factory=dict)
    again: set[int] = field(default_factory=set)
    busy: bool = False
    paused: bool = False
    """Something was away: nothing is taken before a whole turn went well."""
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
        while True:
            self.busy = False
            self.world.fibers.point()
            self.busy = True
            self.world.now += TURN_S
            try:
                self.rebalance()
                self.step()
                self.paused = False
            except StateMissing as error:
                self.rebuild(error)
            except (StoreRestarted, CommitConflict):
                connection.go_on()
                self.distrust()
            except OwnershipLost:
                self.distrust()
                self.again.clear()
                self.generations.clear()
                self.host.forget()
                self.world.give_again(self.machine)
            except ConnectionProblem:
                self.paused = True

    def distrust(self) -> None:
        """Everything is claimed again before anything else happens."""
        for group, partition in list(self.host.tasks):
            self.again.add(partition)
            self.host.release(group, partition, commit=False)

    def rebuild(self, error: StateMissing) -> None:
        """The store went back before a shard's first commit: an operator says that it may begin again."""
        shard = str(error).partition(": ")[0]
        assert "the journal knows of commits" in str(error), error
        if self.world.store.peek(shard).body is None:
            self.world.note("rebuilt")
            self.world.journal.append(Rebuild(shard=shard))

    # -- ownership ----------------------------------------------------------------------------------------------------

    def rebalance(self) -> None:
        """Let go of what is no longer ours, and claim what is new."""
        for partition, generation in sorted(self.generations.items()):
            if self.machine.given.get(partition) != generation:
                del self.generations[partition]
                self.again.discard(partition)
                if self.world.whim(2):
                    self.host.release(GROUP, partition, commit=True)
                else:
                    self.host.release(GROUP, partition, commit=False)
                    self.host.forget()
        for partition, generation in sorted(self.machine.given.items()):
            if self.generations.get(partition) != generation or partition in self.again:
                self.host.release(GROUP, partition, commit=False)
                self.host.claim([(GROUP, partition)])
                self.again.discard(partition)
                self.generations[partition] = generation
        self.host.forget()

    # -- work ---------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn of the loop."""
        self.inputs.go_on()
        self.inputs.answer()
        for _, partition in sorted(self.host.tasks):
            for topic in self.host.topics[GROUP]:
                self.take(topic, partition)
        for offset, command in enumerate(self.inputs.commands):
            if not self.host.command(GROUP, command, 0, offset):
                break
        for _, partition in sorted(self.host.tasks):
            for topic in self.host.topics[GROUP]:
                self.hush(topic, partition)
        more = self.host.tick()
        now = len(self.world.outputs.events), len(self.world.journal.records), self.world.store.commits
        self.quiet = self.quiet + 1 if now == self.seen and not more else 0
        self.seen = now

    def take(self, topic: str, partition: int) -> None:
        """Some records of a side."""
        if self.paused or (topic, partition) in self.host.blocked():
            return
        at, end = self.host.tasks[GROUP, partition].task.offsets[topic], self.inputs.written[topic, partition]
        rows = self.inputs.rows[topic, partition][at:end][: 1 + self.world.whim(self.inputs.most)]
        if rows:
            self.host.take(batch_of(topic, rows))

    def hush(self, topic: str, partition: int) -> None:
        """Caught up and silent: the clock on the wall stands in for record time."""
        task = self.host.tasks[GROUP, partition].task
        time_ms = self.inputs.silence((topic, partition))
        at_end = task.offsets[topic] == self.inputs.written[topic, partition]
        if time_ms is not None and at_end and time_ms > task.record_time[topic]:
            self.host.silent(GROUP, partition, topic, time_ms)

    def rests(self) -> bool:
        """Whether everything is read, decided, committed and published."""
        if self.busy or self.machine.given != self.generations or self.again:
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
