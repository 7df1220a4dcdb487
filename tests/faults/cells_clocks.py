"""Cells in silence: windows close by clocks that only the journal knows, and the journal must be obeyed after a fault (R2, R3)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import redis

from tests.faults import redis_faults
from tests.faults.cell import Cell, Inconclusive, Stage
from tests.faults.deployment import Deployment
from tests.faults.processes import WorkerProcess
from tests.faults.ticking import MODEL, Ticking
from tests.faults.watch import Watch
from tests.integration import workers as topics
from tests.services.redis import RedisService

LOST_S: Final = 1.2
"""What Redis forgets: more than the second of ``everysec``."""
COMMIT_S: Final = 0.5
"""After a journal record its commit follows within so long: twice the interval."""
ROUNDS: Final = 5
"""Faults of one cell."""
_ENTRIES_S: Final = 30.0
"""How long a silence is waited for that is journaled: one comes every three seconds."""


def journaled(d: Deployment) -> int:
    """How many records the journal has."""
    return sum(topics.ends(d.bootstrap, d.topics["journal"], d.partitions).values())


@contextlib.contextmanager
def ticking(stage: Stage, workers: int) -> Iterator[tuple[Deployment, Watch, Ticking, list[WorkerProcess]]]:
    """Workers and traffic with silences."""
    server = RedisService(settings=redis_faults.NO_REWRITE)
    with stage.deployment(redis=server, model_settings=MODEL) as d, Watch(d) as watch:
        started = [d.start(f"w{n}") for n in range(workers)]
        d.wait_ready(*started)
        d.wait_for(lambda: len(watch.owners()) == workers, "every worker to own tasks")
        load = Ticking(d)
        # State that is younger than what Redis loses is another story (cell redis.first-second).
        with redis.from_url(d.redis.url) as client:
            d.wait_for(lambda: redis_faults.begun(client), "every shard to have state")
        first = load.bursts
        d.wait_for(lambda: load.bursts > first + 1, "two more bursts")
        yield d, watch, load, started


def silence(d: Deployment) -> tuple[int, int]:
    """Wait until something was journaled and committed; returns the size of Redis' log at most ``LOST_S`` before, and how much."""
    begin = since = time.monotonic()
    size, before = redis_faults.written(d.redis), journaled(d)
    while (now := journaled(d)) == before:
        if time.monotonic() - begin > _ENTRIES_S:
            message = "nothing was journaled"
            raise Inconclusive(message)
        if time.monotonic() - since > LOST_S - COMMIT_S:
            since, size = time.monotonic(), redis_faults.written(d.redis)
    time.sleep(COMMIT_S)
    return size, now - before


def undisturbed(stage: Stage) -> None:
    """Nothing happens: the story itself is told right, or the other cells prove nothing."""
    with ticking(stage, 2) as (d, _, load, _):
        d.wait_for(lambda: load.bursts >= 8, "bursts and silences")
        stage.note(f"{journaled(d)} journal records")
        stage.settle(d, load, calm=False, verify=True)


def forgotten(*, worker_dies: bool) -> Callable[[Stage], None]:
    """Redis loses commits whose entries the journal has: they are obeyed again, at the offsets that they name."""

    def play(stage: Stage) -> None:
        with ticking(stage, 1 if worker_dies else 2) as (d, _, load, started):
            landed = 0
            for number in range(ROUNDS):
                size, entries = silence(d)
                d.redis.kill()
                gone = redis_faults.go_back(d.redis, size)
                if worker_dies:
                    started[0].kill()
                d.redis.restart()
                if worker_dies:
                    started[0] = d.start(f"again{number}")
                    d.wait_ready(started[0])
                stage.note(f"{gone} commands and transactions were lost, and {entries} journal records were not")
                landed += bool(gone and entries)
            assert all(w.alive for w in started), f"a worker ended: {[w.tail(3) for w in started if not w.alive]}"
            if landed < 2:  # one may be chance
                message = f"only {landed} of {ROUNDS} losses had journal records in them"
                raise Inconclusive(message)
            stage.count("faults", landed)
            stage.settle(d, load, calm=False, verify=True)

    return play


def killed(stage: Stage) -> None:
    """A worker is killed as soon as the journal has one more record, which is when it must not matter."""
    with ticking(stage, 1) as (d, watch, load, started):
        for number in range(ROUNDS):
            before, deadline = journaled(d), time.monotonic() + _ENTRIES_S
            while journaled(d) == before:
                if time.monotonic() > deadline:
                    message = "nothing was journaled"
                    raise Inconclusive(message)
            started[0].kill()
            stage.note(f"killed after {watch.commits()} commits and {journaled(d)} journal records")
            stage.count("kills")
            started[0] = d.start(f"again{number}")
            d.wait_ready(started[0])
            d.wait_for(lambda: len(watch.owners()) == 1, "it to own tasks")
        stage.count("faults", ROUNDS)
        stage.settle(d, load, calm=False, verify=True)


CELLS = [
    Cell("clock.undisturbed", "silences are journaled and nothing happens", undisturbed),
    Cell("clock.last-second", "Redis loses 1.2 s with journaled clocks in it", forgotten(worker_dies=False)),
    Cell("clock.last-second-worker", "the same, and the worker dies with it", forgotten(worker_dies=True)),
    Cell("clock.kill", "a worker is killed when it has just journaled", killed),
]
