"""A machine of the protocol's simulation: what a worker and its host do, in the same order, around toys instead of the engine.

The holds on shards, the claims, the fence and the store are the product's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import CommitConflict, ConnectionProblem, OwnershipLost, StateMissing, StoreRestarted
from schemas.journal import ClockEntry, CommandEntry, DecidedEntry, Rebuild
from schemas.outbox import OutboxEvent
from streams.engine import shard as holds
from tests.sim.toy import MODEL, PANES, TOPICS, ToyEvaluator, ToyTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.journal import Entry
    from streams.engine.shard import Shard
    from tests.sim.world import Machine, World

EVALUATOR = "{evaluator}"


def task_shard(partition: int) -> str:
    """The shard of a partition's task."""
    return f"{{task {partition}}}"


@dataclass(frozen=True, slots=True)
class Script:
    """What there is to read: values by topic and partition, words of command, and how often a clock may be looked at."""

    logs: Mapping[tuple[str, int], Sequence[int]]
    commands: Sequence[str]
    clocks: int
    most: int = 4
    """Records taken at a time, at most."""
    every: int = 10
    """Choices after which each log has a record more."""
    evaluator: bool = True


@dataclass(eq=False, slots=True)
class Owned:
    """A toy with our hold on its shard."""

    toy: ToyTask | ToyEvaluator
    shard: Shard
    dirty: bool = False
    fenced: int = -1


