"""The soak: steady traffic for an hour and a half, a fault about every half minute, one worker that lives through all of it.

``python -m tests.faults --cells soak --soak 3600``: half an hour to warm up, and the hour that counts. At the end the same checks as
after every cell; besides, the memory of the worker that lived: the middle of all slopes between two samples of the hour (Theil
and Sen, which a few high samples do not move), in percent an hour. Only samples are compared at which it owned as many tasks: each of
them takes memory, and how many it has is what the faults change.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.cell import Cell, Inconclusive, Stage
from tests.faults.deployment import Deployment
from tests.faults.load import Spec
from tests.faults.processes import WorkerProcess
from tests.faults.watch import Watch
from tests.services.kafka import KafkaService

NAME = "soak"
RATE = 1_500
"""Records a second: three workers have time for the faults, and an hour is checked in minutes."""
EVERY_S = 20.0
"""From one fault's end to the next fault, on average: with the faults themselves that makes more than a hundred an hour."""
MOST_APART_S = 36.0
"""A hundred faults an hour at least."""
WARM_UP = 0.5
"""Of the soak's time, before it: memory may grow there. Caches fill, the join fills up to its horizon of event time, and every
fault comes a few times: after each, the allocators keep what the largest backlog so far needed."""
MOST_SLOPE = 1.0
"""Percent an hour."""
_SAMPLE_S = 5.0
_BACK_S = 90.0
"""Until every task commits again after a fault."""


class Sample(NamedTuple):
    """When (s since the begin), how many tasks it owned, and its resident memory (bytes)."""

    at: float
    tasks: int
    memory: int


@dataclass(slots=True)
class Soak:
    """What the faults act on: a deployment whose worker ``steady`` is never ended, and two others that are."""

    d: Deployment
    kafka: KafkaService
    chance: random.Random
    number: int = 0
    others: list[WorkerProcess] = field(default_factory=list)

    def grow(self) -> None:
        """One more of the others."""
        self.number += 1
        self.others.append(self.d.start(f"other{self.number}"))

    def kill(self) -> None:
        """SIGKILL, and another one comes."""
        self.others.pop(self.chance.randrange(len(self.others))).kill()
        self.grow()

    def end(self) -> None:
        """SIGTERM, and another one comes."""
        ended = self.others.pop(0)
        ended.stop()
        assert ended.status == 0, f"{ended.name} ended with {ended.status}: {ended.tail()}"
        self.grow()

    def freeze(self) -> None:
        """SIGSTOP, now shorter and now longer than a session."""
        frozen = self.chance.choice(self.others)
        frozen.freeze()
        time.sleep(self.chance.choice((2.0, 9.0)))
        frozen.thaw()

    def freeze_steady(self) -> None:
        """The same for the one that lives."""
        self.d.workers["steady"].freeze()
        time.sleep(self.chance.choice((2.0, 9.0)))
        self.d.workers["steady"].thaw()

    def lose_redis(self) -> None:
        """Redis is killed, and comes back."""
        self.d.redis.kill()
        time.sleep(self.chance.random() * 3)
        self.d.redis.restart()

    def lose_kafka(self) -> None:
        """The broker is killed, and comes back."""
        self.kafka.kill()
        time.sleep(self.chance.random() * 3)
        self.kafka.restart()

    def faults(self) -> list[Callable[[], None]]:
        """All of them, each as likely; the broker takes longest and comes once."""
        return [self.kill, self.kill, self.end, self.freeze, self.freeze_steady, self.lose_redis, self.lose_kafka]


def soak(stage: Stage, seconds: float) -> None:
    """Faults in random order until the time is over; then everything must be as in peace, and memory flat."""
    warm_up = seconds * WARM_UP
    lasts = warm_up + seconds
    chance = random.Random(20260601)
    with KafkaService() as kafka, stage.deployment(kafka) as d, Watch(d) as watch:
        playing = Soak(d, kafka, chance)
        steady = d.start("steady")
        playing.grow()
        playing.grow()
        d.wait_ready(steady, *playing.others)
        load = d.load(Spec(predictions=int(lasts * RATE / 2.07), rate=RATE))
        d.wait_for(lambda: watch.commits() >= 10, "the first commits")
        begin, samples = time.monotonic(), list[Sample]()
        due = begin + EVERY_S
        while (now := time.monotonic()) < begin + lasts:
            if steady.memory_bytes():
                samples.append(Sample(now - begin, len(steady.partitions()), steady.memory_bytes()))
            assert steady.alive, f"{steady.name} ended with {steady.status}: {steady.tail()}"
            if now >= due:
                chosen = chance.choice(playing.faults())
                try:
                    with stage.fault(d, watch, chosen.__name__, note=False):
                        chosen()
                except Inconclusive:  # it found no work under way: one that does not count
                    stage.count("soak: landed in no work")
                else:
                    stage.count(f"soak: {chosen.__name__}")
                    stage.count("kills", int(chosen == playing.kill))
                after = time.monotonic()
                took = watch.wait_commit(set(watch.history), after, timeout_s=_BACK_S)
                assert took is not None, f"a task stands still after {chosen.__name__}"
                due = time.monotonic() + EVERY_S * (0.5 + chance.random())
            time.sleep(_SAMPLE_S if now + _SAMPLE_S < due else 0.2)
        load.hurry()
        growth = slope(samples, warm_up)
        stage.note(
            f"{warm_up / 60:.0f} + {seconds / 60:.0f} minutes, {stage.counts.get('faults', 0)} faults, memory {growth:+.2f} % an hour"
        )
        tenths = [samples[int(q * (len(samples) - 1) / 10)] for q in range(11)]
        stage.note(f"MB (tasks) at each tenth: {', '.join(f'{s.memory / 2**20:.1f} ({s.tasks})' for s in tenths)}")
        stage.sample("memory_percent_per_hour", growth)
        stage.settle(d, load, timeout_s=600)
        assert growth < MOST_SLOPE, f"the memory of {steady.name} grows by {growth:.2f} % an hour"
        if stage.counts.get("faults", 0) < lasts / MOST_APART_S:
            message = f"only {stage.counts.get('faults', 0)} faults landed while work was under way"
            raise Inconclusive(message)


def slope(samples: list[Sample], since: float) -> float:
    """Percent an hour, of the samples after a time."""
    late = [s for s in samples if s.at >= since]
    step = max(1, len(late) // 400)  # all pairs of 400 are enough
    pairs = itertools.combinations(late[::step], 2)
    slopes = [(b.memory - a.memory) / (b.at - a.at) for a, b in pairs if a.tasks == b.tasks]
    return 100 * 3_600 * statistics.median(slopes) / statistics.median(s.memory for s in late)


def cell(seconds: float) -> Cell:
    """The soak as a cell."""
    return Cell(NAME, f"mixed faults for {seconds / 60:.0f} minutes", lambda stage: soak(stage, seconds))
