"""The world of a simulation: who runs, what is on its way, and everything that can go wrong, one choice after the other.

Processes are ``Machine``s; each runs a program that comes to an effect again and again. Between two effects the world may let
something under way arrive, crash a machine and start another, give partitions to other machines, let a machine sleep through
it all (a zombie), or restart the store without its last changes. After ``trouble`` choices nothing goes wrong any more: what is
under way arrives, and the machines come to rest. Then the end is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.sim.fibers import Fiber, Fibers
from tests.sim.kafka import FATES, JournalTopic, OutputTopics, Producer, SimJournal, SimPublisher
from tests.sim.redis import TROUBLES, Connection, RewindingStore, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.sim.choices import Choices

PATIENCE = 5_000
"""Choices without trouble after which the machines should have come to rest: a hundred times what they need."""
RESTART_S = 1.0
"""How much of its time a restarted store may have lost."""


@dataclass(frozen=True, slots=True)
class Hazards:
    """How often each thing happens, as a weight beside 1 for "the machine goes on", and how often at most."""

    switch: float = 0.3
    arrival: float = 0.5
    resend: float = 0.0
    second: float = 0.1
    late: float = 0.3
    crash: float = 0.0
    sleep: float = 0.0
    wake: float = 0.05
    move: float = 0.0
    rewind: float = 0.0
    command: float = 0.0
    """The share of commands to the store that meet trouble."""
    impatience: float = 0.0
    """The share of turns at which a machine that waits for the journal gives up."""
    assign: float = 0.0
    """The share of questions about a partition, and of assignments, that fail (three chances at each claim)."""
    group: str = "consumer"
    """The group's protocol: with "classic" each rebalance takes everything and gives everything, otherwise what changes."""
    most: int = 6
    """How many crashes, moves, sleeps and restarts there are at most, each."""
    machines: int = 2
    trouble: int = 150


class RestlessError(Exception):
    """The machines did not come to rest in time: of a protection that was taken out this proves nothing."""


class Program(Protocol):
    """What a machine runs. ``busy``: it is within a turn of its loop."""

    busy: bool

    def run(self) -> None:
        """Come to an effect again and again, until the machine dies."""
        ...

    def rests(self) -> bool:
        """Whether it has done everything that there is to do."""
        ...


@dataclass(eq=False)
class Machine:
    """A process: its connection and its producer, what the group has given it, and whether it sleeps."""

    name: str
    connection: Connection
    journal: SimJournal
    publisher: SimPublisher
    producer: Producer
    given: dict[int, int] = field(default_factory=dict)
    """Partitions, and the generation in which each was given."""
    asleep: bool = False
    fiber: Fiber | None = None
    program: Program | None = None