@dataclass(eq=False)
class ToyHost:
    """One machine's tasks, and the evaluator where partition 0 is."""

    world: World
    machine: Machine
    script: Script
    owned: dict[str, Owned] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    kept: dict[str, Owned] = field(default_factory=dict)
    holds: int = 0
    clocks: int = 0
    busy: bool = False

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the machine dies."""
        while True:
            self.busy = False
            self.world.fibers.point()
            self.busy = True
            try:
                self.rebalance()
                self.step()
            except StoreRestarted:
                self.machine.connection.go_on()
                self.again()
            except CommitConflict:
                self.again()
            except OwnershipLost:
                for known in (self.owned, self.kept, self.generations):
                    known.clear()
                self.world.give_again(self.machine)
            except ConnectionProblem:
                continue

    def again(self) -> None:
        """Claim in place what is ours."""
        self.kept = dict(self.owned)
        self.owned.clear()
        self.generations.clear()

    def rests(self) -> bool:
        """Whether everything is read, decided, committed and published."""
        if self.busy or self.machine.given != self.generations or (self.owned and not self.machine.connection.current):
            return False
        for owned in self.owned.values():
            s = owned.shard
            if owned.dirty or s.in_doubt or s.pending or s.acknowledged or not s.journaled:
                return False
        tasks = [(p, self.task(p)) for p in self.generations]
        if any(t.state.offsets[topic] < len(self.script.logs[topic, p]) for p, t in tasks for topic in TOPICS):
            return False
        return EVALUATOR not in self.owned or self.evaluator_rests()

    def evaluator_rests(self) -> bool:
        """Whether the evaluator has decided on everything."""
        evaluator = self.owned[EVALUATOR].toy
        assert isinstance(evaluator, ToyEvaluator)
        ends = [len(self.script.logs["b", p]) // 2 for p in range(self.world.partitions)]
        return evaluator.state.cursor == min(ends) and evaluator.state.control == len(self.script.commands)

    def task(self, partition: int) -> ToyTask:
        """The toy of a partition."""
        toy = self.owned[task_shard(partition)].toy
        assert isinstance(toy, ToyTask)
        return toy

    # -- ownership ----------------------------------------------------------------------------------------------------

    def shards(self, partition: int) -> list[str]:
        """What lives with a partition."""
        return [task_shard(partition)] + ([EVALUATOR] if partition == 0 and self.script.evaluator else [])

    def rebalance(self) -> None:
        """Let go of what is no longer ours, and claim what is new."""
        for partition, generation in sorted(self.generations.items()):
            if self.machine.given.get(partition) == generation:
                continue
            del self.generations[partition]
            gone = {name: self.owned.pop(name) for name in self.shards(partition) if name in self.owned}
            self.kept.update(gone)
            if self.world.chance(0.5):  # told that they go: a last commit. Otherwise they are lost
                for owned in gone.values():
                    if owned.dirty:
                        self.commit(owned)
        for partition, generation in sorted(self.machine.given.items()):
            if partition not in self.generations:
                self.claim(partition)
                self.generations[partition] = generation
        self.kept.clear()

    def token(self) -> str:
        """Never one twice."""
        self.holds += 1
        return f"{self.machine.name}.{self.holds}"

    def claim(self, partition: int) -> None:
        """Take over what lives with a partition; what is kept in memory goes on where nothing has happened."""
        store, journal = self.machine.connection, self.machine.journal
        try:
            claimed = holds.claim(store, journal, self.shards(partition), self.token)
        except StateMissing as error:
            self.rebuild(str(error).partition(":")[0])
            raise ConnectionProblem("rebuilt", "claim again") from error
        taken: dict[str, Owned] = {}
        for name, shard in claimed.items():
            kept = self.kept.pop(name, None)
            if kept is not None and shard.succeeds(kept.shard):
                if kept.shard.happened(shard.found):
                    kept.toy.committed()
                    kept.dirty = False
                taken[name] = Owned(kept.toy, shard, kept.dirty)
                self.world.note("kept in memory")
            else:
                made = ToyEvaluator if name == EVALUATOR else ToyTask
                taken[name] = Owned(made(name, shard.body), shard)
            if shard.pending:
                self.world.note("entries to obey")
        for name, owned in taken.items():
            waiting = self.machine.connection.outbox(name)
            events = [(n, msgspec.msgpack.decode(data, type=OutboxEvent)) for n, data in sorted(waiting.items())]
            self.publish(owned.shard, events)
        self.owned.update(taken)

    def rebuild(self, shard: str) -> None:
        """The store went back before a shard's first commit: an operator says that it may begin again."""
        if self.world.store.peek(shard).body is None:  # otherwise another machine has done so meanwhile
            self.world.note("rebuilt")
            self.world.journal.append(Rebuild(shard=shard))

    # -- work ---------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One of the things that a worker does in its loop."""
        self.machine.publisher.poll()
        names = sorted(self.owned)
        if names:
            self.machine.connection.progress(names)  # so a restart is noticed also by those who have nothing to say
        for name in names:
            owned = self.owned[name]
            if isinstance(owned.toy, ToyTask):
                self.work(owned, owned.toy)
            else:
                self.decide(owned, owned.toy)
            if (owned.dirty or owned.shard.in_doubt or owned.shard.acknowledged) and self.now():
                self.commit(owned)

    def now(self) -> bool:
        """Whether to do at once what could be done later."""
        return self.world.calm or self.world.whim(2) == 0

    def work(self, owned: Owned, task: ToyTask) -> None:
        """Take some records, look at the clock."""
        if owned.shard.in_doubt:
            return
        partition = int(task.shard.strip("{}").split()[1])
        for topic in TOPICS:
            log, at = self.script.logs[topic, partition], task.state.offsets[topic]
            room = min(self.end(topic, partition), at + self.script.most) - at
            for offset in range(at, at + (1 + self.world.whim(room) if room else 0)):
                self.obey(owned, task)
                entry = owned.shard.next_entry
                if entry is not None and offset >= stop(entry, topic):
                    break
                task.take(topic, offset, log[offset])
                owned.dirty = True
            self.obey(owned, task)
            if task.state.offsets[topic] == self.end(topic, partition):
                self.look_at_clock(owned, task, topic)

    def end(self, topic: str, partition: int) -> int:
        """How far the log is written by now."""
        whole = len(self.script.logs[topic, partition])
        return whole if self.world.calm else min(whole, 1 + self.world.turns // self.script.every)

    def look_at_clock(self, owned: Owned, task: ToyTask, topic: str) -> None:
        """A topic that is caught up and silent may be told the time, which is in no log."""
        if owned.shard.settled and self.clocks < self.script.clocks and not self.world.calm and self.now():
            self.clocks += 1
            time_ms = self.world.turns
            task.set_clock(topic, time_ms)
            owned.shard.note(ClockEntry(topic=topic, time_ms=time_ms, offsets=dict(task.state.offsets)))
            owned.dirty = True

    def obey(self, owned: Owned, task: ToyTask) -> None:
        """Let the next entries take effect, as far as all records before them are counted."""
        while (entry := owned.shard.next_entry) is not None:
            if any(task.state.offsets[topic] < stop(entry, topic) for topic in TOPICS):
                return
            assert isinstance(entry, ClockEntry)
            task.set_clock(entry.topic, entry.time_ms)
            owned.shard.obeyed()
            owned.dirty = True

    def decide(self, owned: Owned, evaluator: ToyEvaluator) -> None:
        """Decide what can be decided, up to where a command took effect; then a new command, maybe."""
        if owned.shard.in_doubt:
            return
        store, tasks = self.machine.connection, [task_shard(p) for p in range(self.world.partitions)]
        progress = [msgspec.msgpack.decode(data, type=int) if data else 0 for data in store.progress(tasks)]
        while True:
            entry = owned.shard.next_entry
            if isinstance(entry, CommandEntry | DecidedEntry) and evaluator.state.cursor == entry.cursors[0]:
                if isinstance(entry, CommandEntry):
                    evaluator.command(entry.offset, str(entry.command["word"]))
                owned.shard.obeyed()
                owned.dirty = True
                continue
            if evaluator.state.cursor >= min(progress):
                break
            cell = (PANES, MODEL, evaluator.state.cursor)
            panes = store.cells([(shard, cell) for shard in tasks])
            if None in panes:  # a task went back meanwhile: it will come here again
                break
            evaluator.decide([data or b"" for data in panes])
            owned.dirty = True
        control = evaluator.state.control
        if owned.shard.settled and control < len(self.script.commands) and self.now():
            word = self.script.commands[control]
            cursors = (evaluator.state.cursor, 0, 0, 0, 0)
            evaluator.command(control, word)
            owned.shard.note(
                CommandEntry(partition=0, offset=control, cursors=cursors, command={"word": word}, applied=True)
            )
            owned.dirty = True

    def commit(self, owned: Owned) -> None:
        """The journal first, then the state, then the events."""
        if isinstance(owned.toy, ToyEvaluator):
            self.fence(owned, owned.toy)
        owned.shard.write()
        if not owned.shard.journaled:
            self.machine.journal.settled()
        if owned.shard.journaled:
            owned.shard.commit(owned.toy.stage)
            owned.dirty = False
            self.publish(owned.shard, owned.toy.committed())

    def fence(self, owned: Owned, evaluator: ToyEvaluator) -> None:
        """No new command may slip in before what is going to be published."""
        cursor = evaluator.state.cursor
        if evaluator.decided and owned.shard.settled and owned.fenced != cursor:
            owned.fenced = cursor
            owned.shard.note(DecidedEntry(cursors=(cursor, 0, 0, 0, 0)))

    def publish(self, shard: Shard, events: list[tuple[int, OutboxEvent]]) -> None:
        """Send events; their acknowledgement goes with the next commit."""
        for number, event in events:
            self.machine.publisher.publish(event, partial(shard.acknowledged.append, number))


def stop(entry: Entry, topic: str) -> int:
    """The first offset that an entry does not let in before it has taken effect."""
    return entry.offsets.get(topic, 0) if isinstance(entry, ClockEntry) else 0
