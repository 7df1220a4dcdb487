"""A machine of the protocol's simulation: what a worker and its host do, in the same order, around toys instead of the engine.

The holds on shards, the claims, the fence and the store are the product's own.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import (
    CommitConflict,
    ConnectionProblem,
    DriftlineError,
    OwnershipLost,
    StateMissing,
    StoreRestarted,
)
from schemas.journal import ClockEntry, CommandEntry, DecidedEntry, Rebuild
from schemas.outbox import OutboxEvent
from streams.engine import shard as holds
from tests.sim.consumer import SimLog
from tests.sim.toy import MODEL, PANES, TOPICS, ToyEvaluator, ToyTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.journal import Entry
    from streams.edges.kafka_assignment import Place
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
    again: set[int] = field(default_factory=set)
    """Partitions that are claimed again, and read again from where their state stands, before anything else happens to them."""
    fetched: dict[Place, deque[int]] = field(default_factory=dict)
    """What was read of each partition and not counted yet."""
    kept: dict[str, Owned] = field(default_factory=dict)
    holds: int = 0
    clocks: int = 0
    busy: bool = False

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the machine dies."""
        self.log = SimLog(self.world, self.machine, TOPICS, self.end, self.claim, self.gone)
        while True:
            self.busy = False
            self.world.fibers.point()
            self.busy = True
            try:
                self.step()
            except (StoreRestarted, CommitConflict):
                self.machine.connection.go_on()
                self.distrust()
            except OwnershipLost:
                self.distrust()
                self.again.clear()
                self.kept.clear()
                self.log.rejoin()
            except ConnectionProblem:
                self.log.pause()

    def distrust(self) -> None:
        """Everything is claimed again before anything else happens."""
        self.fetched.clear()
        mine = self.partitions()
        self.again.update(mine)
        self.abandon(mine)

    def partitions(self) -> list[int]:
        """Those whose tasks are ours."""
        return [p for p in range(self.world.partitions) if task_shard(p) in self.owned]

    def rests(self) -> bool:
        """Whether everything is read, decided, committed and published."""
        if self.busy or not self.log.rests or self.again or (self.owned and not self.machine.connection.current):
            return False
        for owned in self.owned.values():
            s = owned.shard
            if owned.dirty or s.in_doubt or s.pending or s.acknowledged or not s.journaled:
                return False
        tasks = [(p, self.task(p)) for p in self.partitions()]
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

    def gone(self, places: list[Place], last_commit: bool) -> None:  # noqa: FBT001  # a callback
        """The group took them; told in time, we commit a last time."""
        for partition in sorted({p for _, p in places}):
            self.again.discard(partition)
            gone = self.release(partition)
            with suppress(DriftlineError):
                for owned in gone:
                    if last_commit and owned.dirty:
                        self.commit(owned)
        if not last_commit:
            self.kept.clear()

    def release(self, partition: int) -> list[Owned]:
        """Let go of what lives with a partition, and what was read of it; it stays in memory for now."""
        for topic in TOPICS:
            self.fetched.pop((topic, partition), None)
        gone = {name: self.owned.pop(name) for name in self.shards(partition) if name in self.owned}
        self.kept.update(gone)
        return list(gone.values())

    def abandon(self, partitions: Iterable[int]) -> None:
        """Let go of all of these, as they are."""
        for partition in partitions:
            self.release(partition)

    def claim(self, places: list[Place]) -> dict[Place, int]:
        """Claim all that lives with these, or nothing; returns the offsets to read from."""
        wanted = sorted({p for _, p in places})
        self.abandon(wanted)
        try:
            self.take_over([name for p in wanted for name in self.shards(p)])
            for topic, partition in places:
                self.log.bounds(topic, partition)
        except Exception as error:
            self.world.note(f"{'one claim' if len(wanted) == 1 else 'many claims'}: {type(error).__name__}")
            self.abandon(wanted)
            raise
        self.kept.clear()
        return {(topic, p): self.task(p).state.offsets[topic] for topic, p in places}

    def claim_again(self) -> None:
        """Claim in place. Only when the tasks are read from where their state stands is it done."""
        again = sorted(self.again)
        if not again:
            return
        starts = self.claim([(topic, p) for topic in TOPICS for p in again])
        try:
            self.log.assign_again(starts)
        except Exception:
            self.abandon(again)
            raise
        self.again.difference_update(again)

    def token(self) -> str:
        """Never one twice."""
        self.holds += 1
        return f"{self.machine.name}.{self.holds}"

    def take_over(self, names: list[str]) -> None:
        """All of these are ours, or none; what is kept in memory goes on where nothing has happened."""
        store, journal = self.machine.connection, self.machine.journal
        try:
            claimed = holds.claim(store, journal, names, self.token)
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
        """One turn of the loop."""
        for topic, partition, first, last in self.log.poll(self.script.most):
            if task_shard(partition) in self.owned:
                self.fetched.setdefault((topic, partition), deque()).extend(range(first, last))
        self.log.hold({place for place, rows in self.fetched.items() if len(rows) > self.script.most})
        self.claim_again()
        self.machine.publisher.poll()
        names = sorted(self.owned)
        if names:
            self.machine.connection.progress(names)  # so a restart is noticed also by those who have nothing to say
        for name in names:
            owned = self.owned[name]
            owned.shard.prove(self.world.now)
            if isinstance(owned.toy, ToyTask):
                self.work(owned, owned.toy)
            else:
                self.decide(owned, owned.toy)
            if (owned.dirty or owned.shard.in_doubt or owned.shard.acknowledged) and self.now():
                self.commit(owned)
        if self.world.calm:
            self.hear_of_owners()
        self.log.resume()

    def hear_of_owners(self) -> None:
        """Who has nothing to commit hears of a later owner only with the next record: here the last one is behind us.

        A machine that slept through a rebalance may have claimed, journaled something, and let go since.
        """
        for name, owned in self.owned.items():
            clean = not (owned.dirty or owned.shard.in_doubt)
            if clean and self.world.store.peek(name).token != owned.shard.token:
                raise OwnershipLost(f"{name} belonged to another machine since", "claim again")

    def now(self) -> bool:
        """Whether to do at once what could be done later."""
        return self.world.calm or self.world.whim(2) == 0

    def work(self, owned: Owned, task: ToyTask) -> None:
        """Count what was read, look at the clock."""
        if owned.shard.in_doubt:
            return
        partition = int(task.shard.strip("{}").split()[1])
        for topic in TOPICS:
            log, rows = self.script.logs[topic, partition], self.fetched.get((topic, partition), deque())
            self.obey(owned, task)
            while rows:
                entry = owned.shard.next_entry
                if entry is not None and rows[0] >= stop(entry, topic):
                    break
                task.take(topic, rows[0], log[rows.popleft()])
                owned.dirty = True
                self.obey(owned, task)
            if not rows and self.log.position(topic, partition) == self.end(topic, partition):
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
