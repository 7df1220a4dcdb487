"""Every history of a short script, within bounds: two machines, and at every effect whatever may go wrong there.

Without trouble the machines take turns, and what is under way arrives at once. From that a history departs a few times, at any
effects: the partition is given to the other machine, the other machine goes on in the midst of this one's turn, a machine
dies (and what it had under way is lost, or arrives), an answer of the store is lost or a command arrives late, the store
restarts without any number of its last changes, or a partition that was claimed cannot be assigned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.sim.choices import branches
from tests.sim.protocol import check
from tests.sim.redis import TROUBLES, Trouble
from tests.sim.toy_host import Script, ToyHost
from tests.sim.world import Hazards, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sim.choices import Choices
    from tests.sim.fibers import Fiber

LOST_AT_MOST = 2
"""Changes of the store that a restart loses: a commit, and the claim before it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often each departure may happen in one history."""

    moves: int = 0
    switches: int = 0
    crashes: int = 0
    troubles: int = 0
    restarts: int = 0
    assigns: int = 0
    """Assignments that fail."""


class ShortWorld(World):
    """A world in which only what the bounds allow goes wrong."""

    def __init__(self, choices: Choices, bounds: Bounds, script: Script) -> None:
        """Two machines, one partition."""
        super().__init__(choices, Hazards(trouble=0), 1, lambda world, machine: ToyHost(world, machine, script))
        self._left = {
            "move": bounds.moves,
            "switch": bounds.switches,
            "crash": bounds.crashes,
            "trouble": bounds.troubles,
            "restart": bounds.restarts,
            "assign": bounds.assigns,
        }
        self._turn_of: Fiber | None = None

    def whim(self, count: int) -> int:
        """Machines do things at once, and as much as they can."""
        return count - 1 if count > 2 else 0

    def chance(self, share: float, what: str = "") -> bool:  # noqa: ARG002  # every chance is taken, and not taken
        """Only what the bounds name goes wrong."""
        if "assignment" not in what or not self._left["assign"] or not self._pick(2):
            return False
        self._left["assign"] -= 1
        self.note(what)
        return True

    @property
    def calm(self) -> bool:
        """The log is whole from the beginning; clocks are looked at."""
        return False

    def _trouble(self, what: str, _: str) -> Trouble:
        if what == "read" or not self._left["trouble"]:
            return ""
        kind = self._pick(1 + len(TROUBLES))
        if not kind:
            return ""
        self._left["trouble"] -= 1
        self.note("trouble")
        return TROUBLES[kind - 1]

    def _choose(self) -> Fiber | None:
        while True:
            self.turns += 1
            if self._all_rest():
                return None
            names = ["", *(name for name, left in self._left.items() if left and name not in {"trouble", "assign"})]
            name = names[self._pick(len(names))] if self._turn_of is not None else ""
            if name:
                self._left[name] -= 1
                self.note(name)
            if name == "move":
                owner = next(i for i, m in enumerate(self.machines) if m.given)
                self._give({0: 1 - owner})
            elif name == "crash":
                self._crash()
            elif name == "restart":
                self.store.restart(self._pick(LOST_AT_MOST + 1))
            else:
                self._arrive()
                running = next((m.program for m in self.machines if m.fiber is self.fibers.running), None)
                if self.store.late and (running is None or not running.busy) and self._pick(2):
                    self.store.late.pop()()
                other = next((m.fiber for m in self.machines if m.fiber is not self.fibers.running), None)
                self._turn_of = other if name == "switch" else self._next()
                return self._turn_of

    def _crash(self) -> None:
        """The machine whose turn it is dies."""
        dead = next((m for m in self.machines if m.fiber is self._turn_of), self.machines[0])
        assert dead.fiber is not None
        self.fibers.kill(dead.fiber)
        if dead.producer.under_way and self._pick(2):
            self.orphans.append(dead.producer)
        self._start()
        self.machines.remove(dead)
        if dead.given:
            self._give({0: 0})
        self._turn_of = None


def every_history(bounds: Bounds, script: Script) -> Iterator[World]:
    """Run all of them, each to its verdict."""
    for branch in branches():
        world = ShortWorld(branch, bounds, script)
        try:
            world.run()
            check(world, script)
        except Exception as error:
            error.add_note(f"the branch is {branch.taken} of {bounds}")
            raise
        yield world
