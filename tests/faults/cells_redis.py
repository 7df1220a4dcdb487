"""Cells in which something happens to Redis."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import redis

from streams.worker import TOPICS_EVERY_S
from tests.faults import redis_faults, results
from tests.faults.absences import (
    NOTICED_S,
    REDIS,
    STATE,
    away,
    no_fresh_start,
    not_ready,
    nothing_wrong,
    proven,
    redis_back,
    settle,
    stopped,
)
from tests.faults.cell import Cell, Inconclusive, Stage
from tests.faults.deployment import Deployment, NotInTime
from tests.faults.load import Load
from tests.faults.processes import WorkerProcess
from tests.faults.scene import steady, working
from tests.services.redis import RedisService

SILENT_S: Final = 15.0
"""A worker that has not refused its state by then goes on with it: it has claimed, and read a window or two."""
PATIENCE_S: Final = 60.0
"""How long a worker that may never be done is given to do something wrong."""
LOST_S: Final = 1.5
"""What is cut off the log: more than the second that ``everysec`` may lose."""


# -- it dies ----------------------------------------------------------------------------------------------------------


def killed(fsync: str, rounds: int) -> Callable[[Stage], None]:
    """SIGKILL and a restart two seconds later, so many times in one run of traffic."""

    def play(stage: Stage) -> None:
        with working(stage, 8.0 * rounds + 5, server=RedisService(appendfsync=fsync)) as (d, watch, load, started):
            for number in range(rounds):
                with stage.fault(d, watch, f"SIGKILL {number + 1}"):
                    with away(stage, started, REDIS, 2.0):
                        d.redis.kill()
                    d.redis.restart()
                    since = time.monotonic()
                redis_back(stage, d, watch, since)
            settle(stage, d, load)

    return play


def last_second(rounds: int, *, workers: int, worker_dies: bool) -> Callable[[Stage], None]:
    """It dies and has forgotten the last moments: the state goes back, for the workers that live or for those after them."""

    def play(stage: Stage) -> None:
        server = RedisService(settings=redis_faults.NO_REWRITE)
        with working(stage, 12.0 * rounds + 10, workers, server) as (d, watch, load, started):
            steady(d, watch)
            for number in range(rounds):
                with stage.fault(d, watch, f"loss {number + 1}"):
                    size = redis_faults.written(server)
                    time.sleep(LOST_S)
                    server.kill()
                    gone = redis_faults.go_back(server, size)
                    stage.note(f"{gone} commands and transactions of the last {LOST_S} s were lost")
                    if gone < d.partitions:
                        message = f"only {gone} commands were lost"
                        raise Inconclusive(message)
                    if worker_dies:
                        started[0].kill()
                    server.restart()
                    since = time.monotonic()
                if worker_dies:
                    started[0] = d.start(f"again{number}")
                    d.wait_ready(started[0])
                else:
                    redis_back(stage, d, watch, since)
            settle(stage, d, load)

    return play


def loading(stage: Stage) -> None:
    """It is back and still loads its log: it answers LOADING for seconds."""
    server = RedisService(settings=(*redis_faults.NO_REWRITE, *redis_faults.SLOW_LOAD))
    with working(stage, 25, server=server) as (d, watch, load, started):
        with redis.from_url(server.url) as client, client.pipeline(transaction=False) as pipe:
            for n in range(200_000):
                pipe.set(f"of-others:{n}", n)
            pipe.execute()
        with stage.fault(d, watch, "LOADING"):
            server.kill()
            server.launch()
            redis_faults.wait_for(server.url, "LOADING")
            took = redis_faults.wait_for(server.url, "PONG")
            since = time.monotonic()
            stage.note(f"loading took {took:.1f} s")
            if took < 1.0:
                message = f"it loaded in {took:.1f} s"
                raise Inconclusive(message)
        redis_back(stage, d, watch, since)
        settle(stage, d, load)
        assert all(w.alive or w.status == 0 for w in started)


# -- it lives and refuses ---------------------------------------------------------------------------------------------


def refusing(fault: Callable[[Any], Any], reason: str, said: str, seconds: float = 6.0) -> Callable[[Stage], None]:
    """Every write is refused for a while. ``said``: what the client says instead of the reason in a pipeline."""

    def play(stage: Stage) -> None:
        with working(stage, 20) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
            with stage.fault(d, watch, reason), contextlib.ExitStack() as stack:
                with away(stage, started, [reason, said], seconds):
                    stack.enter_context(fault(client))
                stack.close()
                since = time.monotonic()
            redis_back(stage, d, watch, since)
            settle(stage, d, load)

    return play


def busy(stage: Stage) -> None:
    """Somebody else's script runs for eight seconds: longer than a command of ours waits."""
    with working(stage, 25) as (d, watch, load, started):
        with stage.fault(d, watch, "BUSY"):
            with redis_faults.busy(d.redis.url, 8.0):
                not_ready(started[0], REDIS)
            since = time.monotonic()
        redis_back(stage, d, watch, since)
        settle(stage, d, load)