class World:
    """Everything around the machines. ``program`` makes what a machine runs."""

    def __init__(
        self, choices: Choices, hazards: Hazards, partitions: int, program: Callable[[World, Machine], Program]
    ) -> None:
        """Start the machines."""
        self.choices, self.hazards, self.partitions, self._program = choices, hazards, partitions, program
        self.now = 0.0
        self.store = RewindingStore(lambda: self.now)
        self.journal, self.outputs = JournalTopic(), OutputTopics()
        self.fibers = Fibers(self._choose)
        self.machines: list[Machine] = []
        self.orphans: list[Producer] = []
        """What dead machines have under way."""
        self.generation = 0
        self.met: dict[str, int] = {}
        """What went wrong, each so often."""
        self.turns = self._started = self._rounds = 0

    # -- machines -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until all is done."""
        for _ in range(self.hazards.machines):
            self._start()
        self._give({p: self._pick(len(self.machines)) for p in range(self.partitions)})
        self.fibers.run()

    def _start(self) -> Machine:
        self._started += 1
        producer = Producer()
        machine = Machine(
            f"w{self._started}",
            Connection(self.store, self.fibers.point, self._trouble),
            SimJournal(self.journal, producer, self.fibers.point, self._gives_up),
            SimPublisher(self.outputs, producer, self.fibers.point),
            producer,
        )

        def live() -> None:
            machine.program = self._program(self, machine)
            machine.program.run()

        machine.fiber = self.fibers.begin(live)
        self.machines.append(machine)
        return machine

    def _give(self, owners: Mapping[int, int]) -> None:
        """A rebalance: each partition to the machine at that place. Whoever loses one hears of it when it next asks."""
        self.generation += 1
        for partition, place in owners.items():
            for at, machine in enumerate(self.machines):
                if at == place:
                    machine.given.setdefault(partition, self.generation)
                else:
                    machine.given.pop(partition, None)

    def give_again(self, machine: Machine) -> None:
        """A machine left the group and came back: what it has is given to it anew."""
        self.generation += 1
        machine.given = dict.fromkeys(machine.given, self.generation)

    # -- chances ------------------------------------------------------------------------------------------------------

    @property
    def calm(self) -> bool:
        """Nothing goes wrong any more."""
        return self.turns >= self.hazards.trouble

    def _pick(self, count: int) -> int:
        return self.choices.pick([1.0] * count) if count > 1 else 0

    def whim(self, count: int) -> int:
        """One of several things that a machine may as well do."""
        return self._pick(count)

    def chance(self, share: float, what: str = "") -> bool:
        """Whether something befalls a machine that does so in this share of all cases."""
        if self.calm or not share or not self._allowed(what):
            return False
        if self.choices.pick([1 - share, share]):
            if what:
                self.note(what)
            return True
        return False

    def _allowed(self, what: str) -> bool:
        return self.met.get(what, 0) < self.hazards.most

    def note(self, what: str) -> None:
        """Something happened."""
        self.met[what] = self.met.get(what, 0) + 1

    def _trouble(self, what: str, _: str) -> Trouble:
        """What befalls a command to the store."""
        if not self.chance(self.hazards.command / 9 if what == "read" else self.hazards.command, "trouble"):
            return ""
        kinds = TROUBLES[:1] if what == "read" else TROUBLES
        kind = kinds[self._pick(len(kinds))]
        self.note(f"{what} {kind}")
        return kind

    def _gives_up(self) -> bool:
        return self.chance(self.hazards.impatience, "gave up on the journal")

    # -- what happens next --------------------------------------------------------------------------------------------

    def _choose(self) -> Fiber | None:
        """Let things happen until a machine goes on."""
        while True:
            self.turns += 1
            if self.turns > self.hazards.trouble:
                return self._choose_calmly()
            happenings = self._happenings()
            weights = [weight for weight, _ in happenings]
            chosen = happenings[self.choices.pick(weights)][1]()
            if chosen is not None:
                return chosen

    def _happenings(self) -> list[tuple[float, Callable[[], Fiber | None]]]:
        """What can happen now, each with its weight."""
        return self._turns_of_machines() + self._arrivals() + self._troubles()

    def _turns_of_machines(self) -> list[tuple[float, Callable[[], Fiber | None]]]:
        running, switch = self.fibers.running, self.hazards.switch
        fibers = [m.fiber for m in self.machines if m.fiber is not None and not m.asleep]
        return [(1.0 if fiber is running else switch, lambda fiber=fiber: fiber) for fiber in fibers]  # type: ignore[misc]

    def _arrivals(self) -> list[tuple[float, Callable[[], Fiber | None]]]:
        h = self.hazards
        found: list[tuple[float, Callable[[], Fiber | None]]] = []
        for producer in (p for p in [*(m.producer for m in self.machines), *self.orphans] if p.under_way):
            found.append((h.arrival, lambda p=producer: p.step(FATES[0])))  # type: ignore[misc]
            if h.resend and self._allowed("sent again"):
                found.extend((h.resend, lambda p=producer, i=i: self._resend(p, i)) for i in (1, 2))  # type: ignore[misc]
        if self.store.late:
            found.append((h.late, self._arrive_late))
        return found

    def _troubles(self) -> list[tuple[float, Callable[[], Fiber | None]]]:
        h = self.hazards
        found: list[tuple[float, Callable[[], Fiber | None]]] = [(h.second, self._second)] if h.second else []
        if h.wake and any(m.asleep for m in self.machines):
            found.append((h.wake, self._wake))
        for weight, name, act in (
            (h.crash, "crash", self._crash),
            (h.sleep, "sleep", self._sleep),
            (h.move, "move", self._move),
            (h.rewind, "restart", self._restart),
        ):
            if weight and self._allowed(name):
                found.append((weight, lambda name=name, act=act: self._befall(name, act)))  # type: ignore[misc]
        return found

    def _befall(self, name: str, act: Callable[[], None]) -> None:
        self.note(name)
        act()

    def _resend(self, producer: Producer, fate: int) -> None:
        self.note("sent again")
        producer.step(FATES[fate])

    def _second(self) -> None:
        self.now += 1.0

    def _arrive_late(self) -> None:
        self.store.late.pop(self._pick(len(self.store.late)))()

    def _wake(self) -> None:
        sleeping = [m for m in self.machines if m.asleep]
        sleeping[self._pick(len(sleeping))].asleep = False

    def _sleep(self) -> None:
        """A machine stops; the group gives what it had to the others."""
        awake = [m for m in self.machines if not m.asleep]
        if len(awake) > 1:
            sleeper = awake[self._pick(len(awake))]
            sleeper.asleep = True
            self._hand_over(sleeper)

    def _hand_over(self, gone: Machine) -> None:
        awake = [i for i, m in enumerate(self.machines) if not m.asleep and m is not gone]
        self._give({p: awake[self._pick(len(awake))] for p in sorted(gone.given)})

    def _crash(self) -> None:
        """A machine dies, and another starts; records under way may still arrive."""
        dead = self.machines[self._pick(len(self.machines))]
        assert dead.fiber is not None
        self.fibers.kill(dead.fiber)
        new = self._start()
        self.machines.remove(dead)
        self.machines.remove(new)
        self.machines.append(new)
        if dead.producer.under_way and self._pick(2):
            self.orphans.append(dead.producer)
        awake = [i for i, m in enumerate(self.machines) if not m.asleep]
        self._give({p: awake[self._pick(len(awake))] for p in sorted(dead.given)})

    def _move(self) -> None:
        """A rebalance while everyone is well."""
        partition = self._pick(self.partitions)
        awake = [i for i, m in enumerate(self.machines) if not m.asleep]
        self._give({partition: awake[self._pick(len(awake))]})

    def _restart(self) -> None:
        """The store restarts, without a part of the last second: of everything, or of one shard only."""
        names = self.store.names(self.now - RESTART_S)
        every = sorted(set(names))
        only = every[self._pick(len(every))] if every and self._pick(2) else ""
        most = names.count(only) if only else len(names)
        self.store.restart(self._pick(most + 1), only)
        self.note("restart of one shard" if only else "restart of all")

    # -- the end ------------------------------------------------------------------------------------------------------

    def _choose_calmly(self) -> Fiber | None:
        """In turns, and what is under way arrives at once; None when all rests."""
        self.now += 0.1
        for machine in self.machines:
            machine.asleep = False
        self._arrive()
        while self.store.late:
            self.store.late.pop()()
        return None if self._all_rest() else self._next()

    def _arrive(self) -> None:
        """All that is on its way to Kafka."""
        for producer in [m.producer for m in self.machines] + self.orphans:
            while producer.under_way:
                producer.step(FATES[0])

    def _all_rest(self) -> bool:
        if self.turns > self.hazards.trouble + PATIENCE:
            raise RestlessError(f"the machines did not come to rest: {self.met}")
        return all(m.program is not None and m.program.rests() and m.producer.idle for m in self.machines)

    def _next(self) -> Fiber | None:
        """A machine goes on until the end of its turn; then the next."""
        running = next((m for m in self.machines if m.fiber is self.fibers.running), None)
        if running is not None and running.program is not None and running.program.busy:
            return running.fiber
        self._rounds += 1
        return self.machines[self._rounds % len(self.machines)].fiber
