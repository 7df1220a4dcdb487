"""P1, P3: which records of the journal count, whenever they come."""

from __future__ import annotations

from copy import deepcopy
from itertools import count
from typing import TYPE_CHECKING

import pytest

from schemas.errors import ConnectionProblem, StateMissing
from schemas.journal import Claim, ClockEntry, Entries, Rebuild
from streams.edges.memory_store import MemoryStore
from streams.engine import fence
from streams.engine.fence import Position
from streams.engine.shard import PROVEN_S, Shard, claim
from tests.sim.kafka import JournalTopic, Producer, SimJournal

if TYPE_CHECKING:
    from schemas.journal import Record
    from streams.engine.store import Commit

SHARD = "{s}"
OWNER = "a"
ONE = ClockEntry(topic="p", time_ms=1, offsets={"p": 1})
TWO = ClockEntry(topic="p", time_ms=2, offsets={"p": 2})


def entries(number: int, *said: ClockEntry) -> Entries:
    """A record of the first owner."""
    return Entries(shard=SHARD, token=OWNER, epoch=1, number=number, entries=list(said))


def test_whoever_has_obeyed_a_record_is_behind_its_repeats() -> None:
    log: list[Record] = [
        Claim(shard=SHARD, token=OWNER, epoch=1, sequence=0),
        entries(0, ONE),
        entries(0, ONE),
        entries(1, TWO),
    ]
    first, second = fence.read(enumerate(log)).pending
    assert (first.entries, second.entries) == ([ONE], [TWO])
    assert first.position == Position(2, 1)

    after = list(enumerate(log))[first.position.offset + 1 :]
    assert [p.entries for p in fence.read(after, first.position).pending] == [[TWO]]


class Machine:
    """A worker: its producer, and its journal over a topic that others write, too."""

    def __init__(self, topic: JournalTopic, store: MemoryStore, token: count[int], *, reaches_kafka: bool) -> None:
        """``reaches_kafka`` False: what it sends stays under way, and it gives every wait up."""
        self.producer = Producer()
        point = self.arrive if reaches_kafka else lambda: None
        self.journal = SimJournal(topic, self.producer, point, lambda: not reaches_kafka)
        self.store, self.token = store, token

    def arrive(self) -> None:
        """Everything under way reaches the topic."""
        while self.producer.under_way:
            self.producer.step("arrives")

    def claim(self) -> Shard:
        """As a worker does."""
        return claim(self.store, self.journal, [SHARD], lambda: f"t{next(self.token)}")[SHARD]


def stage(commit: Commit) -> None:
    """A state of no interest here."""
    commit.body = b"state"


def test_claims_that_were_given_up_void_nothing_of_a_later_owner_after_the_store_went_back() -> None:
    topic, store, token = JournalTopic(), MemoryStore(), count()
    Machine(topic, store, token, reaches_kafka=True).claim().commit(stage)
    before = deepcopy(store._shards)  # noqa: SLF001  # what the store goes back to

    cut_off = Machine(topic, store, token, reaches_kafka=False)
    for _ in range(3):
        with pytest.raises(ConnectionProblem):
            cut_off.claim()
    store._shards = before  # noqa: SLF001

    later = Machine(topic, store, token, reaches_kafka=True)
    shard = later.claim()
    cut_off.arrive()
    shard.note(ONE)
    shard.write()
    later.arrive()
    later.producer.poll()
    assert shard.journaled
    shard.commit(stage)
    assert [p.entries for p in fence.read(enumerate(topic.records)).pending] == [[ONE]]


def test_a_claim_of_before_a_rebuild_that_comes_late_does_not_say_that_the_shard_has_state_again() -> None:
    decided: list[Record] = [Claim(shard=SHARD, token=OWNER, epoch=1, sequence=3), Rebuild(shard=SHARD)]
    late = Claim(shard=SHARD, token=f"{OWNER}2", epoch=2, sequence=3)  # under way when the rebuild was written
    again = [Claim(shard=SHARD, token=f"b{epoch}", epoch=epoch, sequence=epoch - 3) for epoch in (3, 4)]
    found = [fence.read(enumerate([*decided, late, *again[:n]])).begun for n in range(3)]
    assert found == [False, False, True]


def test_a_commit_before_all_entries_are_obeyed_stands_behind_the_rebuild_that_began_anew() -> None:
    topic, store, token = JournalTopic(), MemoryStore(), count()
    topic.append(Rebuild(shard=SHARD, anew=True))
    machine = Machine(topic, store, token, reaches_kafka=True)
    first = machine.claim()
    first.note(ONE)
    first.write()
    machine.arrive()  # and it dies before it commits

    for _ in range(2):
        shard = machine.claim()
        assert [p.entries for p in shard.pending] == [[ONE]]
        shard.commit(stage)


def test_a_shard_whose_first_commit_is_lost_begins_again_and_one_that_had_state_for_longer_is_missed() -> None:
    topic, token = JournalTopic(), count()
    machine = Machine(topic, MemoryStore(), token, reaches_kafka=True)
    shard = machine.claim()
    shard.prove(0.0)  # nothing is committed
    shard.commit(stage)
    shard.prove(100.0)
    shard.prove(100.0 + PROVEN_S / 2)

    machine.store = MemoryStore()
    again = machine.claim()
    assert again.body is None
    again.commit(stage)
    again.prove(200.0)
    again.prove(200.0 + PROVEN_S)
    machine.arrive()

    machine.store = MemoryStore()
    with pytest.raises(StateMissing):
        machine.claim()