def frozen(stage: Stage) -> None:
    """It stands still for half a minute, with every connection open."""
    with working(stage, 50) as (d, watch, load, started):
        with stage.fault(d, watch, "SIGSTOP"), contextlib.ExitStack() as stack:
            with away(stage, started, REDIS, 30.0):
                stack.enter_context(redis_faults.frozen(d.redis.pid))
            stack.close()
            since = time.monotonic()
        redis_back(stage, d, watch, since)
        settle(stage, d, load)


# -- what does not pass -----------------------------------------------------------------------------------------------


def first_second(stage: Stage) -> None:
    """Redis loses its last second in the first second of all: refused, or lived again with the same results."""
    server = RedisService(settings=redis_faults.NO_REWRITE)
    with working(stage, 15, server=server) as (d, watch, load, started):
        size = redis_faults.written(server)
        with stage.fault(d, watch, "loss of everything"):
            server.kill()
            stage.note(f"{redis_faults.go_back(server, size)} commands and transactions were lost")
            server.restart()
        refused_or_right(stage, d, load, started)


def refused_or_right(stage: Stage, d: Deployment, load: Load, started: list[WorkerProcess]) -> None:
    """The worker ends with the right sentence and nobody begins anew, or everything is right in the end."""
    truth = load.wait()
    d.wait_for(lambda: not started[0].alive or stage.lag(d) == 0, "an end", PATIENCE_S)
    if started[0].alive:
        settle(stage, d, load)
        return
    stage.note(stopped(started[0], STATE).splitlines()[-1])
    no_fresh_start(d)
    stage.count("events", truth.total)


def flushed(stage: Stage) -> None:
    """FLUSHALL while the worker works: it ends and says so, and nobody begins anew."""
    with working(stage, 30) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
        proven(d)
        with stage.fault(d, watch, "FLUSHALL"):
            client.flushall()
            stage.note(stopped(started[0], STATE).splitlines()[-1])
        no_fresh_start(d)
        again = d.start("again")
        stopped(again, STATE)
        no_fresh_start(d)
        nothing_wrong(stage, d, load)


def flushed_while_down(stage: Stage) -> None:
    """FLUSHALL between two lives of a worker."""
    with working(stage, 30) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
        proven(d)
        with stage.fault(d, watch, "FLUSHALL"):
            started[0].kill()
            client.flushall()
            stage.note(stopped(d.start("again"), STATE).splitlines()[-1])
        no_fresh_start(d)
        nothing_wrong(stage, d, load)


def flushed_early(stage: Stage) -> None:
    """FLUSHALL right after the very first commits: refused, or lived again from the first record with the same results."""
    with working(stage, 10) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
        with stage.fault(d, watch, "FLUSHALL"):
            client.flushall()
        refused_or_right(stage, d, load, started)


DAMAGES: Final = (
    ("task head", "{task:*:head", "body"),
    ("progress of a task", "{task:*:head", "progress"),
    ("evaluator's head", "{model:*:head", "body"),
    ("progress of an evaluator", "{model:*:head", "progress"),
    ("pane", "{task:*:cell:features:*", ""),
    ("pane of labels", "{task:*:cell:performance:*", ""),
    ("segment of the join log", "{task:*:segment:*", ""),
)
"""(what, pattern of its key, field)."""


def flipped(stage: Stage) -> None:
    """One bit of each kind of state is turned round, at both ends and in the middle; turned back, everything goes on."""
    with working(stage, 20) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
        d.wait_for(
            lambda: all(redis_faults.key_with(client, pattern, field) for _, pattern, field in DAMAGES),
            "state of every kind",
        )
        with stage.fault(d, watch, "flipped bits"):
            started[0].kill()
            for number, (what, pattern, field) in enumerate(DAMAGES):
                key = redis_faults.key_with(client, pattern, field)
                at = (0.0, 0.5, 1.0)[number % 3]
                redis_faults.flip(client, key, field, at)
                worker = d.start(f"after-{number}")
                said = stopped(worker, STATE).splitlines()[-1]
                stage.note(f"{what}: {said}")
                redis_faults.flip(client, key, field, at)
        d.start("healed")
        settle(stage, d, load)


LOSSES: Final = (
    "{task:*:head",
    "{model:*:head",
    "{task:*:cell:features:*",
    "{task:*:cell:performance:*",
    "{task:*:cells:features:*",
    "{task:*:cells:performance:*",
    "{task:*:segment:*",
    "{task:*:segments",
    "*.predictions:starts",
    "*.predictions:pins",
)
"""Patterns of keys of which one may be gone."""
UNMISSED: Final = frozenset({"*.predictions:starts", "*.predictions:pins"})
"""Those that a worker goes on without, and makes again from what else it has: everything must come right then."""


