"""Cells in which the network between a worker and Redis, or Kafka, fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import redis

from streams.edges.embedded import LOOPBACK
from tests.faults.absences import KAFKA, KAFKA_LATE, REDIS, away, kafka_back, redis_back, settle
from tests.faults.cell import Cell, Inconclusive, Stage
from tests.faults.proxy import Proxy, Trap
from tests.faults.scene import Ways, steady, working
from tests.services.kafka import KafkaService
from tests.services.redis import RedisService

COMMIT: Final = b"EVALSHA"
"""What every commit's request has in it."""
STRIKES: Final = 15
"""How many commits a cell hits, one after another: those of tasks and of evaluators are among them."""
ENOUGH: Final = 6
"""Fewer prove little: one in three is an evaluator's."""
_STRUCK_S: Final = 30.0
"""How long a trap waits for its request: commits come five times a second and task."""


# -- single requests and replies --------------------------------------------------------------------------------------


def trapped(lay: Callable[[Proxy], Trap]) -> Callable[[Stage], None]:
    """One commit after another is hit on its way there or back."""

    def play(stage: Stage) -> None:
        with Proxy() as proxy, working(stage, 15, ways=Ways(redis=proxy)) as (d, watch, load, started):
            strikes = 0
            with stage.fault(d, watch, "traps"):
                while strikes < STRIKES and load.running:
                    trap = lay(proxy)
                    if not trap.struck.wait(_STRUCK_S):
                        message = "no commit came by"
                        raise Inconclusive(message)
                    since, before = time.monotonic(), watch.commits()
                    d.wait_for(lambda before=before: watch.commits() > before, "a commit after the trap had struck")  # type: ignore[misc]
                    stage.sample("connection lost -> next commit, s", time.monotonic() - since)
                    strikes += 1
            stage.note(f"{strikes} commits were hit")
            stage.count("commits hit", strikes)
            if strikes < ENOUGH:
                message = f"only {strikes} commits were hit"
                raise Inconclusive(message)
            assert started[0].alive, f"the worker ended with {started[0].status}: {started[0].tail()}"
            settle(stage, d, load)

    return play


def resets(stage: Stage) -> None:
    """Every connection to Redis is reset five times a second for ten seconds, at whatever is under way."""
    with Proxy() as proxy, working(stage, 20, ways=Ways(redis=proxy)) as (d, watch, load, _):
        with stage.fault(d, watch, "resets"):
            for _ in range(50):
                proxy.reset()
                time.sleep(0.2)
            since = time.monotonic()
        redis_back(stage, d, watch, since)
        stage.note(f"{proxy.connections} connections")
        settle(stage, d, load)


# -- for a while ------------------------------------------------------------------------------------------------------


def redis_gone(fault: Callable[[Proxy], None], seconds: float) -> Callable[[Stage], None]:
    """The way to Redis is blocked for so long."""

    def play(stage: Stage) -> None:
        with Proxy() as proxy, working(stage, seconds + 15, ways=Ways(redis=proxy)) as (d, watch, load, started):
            with stage.fault(d, watch, fault.__name__):
                with away(stage, started, REDIS, seconds):
                    fault(proxy)
                proxy.clear()
                since = time.monotonic()
            redis_back(stage, d, watch, since)
            settle(stage, d, load)

    return play


def redis_slow(fault: Callable[[Proxy], None], seconds: float) -> Callable[[Stage], None]:
    """The way to Redis is slow for so long: the worker may wait and may not end."""

    def play(stage: Stage) -> None:
        with Proxy() as proxy, working(stage, seconds + 10, ways=Ways(redis=proxy)) as (d, watch, load, started):
            with stage.fault(d, watch, "slow"):
                before = watch.commits()
                fault(proxy)
                time.sleep(seconds)
                stage.note(f"{watch.commits() - before} commits in {seconds} slow seconds")
                proxy.clear()
                since = time.monotonic()
            assert started[0].alive, f"the worker ended with {started[0].status}: {started[0].tail()}"
            redis_back(stage, d, watch, since)
            settle(stage, d, load)

    return play


def one_without_redis(stage: Stage) -> None:
    """One of two workers loses Redis for fifteen seconds and stays in the group; the other goes on."""
    with Proxy() as proxy, working(stage, 30, 2, ways=Ways(redis=proxy, behind=1)) as (d, watch, load, started):
        mine = started[1].partitions()
        with stage.fault(d, watch, "one without Redis"):
            with away(stage, started[:1], REDIS, 15.0):
                proxy.cut()
                begin = time.monotonic()
            took = watch.wait_commit(mine, begin)
            assert took is not None, "the other worker stood still, too"
            proxy.clear()
            since = time.monotonic()
        redis_back(stage, d, watch, since)
        settle(stage, d, load)


@contextlib.contextmanager
def broker() -> Iterator[tuple[KafkaService, Proxy]]:
    """A broker of the cell's own, with a proxy in front of it."""
    with Proxy() as proxy, KafkaService(proxy=proxy.port) as service:
        proxy.target = service.behind
        yield service, proxy


def kafka_gone(fault: Callable[[Proxy], None], seconds: float) -> Callable[[Stage], None]:
    """The way to Kafka is blocked for so long."""

    def play(stage: Stage) -> None:
        with broker() as (service, proxy):
            scene = working(stage, seconds + 15, kafka=service, ways=Ways(kafka=proxy))
            with scene as (d, watch, load, started):
                with stage.fault(d, watch, fault.__name__):
                    with away(stage, started, KAFKA, seconds):
                        fault(proxy)
                    proxy.clear()
                    since = time.monotonic()
                kafka_back(stage, d, since, KAFKA_LATE)
                settle(stage, d, load)

    return play


