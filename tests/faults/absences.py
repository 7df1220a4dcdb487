"""What a worker must do while something it needs is away, what it must do when it cannot go on, and how soon it is back.

``away`` is held around a fault that passes: the worker lives, ``/readyz`` is 503 and says why, its memory stays as it is.
``redis_back`` and ``kafka_back`` take the time until work goes on. ``stopped`` and ``no_fresh_start`` are for what does not pass:
the worker ends with the right sentence, and nobody has begun anew in silence.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Final

import orjson
from confluent_kafka import KafkaException

from schemas.errors import RESTORE
from tests.faults import redis_faults, results
from tests.faults.cell import Missed, Stage
from tests.faults.deployment import SESSION_MS, Deployment, NotInTime
from tests.faults.load import Load, Truth
from tests.faults.processes import LOOK_S, WorkerProcess
from tests.faults.watch import Watch

REDIS: Final = ("Redis",)
"""What a worker's reason names when Redis is away."""
KAFKA: Final = ("Kafka", "no partition is assigned")
"""What a worker's reason names when the broker is away; the second, when its session is over, too."""
KAFKA_LATE: Final = "Kafka back after more than a session -> caught up, s"
"""A member whose session is over comes back as another one, and the coordinator waits a session for the old one."""
STATE: Final = RESTORE.partition(",")[0]
"""What a worker says at its end when state is missing or damaged."""
NOTICED_S: Final = 20.0
"""A worker may wait this long for an answer before it says that something is away: two requests of ten seconds to a broker."""
SETTLED_S: Final = 5.0
"""After so long of an absence everything that was on its way has come: from here on memory must not grow."""
FLAT_BYTES: Final = 16 << 20
"""What memory may still grow by then: an allocator's arena or two, far less than a second of traffic a second would be."""
REDIS_BACK: Final = "Redis back -> every task has committed, s"
KAFKA_BACK: Final = "Kafka back -> caught up, s"
REDIS_BACK_S: Final = 2.0
"""Redis answers again -> every task has committed: the promise."""
KAFKA_BACK_S: Final = 5.0
"""The broker serves again -> everything produced by then is committed: the promise."""
KAFKA_LATE_S: Final = KAFKA_BACK_S + SESSION_MS / 1000
CALM_S: Final = 180.0
"""How long an undisturbed run may take: it reads what a cell has produced in half a minute."""
STOPS_S: Final = 60.0
"""Until a worker that cannot go on has ended: a session, a rejoin and the questions that it asks first."""


@contextlib.contextmanager
def away(stage: Stage, workers: list[WorkerProcess], reasons: Sequence[str], seconds: float) -> Iterator[None]:
    """The block begins an absence, which lasts ``seconds``; what ends it comes after. ``reasons``: part of what is said."""
    yield
    begin = time.monotonic()
    for worker in workers:
        not_ready(worker, reasons)
    settled: dict[str, int] = {}
    while (past := time.monotonic() - begin) < seconds:
        if past >= SETTLED_S and not settled:
            settled = {w.name: w.memory_bytes() for w in workers}
        time.sleep(LOOK_S)
    for worker in workers:
        assert worker.alive, f"{worker.name} ended with {worker.status} while it should have waited: {worker.tail()}"
        ready, why = worker.ready()
        assert not ready, f"{worker.name} says that it is ready after {seconds} s of absence"
        assert any(r in why for r in reasons), f"{worker.name} says {why!r}, none of {reasons}"
        if settled:
            grown = worker.memory_bytes() - settled[worker.name]
            stage.sample("memory grown in an absence, bytes", grown)
            assert grown < FLAT_BYTES, f"{worker.name} has grown by {grown} bytes in {seconds} s"
    stage.note(f"/readyz said: {why}")


def not_ready(worker: WorkerProcess, reasons: Sequence[str], timeout_s: float = NOTICED_S) -> None:
    """Return when ``/readyz`` is 503 with a reason; NotInTime when it does not come to that."""
    deadline, said = time.monotonic() + timeout_s, "nothing"
    while time.monotonic() < deadline:
        assert worker.alive, f"{worker.name} ended with {worker.status}: {worker.tail()}"
        code, said = worker.ask("/readyz")
        if code == 503 and any(r in said for r in reasons):
            return
        time.sleep(LOOK_S)
    message = f"{worker.name} never said 503 and one of {reasons}; last: {said!r}"
    raise NotInTime(message)


def redis_back(stage: Stage, deployment: Deployment, watch: Watch, since: float) -> None:
    """Time from Redis answering again (``since``) to a commit of every task."""
    took = watch.wait_commit(set(range(deployment.partitions)), since)
    if took is None and stage.lag(deployment) == 0:
        message = "everything was read before Redis was back: nothing was left to commit"
        raise Missed(message)
    assert took is not None, "no commit came after Redis was back"
    stage.sample(REDIS_BACK, took)