def lost_keys(stage: Stage) -> None:
    """One key of every kind is gone between two lives of a worker: refused; ``UNMISSED`` ones may be of no consequence at all."""
    with working(stage, 35) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
        d.wait_for(lambda: all(redis_faults.keys(client, pattern) for pattern in LOSSES), "keys of every kind")
        d.wait_for(lambda: redis_faults.begun(client), "every shard to have state")
        proven(d)
        with stage.fault(d, watch, "lost keys"):
            started[0].kill()
            kept = {key: client.dump(key) for key in client.scan_iter()}
            silent = []
            for number, pattern in enumerate(LOSSES):
                client.delete(redis_faults.keys(client, pattern)[-1])
                worker = d.start(f"after-{number}")
                try:
                    stage.note(f"{pattern}: {stopped(worker, STATE, timeout_s=SILENT_S).splitlines()[-1]}")
                except NotInTime:
                    assert pattern in UNMISSED, f"without a key of {pattern} it neither refuses nor may go on"
                    silent.append(pattern)
                worker.kill()
                client.flushall()
                for key, value in kept.items():
                    client.restore(key, 0, value)
        truth = load.wait()
        for pattern in silent:
            client.delete(redis_faults.keys(client, pattern)[-1])
            stage.note(f"{pattern}: goes on")
        again = d.start("again")
        results.wait_until_done(d, truth, PATIENCE_S)
        assert again.alive, f"the worker ended with {again.status}: {again.tail()}"
        settle(stage, d, load)


def evicting(stage: Stage) -> None:
    """Somebody sets an eviction policy: a worker that starts refuses it, and one that runs waits until it is as it was."""
    with working(stage, 40) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
        with stage.fault(d, watch, "allkeys-lru"), redis_faults.evicting(client):
            stopped(d.start("late"), "maxmemory-policy")
            not_ready(started[0], ["maxmemory-policy"], TOPICS_EVERY_S + NOTICED_S)
        settle(stage, d, load)


def evicted(stage: Stage) -> None:
    """Keys are evicted under a running worker: it must say so, sooner or later.

    Half of them: those that nobody has used for long go first, and of records of evaluated windows, which are kept for people, a
    worker misses none.
    """
    with working(stage, 35) as (d, watch, load, started), redis.from_url(d.redis.url) as client:
        d.wait_for(lambda: redis_faults.keys(client, "{task:*:cell:features:*"), "closed panes", 30)
        proven(d)
        with stage.fault(d, watch, "eviction"), redis_faults.evicting(client):
            before = client.dbsize()

            def half() -> bool:
                client.config_set("maxmemory", str(client.info("memory")["used_memory"] - 20_000))
                return bool(client.info("stats")["evicted_keys"] > before / 2)

            d.wait_for(half, "evictions", 20)
            client.config_set("maxmemory", "0")
            stage.note(f"{client.info('stats')['evicted_keys']} of {before} keys were evicted")
        load.wait()
        stage.note(stopped(started[0], STATE).splitlines()[-1])
        nothing_wrong(stage, d, load)


CELLS = [
    Cell("redis.kill", "Redis is killed five times and comes back with its log", killed("everysec", 5)),
    Cell("redis.kill-always", "the same with appendfsync always", killed("always", 2)),
    Cell(
        "redis.last-second",
        "Redis is killed and has lost the last 1.5 s of its log; two workers live on",
        last_second(3, workers=2, worker_dies=False),
    ),
    Cell(
        "redis.last-second-worker",
        "Redis loses its last 1.5 s and a worker dies with it",
        last_second(3, workers=1, worker_dies=True),
    ),
    Cell("redis.first-second", "Redis loses the very first commits of all", first_second),
    Cell("redis.loading", "Redis comes back and answers LOADING for seconds", loading),
    Cell("redis.full", "Redis refuses every write for want of memory", refusing(redis_faults.full, "OOM", "maxmemory")),
    Cell(
        "redis.read-only",
        "Redis is a replica whose master is away: READONLY",
        refusing(redis_faults.read_only, "READONLY", "read only replica"),
    ),
    Cell("redis.busy", "another client's script blocks Redis for 8 s", busy),
    Cell("redis.frozen", "Redis stands still for 30 s", frozen),
    Cell("redis.flushall", "FLUSHALL under a running worker", flushed),
    Cell("redis.flushall-early", "FLUSHALL right after the first commits of all", flushed_early),
    Cell("redis.flushall-down", "FLUSHALL between two lives of a worker", flushed_while_down),
    Cell("redis.flipped", "one bit of every kind of state is turned round", flipped),
    Cell("redis.lost-keys", "one key of every kind is gone", lost_keys),
    Cell("redis.policy", "somebody sets an eviction policy", evicting),
    Cell("redis.evicted", "keys of driftline are evicted", evicted),
]