def kafka_slow(stage: Stage) -> None:
    """The way to Kafka lets 100 kB a second through, a fifth of what is produced, with 50 ms of delay before it."""
    with (
        broker() as (service, proxy),
        working(stage, 25, kafka=service, ways=Ways(kafka=proxy)) as (d, watch, load, started),
    ):
        with stage.fault(d, watch, "slow"):
            proxy.delay(0.05)
            time.sleep(5)
            proxy.trickle(100_000)
            time.sleep(10)
            proxy.clear()
            since = time.monotonic()
        assert started[0].alive, f"the worker ended with {started[0].status}: {started[0].tail()}"
        kafka_back(stage, d, since)
        settle(stage, d, load)


def one_without_kafka(stage: Stage) -> None:
    """One of two workers loses Kafka beyond its session and keeps Redis; the other takes over; then it comes back."""
    with contextlib.ExitStack() as stack:
        service, proxy = stack.enter_context(broker())
        scene = working(stage, 40, 2, kafka=service, ways=Ways(kafka=proxy, behind=1))
        d, watch, load, started = stack.enter_context(scene)
        lost = started[0].partitions()
        with stage.fault(d, watch, "one without Kafka"):
            proxy.cut()
            begin = time.monotonic()
            d.wait_for(lambda: len(watch.owners()) == 1, "the other worker to take over", 40)
            took = watch.wait_commit(lost, begin)
            assert took is not None, "nobody went on with its tasks"
            stage.sample("worker cut off from Kafka -> its tasks committed elsewhere, s", took)
            proxy.clear()
        d.wait_for(lambda: len(watch.owners()) == 2, "it to come back", 60)
        assert started[0].alive, f"the worker ended with {started[0].status}: {started[0].tail()}"
        settle(stage, d, load)


# -- a replica takes over ---------------------------------------------------------------------------------------------


class Fronted(RedisService):
    """A Redis whose address is a proxy's, so that another may stand in its place."""

    def __init__(self, proxy: Proxy) -> None:
        """Listen behind the proxy."""
        super().__init__()
        proxy.target = self.port
        self.port, self.url = proxy.port, f"redis://{LOOPBACK}:{proxy.port}/0"


def failover(stage: Stage) -> None:
    """The master dies; a replica that is a second and a half behind takes its place, under the same address."""
    with Proxy() as address, Proxy() as link:
        master = Fronted(address)
        link.target = address.target
        replica = RedisService(settings=["--replicaof", LOOPBACK, str(link.port)])
        with working(stage, 50, 2, master) as (d, watch, load, _), contextlib.closing(replica):
            replica.start()
            with redis.from_url(replica.url) as client:
                d.wait_for(lambda: client.info("replication")["master_link_status"] == "up", "the replica to follow")
                steady(d, watch)
                with stage.fault(d, watch, "failover"):
                    link.hold()
                    before = watch.commits()
                    time.sleep(1.5)
                    stage.note(f"{watch.commits() - before} commits that the replica never saw")
                    master.kill()
                    link.cut()
                    client.replicaof("NO", "ONE")
                    address.target = replica.port
                    address.reset()
                    since = time.monotonic()
                redis_back(stage, d, watch, since)
                settle(stage, d, load)


def _back_and_forth(proxy: Proxy) -> None:
    proxy.delay(0.3)


def _thin(proxy: Proxy) -> None:
    proxy.trickle(20_000)


CELLS = [
    Cell(
        "redis.reply-cut",
        "the reply of a commit is cut after the script ran, fifteen times",
        trapped(lambda proxy: proxy.cut_reply(COMMIT)),
        short=True,
    ),
    Cell(
        "redis.request-cut",
        "a commit is cut in the middle of its request, fifteen times",
        trapped(lambda proxy: proxy.cut_request(COMMIT, keep=200)),
    ),
    Cell(
        "redis.request-late",
        "a commit reaches Redis a second after its worker has given it up, fifteen times",
        trapped(lambda proxy: proxy.late_request(COMMIT, after_s=1.0)),
    ),
    Cell("redis.resets", "all connections to Redis are reset five times a second", resets),
    Cell("redis.cut", "Redis is unreachable for 8 s: connections are reset", redis_gone(Proxy.cut, 8.0)),
    Cell("redis.hold", "a partition between worker and Redis for 12 s, which heals", redis_gone(Proxy.hold, 12.0)),
    Cell(
        "redis.half-open",
        "connections to Redis stay open and deliver nothing for 12 s, nor ever after",
        redis_gone(Proxy.half_open, 12.0),
    ),
    Cell("redis.delay", "300 ms of delay each way to Redis", redis_slow(_back_and_forth, 10.0)),
    Cell("redis.trickle", "20 kB a second to Redis", redis_slow(_thin, 15.0)),
    Cell("redis.one-cut-off", "one of two workers loses Redis for 15 s", one_without_redis),
    Cell("redis.failover", "a replica that is 1.5 s behind takes over", failover),
    Cell("kafka.cut", "Kafka is unreachable for 15 s: connections are reset", kafka_gone(Proxy.cut, 15.0)),
    Cell("kafka.hold", "a partition between worker and Kafka for 15 s, which heals", kafka_gone(Proxy.hold, 15.0)),
    Cell(
        "kafka.half-open",
        "connections to Kafka stay open and deliver nothing for 15 s, nor ever after",
        kafka_gone(Proxy.half_open, 15.0),
    ),
    Cell("kafka.slow", "Kafka is slower than what is produced", kafka_slow),
    Cell("kafka.one-cut-off", "one of two workers loses Kafka beyond its session", one_without_kafka),
]
