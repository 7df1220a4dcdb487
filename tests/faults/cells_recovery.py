"""Cells that measure how soon work goes on: after a SIGKILL or a SIGTERM of a worker, a SIGKILL of Redis, or of the broker."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.faults.absences import KAFKA_BACK, REDIS_BACK, kafka_back, redis_back, settle
from tests.faults.cell import Cell, Missed, Stage
from tests.faults.deployment import Deployment
from tests.faults.load import Load, Spec
from tests.faults.processes import WorkerProcess
from tests.faults.report import TARGETS, quantile
from tests.faults.scene import USUAL, working
from tests.faults.watch import Watch
from tests.services.kafka import KafkaService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SAMPLES = 51
PARTITIONS = 6
MISSES = 5
"""Faults that may land between two batches; more, and the traffic is too thin."""
_LONG_S = 60.0
"""What takes longer is a failure and no sample."""


def after_kill(stage: Stage) -> None:
    """Three of six workers are killed at a time; the others have their tasks once the session is over."""
    with stage.deployment(partitions=PARTITIONS) as d, Watch(d) as watch:
        workers = [d.start(f"w{i}") for i in range(PARTITIONS)]
        number = len(workers)
        d.wait_ready(*workers)
        load = d.load(Spec(predictions=600_000, partitions=PARTITIONS, rate=2_000))
        while len(stage.samples.get("kill_to_commit_s", [])) < SAMPLES:
            owned = settled(d, watch, workers)
            victims = workers[:3]
            times = {}
            with landing(stage) as landed, stage.fault(d, watch, "SIGKILL", note=False):
                for victim in victims:
                    owners = {watch.now(p).owner for p in owned[victim.name]}
                    times[victim.name] = (time.monotonic(), owners)
                    victim.kill()
            for victim in victims if landed() else ():
                begin, owners = times[victim.name]
                record(stage, watch, "kill_to_commit_s", victim, owned[victim.name], begin, owners)
                stage.count("kills")
            workers = [w for w in workers if w not in victims]
            workers += [d.start(f"w{number + i}") for i in range(len(victims))]
            number += len(victims)
        finish(stage, d, load)


def after_term(stage: Stage) -> None:
    """One of four workers is told to end; the others have its tasks as soon as it is gone. A new one joins."""
    with stage.deployment() as d, Watch(d) as watch:
        workers = [d.start(f"w{i}") for i in range(4)]
        number = len(workers)
        d.wait_ready(*workers)
        load = d.load(Spec(predictions=600_000, rate=2_000))
        while len(stage.samples.get("term_to_commit_s", [])) < SAMPLES:
            owned = settled(d, watch, workers)
            victim = workers[0]
            with landing(stage) as landed, stage.fault(d, watch, "SIGTERM", note=False):
                owners, begin = {watch.now(p).owner for p in owned[victim.name]}, time.monotonic()
                victim.term()
            if landed():
                record(stage, watch, "term_to_commit_s", victim, owned[victim.name], begin, owners)
            status = victim.wait()
            assert status == 0, f"{victim.name} ended with {status}: {victim.tail()}"
            workers.remove(victim)
            workers.append(d.start(f"w{number}"))
            number += 1
        finish(stage, d, load)


def after_redis(stage: Stage) -> None:
    """Redis is killed under two workers, and is back half a second later."""
    with working(stage, 8.0 * SAMPLES, workers=2) as (d, watch, load, _):
        while len(stage.samples.get(REDIS_BACK, [])) < SAMPLES:
            # Nobody can be asked what is unread: Redis is away for half a second. That traffic still comes must do.
            with stage.fault(d, watch, "SIGKILL of Redis", note=False, proof=lambda: load.running):
                d.redis.kill()
            time.sleep(0.5)
            d.redis.restart()
            since = time.monotonic()
            redis_back(stage, d, watch, since)
            every_task(d, watch)
        finish(stage, d, load)


def after_kafka(stage: Stage) -> None:
    """The broker is killed under two workers, and is started again at once."""
    with (
        KafkaService() as service,
        working(stage, 16.0 * SAMPLES, workers=2, kafka=service, choices=USUAL, rate=1_000) as (d, watch, load, _),
    ):
        while len(stage.samples.get(KAFKA_BACK, [])) < SAMPLES:
            # Nobody can be asked what is unread: the broker is away. That the producer is not done must do.
            with stage.fault(d, watch, "SIGKILL of the broker", note=False, proof=lambda: load.running):
                service.kill()
            service.restart()
            since = time.monotonic()
            kafka_back(stage, d, since)
            every_task(d, watch)
        finish(stage, d, load)


@contextlib.contextmanager
def landing(stage: Stage) -> Iterator[Callable[[], bool]]:
    """Whether something was unread when the fault in the block landed: else it is no sample; a few times the next one is tried."""
    landed = [True]
    try:
        yield lambda: landed[0]
    except Missed:
        landed[0] = False
        stage.count("landed in no work")
        if stage.counts["landed in no work"] > MISSES:
            raise


def record(
    stage: Stage, watch: Watch, series: str, victim: WorkerProcess, tasks: set[int], begin: float, owners: set[str]
) -> None:
    """One sample: until every task of the victim had a commit of somebody else."""
    (owner,) = owners
    took = watch.wait_commit(tasks, begin, not_by=owner, timeout_s=_LONG_S)
    assert took is not None, f"nobody took over {sorted(tasks)} of {victim.name} within {_LONG_S} s"
    stage.sample(series, took)


def settled(d: Deployment, watch: Watch, workers: list[WorkerProcess]) -> dict[str, set[int]]:
    """The tasks of each worker, once the last rebalance is over: everyone has some, and each has committed under its owner."""
    found: dict[str, set[int]] = {}

    def shared() -> bool:
        found.clear()
        found.update({w.name: w.partitions() for w in workers})
        told = sorted(p for mine in found.values() for p in mine)
        return all(found.values()) and told == sorted(watch.history) and len(watch.owners()) == len(workers)

    d.wait_for(shared, "every worker to own tasks, and nobody else's", _LONG_S)
    every_task(d, watch)
    return found


def every_task(d: Deployment, watch: Watch) -> None:
    """Return when every task has committed since now."""
    begin = time.monotonic()
    d.wait_for(lambda: all(watch.first_commit(p, begin) for p in watch.history), "every task to commit", _LONG_S)


def finish(stage: Stage, d: Deployment, load: Load) -> None:
    """The rest of the traffic at once; then hold the results against the truth, and the times against what is promised."""
    load.hurry()
    for series, values in stage.samples.items():
        missed = stage.counts.get("landed in no work", 0)
        besides = f"; {missed} more landed when nothing was unread" if missed else ""
        stage.note(f"{series}: {len(values)} samples, at most {max(values):.2f}{besides}")
    settle(stage, d, load)
    for series, values in stage.samples.items():
        if series in TARGETS:
            what, most, words = TARGETS[series]
            assert quantile(values, 0.99) <= most, f"{what}: p99 {quantile(values, 0.99):.2f} s; promised are {words}"


CELLS = [
    Cell("recovery.kill", f"from SIGKILL to new commits, {SAMPLES} times", after_kill),
    Cell("recovery.term", f"from SIGTERM to new commits of others, {SAMPLES} times", after_term),
    Cell("recovery.redis", f"from Redis being back to new commits of all tasks, {SAMPLES} times", after_redis),
    Cell("recovery.kafka", f"from the broker being back to everything being counted, {SAMPLES} times", after_kafka),
]
