"""Cells of worker processes: killed at random moments, frozen beyond their session, restarted, more and fewer of them."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING

from tests.faults.cell import Cell, Inconclusive, Missed, Stage
from tests.faults.deployment import SESSION_MS, Deployment
from tests.faults.load import Spec
from tests.faults.watch import Watch

if TYPE_CHECKING:
    from tests.faults.processes import WorkerProcess

SESSION_S = SESSION_MS / 1000
MOST_PAUSE_S = SESSION_S - 1.0
"""A task without commits while workers come and go in good order. One that left without a word would be waited for until its session
is over, which began with its last heartbeat, half a second before."""
NOTICED = ('"event": "lost"', '"event": "rejoining')
"""What a worker logs when it finds out that others own its tasks: told by the group, or refused by the store."""
_MOVED_S = 30.0
"""Until every task has committed again: a session, a rebalance, and a machine that others use, too."""


def kills(stage: Stage, spec: Spec, wanted: int, workers: int, seed: int) -> None:
    """Static members are killed at random moments and return at once; the traffic keeps step with the kills."""
    chance = random.Random(seed)
    with stage.deployment(static=True) as d, Watch(d) as watch:
        names = [f"member{i}" for i in range(workers)]
        d.wait_ready(*[d.start(name) for name in names])
        load = d.load(spec)
        d.wait_for(lambda: watch.commits() >= 10, "the first commits")
        for number in range(wanted):
            d.keep_step(load, number / wanted)
            victim = d.workers[chance.choice(names)]
            load.freeze()  # while it starts, which takes long on a busy machine
            d.wait_for(lambda: not victim.alive or victim.partitions(), f"{victim.name} to own tasks", _MOVED_S)  # noqa: B023  # called at once
            load.thaw()
            d.wait_for(partial(commits, victim, watch, watch.sequences()), f"a commit of {victim.name}", _MOVED_S)
            time.sleep(chance.random() * 0.4)  # anywhere between two commits, or inside one
            if not victim.alive:
                message = f"{victim.name} ended by itself with {victim.status}: {victim.tail()}"
                raise AssertionError(message)
            victim.kill()
            landed = stage.unread(d) > 0  # else it died, and nothing was in flight: not counted
            d.start(victim.name)
            stage.count("kills", int(landed))
            stage.count("faults", int(landed))
        load.thaw()
        stage.note(f"{(survived := stage.counts.get('kills', 0))} kills")
        stage.settle(d, load, timeout_s=600)
        if survived < wanted * 0.9:  # only now: what went wrong goes first
            message = f"only {survived} of {wanted} kills landed while records were unread"
            raise Inconclusive(message)


def commits(worker: WorkerProcess, watch: Watch, before: dict[int, int]) -> bool:
    """Whether a task that the worker owns was committed since; True of one that has ended, which is for the caller to see."""
    now = watch.sequences()
    return not worker.alive or any(now[p] > before[p] for p in worker.partitions())


def few_kills(stage: Stage) -> None:
    """The short tier's: 12 kills over 309,000 records."""
    kills(stage, Spec(predictions=150_000, rate=20_000), wanted=12, workers=2, seed=20260101)


def many_kills(stage: Stage) -> None:
    """120 kills over 3.1 million records."""
    kills(stage, Spec(predictions=1_500_000, rate=20_000, seed=2), wanted=120, workers=3, seed=7)


def zombie(stage: Stage) -> None:
    """A worker stands still for longer than its session, three times, and comes back to tasks that another one owns."""
    with stage.deployment() as d, Watch(d) as watch:
        one, two = d.start("one"), d.start("two")
        d.wait_ready(one, two)
        load = d.load(Spec(predictions=130_000, rate=8_000))
        for turn, sleeper in enumerate((one, two, one)):
            d.wait_for(lambda: len(watch.owners()) == 2, "both to own tasks", _MOVED_S)
            mine = wait_to_own(d, sleeper)
            with stage.fault(d, watch, f"SIGSTOP of {sleeper.name}"):
                begin = time.monotonic()
                sleeper.freeze()
                before = len(sleeper.said())
                owners = {p: watch.now(p).owner for p in mine}
                moved = [watch.wait_commit({p}, begin, not_by=owners[p], timeout_s=_MOVED_S) for p in sorted(mine)]
                if None in moved:
                    message = f"nobody took over {sorted(mine)} from a worker that stood still"
                    raise AssertionError(message)
                while time.monotonic() < begin + SESSION_S + 2:
                    time.sleep(0.05)
            stage.note(f"turn {turn}: tasks {sorted(mine)} moved within {max(m for m in moved if m is not None):.1f} s")
            sleeper.thaw()
            d.wait_for(
                lambda: any(word in sleeper.said()[before:] for word in NOTICED),  # noqa: B023  # called at once
                f"{sleeper.name} to notice that its tasks are another's",
                _MOVED_S,
            )
        d.wait_for(lambda: len(watch.owners()) == 2, "the sleeper to have tasks again", _MOVED_S)
        stage.settle(d, load)


