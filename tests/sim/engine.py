"""One simulation of the whole engine, from its seed to its verdict."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from schemas.journal import Entries
from schemas.outbox import payload
from streams.digest import parts
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.records import batch_of
from streams.host import Host
from streams.replay import window_records
from tests.oracle import themes
from tests.oracle.themes import PARTITIONS, THEMES
from tests.property.whole import GROUP
from tests.sim import naive
from tests.sim.choices import Dice
from tests.sim.engine_machine import EngineMachine, Inputs, used_plan
from tests.sim.world import Hazards, World

if TYPE_CHECKING:
    from tests.oracle.themes import History

LARGE_EVERY = 11
"""One history of so many is large: enough rows that alerts open and resolve, for five times the time. No multiple of the themes."""


def profile(seed: int) -> tuple[Hazards, History, int, Dice]:
    """What may go wrong in the history of this seed, and what there is to read."""
    dice = Dice(seed)
    some = dice.some
    hazards = Hazards(
        switch=some(0.02, 0.1, 0.5),
        arrival=some(0.5, 2.0),
        resend=some(0.0, 0.02),
        second=some(0.0, 0.0, 0.01),
        late=some(0.05, 0.3),
        crash=some(0.0, 0.003, 0.01),
        sleep=some(0.0, 0.003, 0.01),
        wake=some(0.02, 0.2),
        move=some(0.0, 0.003, 0.01),
        rewind=some(0.0, 0.003, 0.01),
        command=some(0.0, 0.02, 0.1),
        impatience=some(0.0, 0.02),
        most=some(1, 2, 4),
        machines=some(1, 2, 2),
        trouble=some(200, 400, 600),
        assign=some(0.0, 0.05, 0.2),
        group=some("consumer", "classic"),
    )
    theme = sorted(THEMES)[seed % len(THEMES)]
    if seed % LARGE_EVERY == LARGE_EVERY - 1:
        return replace(hazards, trouble=some(300, 600)), themes.history(theme, seed, "large"), some(50, 200), dice
    return hazards, themes.history(theme, seed, "small"), some(3, 10, 30), dice


_ONE = "one worker"


class Undisturbed:
    """The same inputs and the same journal, read by one process that nothing happens to."""

    def __init__(self, history: History, inputs: Inputs, journal: list[Any]) -> None:
        """Claim everything; then read."""
        world = history.world
        self.store, self.publisher = MemoryStore(), MemoryPublisher()
        self.journal = MemoryJournal(counting(journal))
        args = (
            world.config,
            {GROUP: used_plan(world)},
            {GROUP: PARTITIONS},
            self.store,
            self.publisher,
            self.journal,
            None,
        )
        self.host = Host(*args, lambda: 0.0, lambda: "")
        left = {key: list(rows) for key, rows in inputs.rows.items()}
        for p in range(PARTITIONS):
            self.host.claim([(GROUP, p)])
        moved = True
        while moved:
            moved = False
            for (topic, p), rows in left.items():
                if rows and (topic, p) not in self.host.blocked():
                    self.host.take(batch_of(topic, rows))
                    rows.clear()
                    moved = True
            for owned in self.host.tasks.values():
                if owned.dirty:
                    self.host.commit(owned)
            while self.host.evaluate(GROUP):
                moved = True


def counting(journal: list[Any]) -> list[Entries]:
    """The records that count, by slow and plain code, as if one worker had written them.

    A record counts unless what stands before it has a higher epoch, or it stood before, too.
    """
    found: list[Entries] = []
    for at, record in enumerate(journal):
        if isinstance(record, Entries):
            before = [r for r in journal[:at] if r.shard == record.shard]
            repeat = any(
                isinstance(r, Entries) and (r.token, r.number) == (record.token, record.number) for r in before
            )
            if record.epoch >= naive.epoch(before) and not repeat:
                mine = sum(r.shard == record.shard for r in found)
                found.append(Entries(shard=record.shard, epoch=0, token=_ONE, number=mine, entries=record.entries))
    return found


def events(published: list[Any], topics: set[str]) -> dict[str, bytes]:
    """Payloads by id. Raises AssertionError when an id has two."""
    found: dict[str, bytes] = {}
    for event in published:
        if event.topic in topics:
            told = payload(event.value)
            assert found.setdefault(event.event_id, told) == told, f"two payloads of {event.event_id}"
    return found


def check(world: World, history: History, inputs: Inputs) -> None:
    """The end is that of the undisturbed run: state, windows, events by id and payload."""
    config = history.world.config
    expected = Undisturbed(history, inputs, world.journal.records)
    args = (config, {GROUP: used_plan(history.world)}, {GROUP: PARTITIONS}, world.store, MemoryPublisher())
    found = Host(*args, MemoryJournal(world.journal.records), None, lambda: 0.0, lambda: "")
    found.token = "the end"  # noqa: S105  # no password
    for p in range(PARTITIONS):
        found.claim([(GROUP, p)])
    for key, owned in expected.host.tasks.items():
        assert owned.task.outcomes() == found.tasks[key].task.outcomes(), f"the ledger of {key}"
    outputs = {config.topics.alerts, config.topics.retrain}
    told, said = events(expected.publisher.events, outputs), events(world.outputs.events, outputs)
    assert sorted(told) == sorted(said), f"events {sorted(set(told) ^ set(said))}"
    assert told == said, "payloads"
    assert list(window_records(expected.store, expected.host)) == list(window_records(world.store, found)), "windows"
    assert parts(expected.store, expected.host) == parts(world.store, found), "parts of the digest"


def run(seed: int) -> World:
    """The simulation of a seed; a failure says which one it was."""
    hazards, history, most, dice = profile(seed)
    inputs: Inputs

    def program(world: World, machine: Any) -> EngineMachine:  # noqa: ANN401  # a Machine
        return EngineMachine(world, machine, inputs, history)

    world = World(dice, hazards, PARTITIONS, program)
    inputs = Inputs(world, history, most)
    try:
        world.run()
        check(world, history, inputs)
        world.met |= {"events": len(world.outputs.events), "commands": len(inputs.commands)}
    except Exception as error:
        error.add_note(f"the seed is {seed} (python -m tests.sim.engine {seed})")
        raise
    return world


if __name__ == "__main__":
    print(run(int(sys.argv[1])).met)  # noqa: T201  # asked for