def kafka_back(stage: Stage, deployment: Deployment, since: float, series: str = KAFKA_BACK) -> None:
    """Time from the broker serving again (``since``) until what was produced by then is committed."""
    ends: dict[tuple[str, int], int] = {}

    def told() -> bool:
        with contextlib.suppress(KafkaException):  # it has just come back
            ends.update({(deployment.topics[h], p): n for (h, p), n in deployment.ends().items()})
        return bool(ends)

    deployment.wait_for(told, "the broker to answer")

    def caught_up() -> bool:
        found = results.offsets(deployment)
        return all(found.get(key, 0) >= n for key, n in ends.items())

    deployment.wait_for(caught_up, "the worker to catch up")
    took = time.monotonic() - since
    stage.sample(series, took)


def proven(deployment: Deployment) -> None:
    """Return when the journal knows that every shard has had state (``Shard.prove``): from then on it is missed."""
    import redis  # noqa: PLC0415  # beside its only use, as below

    def known() -> bool:
        said = (orjson.loads(value) for value, _ in results.read_topics(deployment, ("journal",))["journal"])
        told = {record["shard"] for record in said if record.get("sequence")}
        with redis.from_url(deployment.redis.url) as client:
            heads = {
                key.removeprefix("driftline:").removesuffix(":head") for key in redis_faults.keys(client, "*:head")
            }
        return bool(heads) and heads <= told

    deployment.wait_for(known, "the journal to know that there is state")


def settle(stage: Stage, deployment: Deployment, load: Load) -> Truth:
    """Everything is right in the end, and came back in time: what is wrong is told before what is late."""
    truth = stage.settle(deployment, load)
    for series, limit in ((REDIS_BACK, REDIS_BACK_S), (KAFKA_BACK, KAFKA_BACK_S), (KAFKA_LATE, KAFKA_LATE_S)):
        late = [f"{s:.2f}" for s in stage.samples.get(series, []) if s > limit]
        assert not late, f"{series}: {', '.join(late)}; promised are {limit}"
    return truth


def stopped(worker: WorkerProcess, *sentences: str, timeout_s: float = STOPS_S) -> str:
    """The worker ends by itself with status 2 and one of these in its last sentence, and no traceback; returns what it said.

    NotInTime when it goes on. The last sentence is what it says at its end: every line that is no line of the log, which is JSON.
    """
    try:
        status = worker.wait(timeout_s)
    except subprocess.TimeoutExpired:
        ready, why = worker.ready()
        message = f"{worker.name} goes on (ready: {ready}, {why!r}) and should have ended: {worker.tail(5)}"
        raise NotInTime(message) from None
    said = worker.said()
    assert status == 2, f"{worker.name} ended with {status}: {worker.tail()}"
    assert "Traceback" not in said, f"{worker.name} ended with a traceback: {worker.tail()}"
    last = last_words(said)
    assert any(s in last for s in sentences), f"{worker.name} ended with other words: {worker.tail(3)}"
    return said


def last_words(said: str) -> str:
    """The lines behind the last line of the log: what a worker says of its end, and nothing that it said of its life."""
    behind: list[str] = []
    for line in reversed(said.splitlines()):
        if line.startswith('{"'):  # and not the name of a shard
            break
        behind.append(line)
    return "\n".join(reversed(behind))


def events(deployment: Deployment) -> dict[str, bytes]:
    """What is published, by id; one id, one payload."""
    found: dict[str, bytes] = {}
    for records in results.read_topics(deployment, ("alerts", "retrain")).values():
        for value, _ in records:
            name = orjson.loads(value)["id"]
            data = results._payload(value, deployment.config.group)  # noqa: SLF001  # it knows what differs by name only
            assert found.setdefault(name, data) == data, f"two payloads under {name}"
    return found


def nothing_wrong(stage: Stage, deployment: Deployment, load: Load) -> Truth:
    """Everything that was published is in an undisturbed run of the same topics, too; the workers have ended."""
    truth = load.wait()
    deployment.end_workers(orderly=False)
    calm = results.undisturbed(deployment, truth, stage.folder / "calm", CALM_S)
    found = events(deployment)
    wrong = [name for name, data in found.items() if calm.events.get(name) != data]
    stage.note(f"{len(found)} events published, {len(calm.events)} in an undisturbed run")
    stage.count("events", truth.total)
    assert not wrong, f"{len(wrong)} events that an undisturbed run does not have: {wrong[:5]}"
    return truth


def no_fresh_start(deployment: Deployment) -> None:
    """Nobody has made state where there was none: there is no head with anything in it."""
    import redis  # noqa: PLC0415  # beside its only use

    with redis.from_url(deployment.redis.url) as client:
        made = [key for key in redis_faults.keys(client, "*:head") if client.hexists(key, "body")]
    assert not made, f"state was begun anew in silence: {made}"
