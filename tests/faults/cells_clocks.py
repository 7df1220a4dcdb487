"""Cells in silence: windows close by clocks that only the journal knows, and the journal must be obeyed after a fault (R2, R3)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import orjson
import redis
from confluent_kafka import Consumer, TopicPartition

from tests.faults import redis_faults
from tests.faults.cell import Cell, Inconclusive, Stage
from tests.faults.deployment import Deployment, NotInTime
from tests.faults.processes import WorkerProcess
from tests.faults.ticking import MODEL, Ticking
from tests.faults.watch import Watch
from tests.integration import workers as topics
from tests.services.redis import RedisService

LOST_S: Final = 1.2
"""What Redis forgets: more than the second of ``everysec``."""
COMMIT_S: Final = 0.5
"""After a journal record its commit follows within so long: twice the interval."""
LOOK_S: Final = 0.05
"""How long a look at the journal may wait for something new."""
ROUNDS: Final = 5
"""Faults of one cell."""
_ENTRIES_S: Final = 30.0
"""How long a silence is waited for that is journaled: one comes every three seconds."""


class Journal:
    """Follows the journal of a deployment and counts the records with clocks: not the claims, nor what evaluators decided."""

    def __init__(self, d: Deployment) -> None:
        """Begin at its beginning."""
        self.clocks, self._read, self._d = 0, 0, d
        told = {"enable.auto.commit": False, "fetch.wait.max.ms": int(LOOK_S * 1000), "log_level": 2}
        self._consumer = Consumer({"bootstrap.servers": d.bootstrap, "group.id": "looks-only"} | told)
        self._consumer.assign([TopicPartition(d.topics["journal"], p, 0) for p in range(d.partitions)])

    def more(self) -> int:
        """The clocks up to a moment ago; takes ``LOOK_S`` at most."""
        for message in self._consumer.consume(1_000, LOOK_S):
            if message.error() is None:
                self._read += 1
                record = orjson.loads(message.value() or b"")
                self.clocks += any(e["entry"] == "clock" for e in record.get("entries", ()))
        return self.clocks

    def now(self) -> int:
        """The clocks up to the end as it is now."""
        end = sum(topics.ends(self._d.bootstrap, self._d.topics["journal"], self._d.partitions).values())

        def whole() -> bool:
            self.more()
            return self._read >= end

        self._d.wait_for(whole, "the journal to be read")
        return self.clocks

    def close(self) -> None:
        """Let go."""
        self._consumer.close()


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


def recovered(d: Deployment, watch: Watch, since: float) -> None:
    """Return when every task has committed since: what is journaled from now on is no claim of a restart that still goes on."""
    took = watch.wait_commit(set(range(d.partitions)), since)
    if took is None:
        message = "a task stands still after the restart"
        raise NotInTime(message)


def silence(d: Deployment, journal: Journal) -> tuple[int, int]:
    """Wait until a clock was journaled and committed; returns the size of Redis' log at most ``LOST_S`` before, and how many."""
    before = journal.now()
    begin = since = time.monotonic()
    size = redis_faults.written(d.redis)
    while (now := journal.more()) == before:
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
        with contextlib.closing(Journal(d)) as journal:
            stage.note(f"{journal.now()} journal records with clocks")
        stage.settle(d, load, calm=False, verify=True)


def forgotten(*, worker_dies: bool) -> Callable[[Stage], None]:
    """Redis loses commits whose entries the journal has: they are obeyed again, at the offsets that they name."""

    def play(stage: Stage) -> None:
        scene = ticking(stage, 1 if worker_dies else 2)
        with scene as (d, watch, load, started), contextlib.closing(Journal(d)) as journal:
            landed = 0
            for number in range(ROUNDS):
                size, clocks = silence(d, journal)
                d.redis.kill()
                gone = redis_faults.go_back(d.redis, size)
                if worker_dies:
                    started[0].kill()
                d.redis.restart()
                since = time.monotonic()
                if worker_dies:
                    started[0] = d.start(f"again{number}")
                    d.wait_ready(started[0])
                recovered(d, watch, since)
                stage.note(
                    f"{gone} commands and transactions were lost, and {clocks} journal records with clocks were not"
                )
                landed += bool(gone and clocks)
            assert all(w.alive for w in started), f"a worker ended: {[w.tail(3) for w in started if not w.alive]}"
            stage.count("faults", landed)
            stage.settle(d, load, calm=False, verify=True)
            if landed < 2:  # one may be chance; only now: what went wrong goes first
                message = f"only {landed} of {ROUNDS} losses had journaled clocks in them"
                raise Inconclusive(message)

    return play


def killed(stage: Stage) -> None:
    """A worker is killed as soon as the journal has one more clock, which is when it must not matter."""
    with ticking(stage, 1) as (d, watch, load, started), contextlib.closing(Journal(d)) as journal:
        for number in range(ROUNDS):
            before, deadline = journal.now(), time.monotonic() + _ENTRIES_S
            while journal.more() == before:
                if time.monotonic() > deadline:
                    message = "nothing was journaled"
                    raise Inconclusive(message)
            started[0].kill()
            stage.note(f"killed after {watch.commits()} commits and {journal.clocks} journal records with clocks")
            stage.count("kills")
            since = time.monotonic()
            started[0] = d.start(f"again{number}")
            d.wait_ready(started[0])
            recovered(d, watch, since)
        stage.count("faults", ROUNDS)
        stage.settle(d, load, calm=False, verify=True)


CELLS = [
    Cell("clock.undisturbed", "silences are journaled and nothing happens", undisturbed),
    Cell("clock.last-second", "Redis loses 1.2 s with journaled clocks in it", forgotten(worker_dies=False)),
    Cell("clock.last-second-worker", "the same, and the worker dies with it", forgotten(worker_dies=True)),
    Cell("clock.kill", "a worker is killed when it has just journaled", killed),
]