def zombie_alone(stage: Stage) -> None:
    """The only worker stands still for longer than its session, and goes on."""
    with stage.deployment() as d, Watch(d) as watch:
        one = d.start("one")
        d.wait_ready(one)
        load = d.load(Spec(predictions=60_000, rate=8_000))
        with stage.fault(d, watch, "SIGSTOP"):
            one.freeze()
            time.sleep(SESSION_S + 2)
        one.thaw()
        stage.settle(d, load)


def wait_to_own(d: Deployment, worker: WorkerProcess) -> set[int]:
    """The partitions of a worker, once it says that it has some."""
    found: set[int] = set()

    def owns() -> bool:
        found.clear()
        found.update(worker.partitions())
        return bool(found)

    d.wait_for(owns, f"{worker.name} to own tasks", _MOVED_S)
    return found


def rolling(stage: Stage, *, static: bool) -> None:
    """Every worker is restarted in turn, twice, while records come."""
    with stage.deployment(static=static) as d, Watch(d) as watch:
        names = ["one", "two", "three"]
        d.wait_ready(*[d.start(name) for name in names])
        load = d.load(Spec(predictions=180_000, rate=8_000))
        for name in names * 2:
            d.wait_for(lambda: len(watch.owners()) >= 2, "the work to be shared", _MOVED_S)
            with stage.fault(d, watch, f"restart of {name}"):
                begin = time.monotonic()
                d.workers[name].stop()
                assert d.workers[name].status == 0, (
                    f"{name} ended with {d.workers[name].status}: {d.workers[name].tail()}"
                )
            stage.sample("stop_s", time.monotonic() - begin)
            d.wait_ready(d.start(name))
            if stage.unread(d) <= 0:
                raise Missed("everything was read before the last restart")
        stage.settle(d, load)


def scaled(stage: Stage, settings: dict[str, object] | None = None) -> None:
    """One worker, three, two, four, one, while records come: as many own tasks, and no task is without commits for long."""
    with stage.deployment(kafka_settings=settings or {}) as d, Watch(d) as watch:
        d.wait_ready(d.start("w0"))
        load = d.load(Spec(predictions=250_000, rate=8_000))
        running, number = ["w0"], 1
        d.wait_for(lambda: watch.commits() >= 10, "the first commits")
        for size in (3, 2, 4, 1):
            with stage.fault(d, watch, f"scaled to {size}"):
                begin = time.monotonic()
                while len(running) < size:
                    d.start(f"w{number}")
                    running.append(f"w{number}")
                    number += 1
                while len(running) > size:
                    d.workers[running.pop(0)].term()
                d.wait_for(lambda: len(watch.owners()) == size, f"{size} workers to own tasks", _MOVED_S)  # noqa: B023  # called at once
                assert watch.wait_commit(set(watch.history), begin) is not None, (
                    f"scaled to {size}: a task stands still"
                )
                took = time.monotonic() - begin
            pause = watch.longest_gap(begin, time.monotonic())
            stage.sample("scaled: longest pause of a task, s", pause)
            stage.note(f"to {size}: {took:.1f} s, longest pause of a task {pause:.1f} s")
            assert pause <= MOST_PAUSE_S, f"scaled to {size}: a task had no commit for {pause:.1f} s"
            for worker in d.started:
                assert worker.alive or worker.status == 0, f"{worker.name} ended with {worker.status}: {worker.tail()}"
            if stage.unread(d) <= 0:
                raise Missed("everything was read before the last step")
        stage.settle(d, load)


CELLS = [
    Cell("worker.kills", "12 SIGKILLs at random moments over 309,000 records", few_kills, short=True, verified=True),
    Cell("worker.kills_many", "120 SIGKILLs at random moments over 3.1 million records", many_kills, verified=True),
    Cell("worker.zombie", "SIGSTOP beyond the session, another takes over, SIGCONT; three times", zombie, short=True),
    Cell("worker.zombie_alone", "the only worker stands still beyond its session, and goes on", zombie_alone),
    Cell("worker.rolling", "every worker restarted in turn, twice", lambda stage: rolling(stage, static=False)),
    Cell("worker.rolling_static", "the same with static members", lambda stage: rolling(stage, static=True)),
    Cell("worker.scale_classic", "1, 3, 2, 4, 1 workers under load, classic group protocol", scaled),
    Cell(
        "worker.scale_kip848",
        "the same with the protocol of KIP-848",
        partial(scaled, settings={"group.protocol": "consumer"}),
    ),
]
