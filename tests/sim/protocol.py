"""One simulation of the protocol, from its choices to its verdict."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tests.sim import naive
from tests.sim.choices import Dice
from tests.sim.toy_host import EVALUATOR, Script, ToyHost, task_shard
from tests.sim.world import Hazards, World

if TYPE_CHECKING:
    from tests.sim.choices import Choices


def simulate(choices: Choices, hazards: Hazards, script: Script, partitions: int) -> World:
    """Run it, and hold the end against what must come of its logs."""
    world = World(choices, hazards, partitions, lambda world, machine: ToyHost(world, machine, script))
    world.run()
    check(world, script)
    return world


def check(world: World, script: Script) -> None:
    """Every record counted once, every entry obeyed once and in its place, every event published, one payload an id."""
    records = world.journal.records
    expected_events: dict[str, Any] = {}
    panes: list[list[int]] = []
    for p in range(world.partitions):
        state, closed, events = naive.task(script, p, naive.obeyed(records, task_shard(p)))
        body = world.store.peek(task_shard(p)).body
        assert body is not None
        assert state == msgspec.msgpack.decode(body), f"the state of {task_shard(p)}"
        logs = {topic: bytes(range(offset)) for topic, offset in state["offsets"].items() if offset}
        assert logs == world.store.segments(task_shard(p)), f"the appended logs of {task_shard(p)}"
        expected_events |= events
        panes.append(closed)
    if script.evaluator:
        state, events = naive.evaluator(panes, naive.obeyed(records, EVALUATOR))
        body = world.store.peek(EVALUATOR).body
        found = msgspec.msgpack.decode(body) if body else {"cursor": 0, "control": 0, "commands": 0, "chain": 0}
        assert state == found, "the state of the evaluator"
        expected_events |= events
    expected, published = expected_events, naive.published(world.outputs.events)
    assert expected == published, f"events: {set(expected.items()) ^ set(published.items())}"


def profile(seed: int) -> tuple[Hazards, Script, int, Dice]:
    """What may go wrong in the history of this seed, and what there is to read."""
    dice = Dice(seed)
    random = dice.random
    some = dice.some
    hazards = Hazards(
        switch=some(0.1, 0.5, 1.0),
        arrival=some(0.1, 0.5, 1.0),
        resend=some(0.0, 0.0, 0.1),
        second=some(0.0, 0.01, 0.05),
        late=some(0.05, 0.3),
        crash=some(0.0, 0.01, 0.05),
        sleep=some(0.0, 0.01, 0.05),
        wake=some(0.02, 0.2),
        move=some(0.0, 0.01, 0.05),
        rewind=some(0.0, 0.01, 0.05),
        command=some(0.0, 0.05, 0.2),
        impatience=some(0.0, 0.05),
        most=some(1, 2, 5),
        machines=some(1, 2, 2, 3),
        trouble=some(60, 120, 240),
        assign=some(0.0, 0.05, 0.15),
        group=some("consumer", "classic"),
    )
    partitions = some(1, 1, 2)
    logs = {
        (topic, p): [random.randrange(9) for _ in range(random.randrange(2, 12))]
        for topic in ("a", "b")
        for p in range(partitions)
    }
    script = Script(
        logs, ["x", "y", "z"][: random.randrange(4)], clocks=some(0, 2, 4), most=some(1, 2, 5), every=some(1, 8, 15)
    )
    return hazards, script, partitions, dice


def run(seed: int, **changes: Any) -> World:  # noqa: ANN401  # fields of Hazards
    """The simulation of a seed, with other hazards maybe; a failure says which one it was."""
    hazards, script, partitions, dice = profile(seed)
    try:
        return simulate(dice, replace(hazards, **changes), script, partitions)
    except Exception as error:
        error.add_note(f"the seed is {seed} (python -m tests.sim.protocol {seed})")
        raise


if __name__ == "__main__":
    print(run(int(sys.argv[1])).met)  # noqa: T201  # asked for
