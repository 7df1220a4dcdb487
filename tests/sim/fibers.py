"""Programs that take turns: each runs in a thread of its own, and only one of them at a time, chosen by the simulation.

A program that comes to an effect (something that another process could see, or that could fail) calls ``Fibers.point``. There
the world decides what happens next: any number of its own events, then one program that goes on. So every order of effects
can happen, whatever lies between two of them in the code, and the same choices give the same run.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STUCK_S = 60.0
"""A turn takes milliseconds; a program that has not come to its next effect by now never will."""


class Crash(BaseException):
    """The process dies here: nothing that it would still have done is done."""


@dataclass(eq=False)
class Fiber:
    """A program that was begun. ``doomed``: it will never have another turn. ``over``: it ended."""

    program: Callable[[], None]
    turn: threading.Lock = field(default_factory=threading.Lock)
    doomed: bool = False
    over: bool = False


class Fibers:
    """The programs of one simulation. ``choose`` is asked at every effect who goes on; None ends the simulation."""

    def __init__(self, choose: Callable[[], Fiber | None]) -> None:
        """No program yet."""
        self._choose = choose
        self._all: list[Fiber] = []
        self.running: Fiber | None = None
        self._main = threading.Lock()
        self._main.acquire()
        self._error: BaseException | None = None

    def begin(self, program: Callable[[], None]) -> Fiber:
        """Make a program ready; it begins when it is chosen."""
        fiber = Fiber(program)
        fiber.turn.acquire()
        self._all.append(fiber)
        _POOL.run(lambda: self._live(fiber))
        return fiber

    def run(self) -> None:
        """Let them take turns until ``choose`` says None; what still lives then dies. Raises what a program raised."""
        try:
            first = self._choose()
            if first is not None:
                self._give_turn(first)
        finally:
            for fiber in self._all:
                if not fiber.over:
                    fiber.doomed = True
                    self._give_turn(fiber)
        if self._error is not None:
            raise self._error

    def point(self) -> None:
        """An effect comes next: another program may go first, and this one may never go on (Crash)."""
        me = self.running
        if me is None or me.doomed:
            raise Crash
        chosen = self._ask()
        if chosen is me:
            return
        self._hand_on(chosen)
        me.turn.acquire()
        if me.doomed:
            raise Crash

    def kill(self, fiber: Fiber) -> None:
        """The program never has another turn. Whoever is asked next must not choose it."""
        fiber.doomed = True

    # -- turns --------------------------------------------------------------------------------------------------------

    def _give_turn(self, fiber: Fiber) -> None:
        """Wait until they have passed the turn round and back to us."""
        self._hand_on(fiber)
        if not self._main.acquire(timeout=STUCK_S):
            raise AssertionError(f"a program came to no effect within {STUCK_S} s")

    def _hand_on(self, fiber: Fiber | None) -> None:
        self.running = fiber
        (self._main if fiber is None else fiber.turn).release()

    def _ask(self) -> Fiber | None:
        """Who goes on; a world that finds something wrong ends everything."""
        try:
            return self._choose()
        except BaseException as error:  # noqa: BLE001  # ``run`` raises it
            self._error = self._error or error
            return None

    def _live(self, fiber: Fiber) -> None:
        fiber.turn.acquire()
        try:
            if not fiber.doomed:
                fiber.program()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001  # ``run`` raises it
            self._error = self._error or error
        fiber.over = True
        self._hand_on(None if fiber.doomed or self._error is not None else self._ask())


class _Pool:
    """Threads that are used again: a simulation begins several programs, and starting a thread costs more than running it."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], None]]] = []

    def run(self, job: Callable[[], None]) -> None:
        if self._idle:
            self._idle.pop().put(job)
            return
        jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        jobs.put(job)
        threading.Thread(target=self._work, args=(jobs,), daemon=True).start()

    def _work(self, jobs: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            jobs.get()()
            self._idle.append(jobs)


_POOL = _Pool()
