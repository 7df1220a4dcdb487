"""Cells in which something happens to Kafka or to one of its topics."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Final

import psutil
from confluent_kafka import Producer

from streams.edges.redis_store import RedisStore
from streams.status import read_status
from streams.worker import UNCOMMITTED_S
from tests.faults import kafka_faults, redis_faults, results
from tests.faults.absences import (
    FLAT_BYTES,
    KAFKA,
    KAFKA_BACK,
    KAFKA_LATE,
    SETTLED_S,
    away,
    kafka_back,
    not_ready,
    settle,
    stopped,
)
from tests.faults.cell import Cell, Inconclusive, Missed, Stage
from tests.faults.deployment import INPUTS, KEEP, Deployment, NotInTime
from tests.faults.load import BEGIN, Load, Truth, place, truth_of
from tests.faults.processes import WorkerProcess
from tests.faults.scene import USUAL, spec, working
from tests.faults.watch import Watch
from tests.services.kafka import KafkaService

BEHIND: Final = ("the topic begins at", "no longer has the records")
"""What a worker says when retention was faster than it."""
REMADE: Final = ("made anew", "does not exist", "no longer has the records")
"""What a worker says when a topic is not the one that it has read."""
OTHER_COUNT: Final = "the state was made for"
"""What a worker says when a topic has another number of partitions."""
UNACKNOWLEDGED: Final = ("Kafka does not acknowledge", "dead letters wait")
"""What a worker's reason names when counts, or dead letters, wait for a topic that takes nothing."""
UNCLAIMED: Final = ("no partition is assigned", "journal")
"""What a worker's reason names when its claims do not stand in the journal: then no task is its own."""
REFUSES_S: Final = UNCOMMITTED_S + SETTLED_S
"""Until it says so: what it promises, and time for a fetch and an answer on a machine that others use, too."""
WAITING_SHARE: Final = 0.25
"""Of a core, at most, while it waits: it looks around every ``RETRY_S`` and folds nothing; a busy loop takes all of one."""
KIP848: Final = {"group.protocol": "consumer"}
"""The protocol in which the broker, not a member, hands out the partitions."""
PATIENCE_S: Final = 20.0
"""Until something that the traffic brings about in a second or two has come about, beside everything else."""


# -- the broker -------------------------------------------------------------------------------------------------------


def restarted(rounds: int, *, orderly: bool) -> Callable[[Stage], None]:
    """It ends, orderly or not, and is started again at once, so many times."""

    def play(stage: Stage) -> None:
        seconds = 15.0 * rounds
        with (
            KafkaService() as service,
            working(stage, seconds, kafka=service, choices=USUAL) as (d, watch, load, started),
        ):
            for number in range(rounds):
                with stage.fault(d, watch, f"restart {number + 1}"):
                    if not orderly:
                        service.kill()
                    service.restart()
                    since = time.monotonic()
                assert started[0].alive, f"the worker ended with {started[0].status}: {started[0].tail()}"
                kafka_back(stage, d, since)
            settle(stage, d, load)

    return play


def frozen(seconds: float) -> Callable[[Stage], None]:
    """It stands still for so long, with every connection open."""

    def play(stage: Stage) -> None:
        with KafkaService() as service, working(stage, seconds + 15, kafka=service) as (d, watch, load, started):
            with stage.fault(d, watch, "SIGSTOP"), contextlib.ExitStack() as stack:
                with away(stage, started, KAFKA, seconds):
                    stack.enter_context(redis_faults.frozen(service.pid))
                stack.close()
                since = time.monotonic()
            kafka_back(stage, d, since, KAFKA_LATE)
            settle(stage, d, load)

    return play


def absent(seconds: float, series: str = KAFKA_BACK, **scene: object) -> Callable[[Stage], None]:
    """It is gone for so long, after an orderly end; two workers wait, and hold nothing that grows.

    In the classic protocol the coordinator waits one session for what dynamic members were before: a series of its own.
    """

    def play(stage: Stage) -> None:
        with (
            KafkaService() as service,
            working(stage, 30, 2, kafka=service, choices=scene) as (d, watch, load, started),
        ):
            with stage.fault(d, watch, f"away for {seconds:.0f} s"):
                with away(stage, started, KAFKA, seconds):
                    service.stop()
                service.restart()
                since = time.monotonic()
            kafka_back(stage, d, since, series)
            settle(stage, d, load)

    return play


# -- the inputs -------------------------------------------------------------------------------------------------------


def nothing_moves(d: Deployment, before: dict[tuple[str, int], int]) -> None:
    """The state stands where it stood, and every record up to there has one outcome."""
    assert results.offsets(d) == before, "the state has moved although records were missing"
    status = read_status(d.config, RedisStore(d.redis.url))
    for task in status.tasks:
        for topic, offset in task.offsets.items():
            waiting = task.waiting if topic == d.topics["labels"] else 0
            found = sum(task.outcomes.get(topic, {}).values()) + waiting
            assert found == offset, f"{topic}/{task.partition}: {found} outcomes of {offset} records"


def trimmed(*, half: str) -> Callable[[Stage], None]:
    """Retention deletes records of one topic that nobody has counted, between two lives of a worker."""

    def play(stage: Stage) -> None:
        with working(stage, 15) as (d, watch, load, started):
            with stage.fault(d, watch, f"{half} trimmed"):
                started[0].kill()
                before = results.offsets(d)
                load.wait()
                cut = {p: before.get((d.topics[half], p), 0) + 100 for p in range(d.partitions)}
                kafka_faults.trim(d.bootstrap, d.topics[half], cut)
            stage.note(stopped(d.start("again"), *BEHIND).splitlines()[-1])
            nothing_moves(d, before)

    return play


def trimmed_while_working(stage: Stage) -> None:
    """Retention overtakes a worker that was held up for three seconds: it may not jump over what is gone."""
    with working(stage, 20) as (d, watch, load, started):
        with stage.fault(d, watch, "trimmed under a worker"):
            started[0].freeze()
            time.sleep(3)
            ends = {p: n for (half, p), n in d.ends().items() if half == "predictions"}
            kafka_faults.trim(d.bootstrap, d.topics["predictions"], ends)
            started[0].thaw()
            stage.note(stopped(started[0], *BEHIND).splitlines()[-1])
        again = d.start("again")
        before = results.offsets(d)
        stopped(again, *BEHIND)
        nothing_moves(d, before)
        load.wait()


def made_anew(*, longer: bool, alive: bool) -> Callable[[Stage], None]:
    """The predictions topic is deleted and made again; ``longer``: and is filled beyond where we stood."""

    def play(stage: Stage) -> None:
        with working(stage, 12) as (d, watch, load, started):
            topic = d.topics["predictions"]
            before: dict[tuple[str, int], int] = {}

            def ends_before() -> bool:
                """The new topic ends before what was counted of the old one: what is unread would be a negative number."""
                found = d.ends()
                return all(found["predictions", p] < before[topic, p] for p in range(d.partitions))

            with stage.fault(d, watch, "made anew", proof=None if longer else ends_before):
                load.wait()
                d.wait_for(lambda: stage.lag(d) == 0, "everything to be read")
                if not alive:
                    started[0].kill()
                before |= results.offsets(d)
                kafka_faults.delete(d.bootstrap, topic)
                kafka_faults.make(d.bootstrap, topic, d.partitions, KEEP)
                if longer:
                    fill(d.bootstrap, topic, {p: before[topic, p] + 500 for p in range(d.partitions)})
                worker = started[0] if alive else d.start("again")
                stage.note(stopped(worker, *REMADE).splitlines()[-1])
            nothing_moves(d, before)

    return play


def fill(bootstrap: str, topic: str, counts: dict[int, int]) -> None:
    """Other records under the name of the old ones, at least so many in each partition."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})
    missing = dict(counts)
    for n in itertools.count():
        if all(left <= 0 for left in missing.values()):
            break
        key = f"other{n}"
        partition = place(key, len(counts))
        missing[partition] -= 1
        event = f'{{"prediction_id":"{key}","model":"loans","model_version":"v1","event_time":{BEGIN + n}}}'
        producer.produce(topic, event, key, partition, timestamp=BEGIN + n)
        producer.poll(0)
    producer.flush(PATIENCE_S)


def partitions_grown(stage: Stage) -> None:
    """Somebody adds partitions while a worker runs: keys move, and nobody may go on as if nothing had happened."""
    often = {"kafka_settings": {"topic.metadata.refresh.interval.ms": 1_000}}  # five minutes by default
    with working(stage, 25, choices=often) as (d, watch, load, started):
        with stage.fault(d, watch, "partitions added"):
            kafka_faults.grow(d.bootstrap, d.topics["predictions"], d.partitions + 2)
            kafka_faults.grow(d.bootstrap, d.topics["labels"], d.partitions + 2)
            stage.note(stopped(started[0], OTHER_COUNT).splitlines()[-1])
        load.wait()


def bad_partition(stage: Stage) -> None:
    """Every record of one partition is damaged: all of them are dead letters, and the other partitions go on."""
    with working(stage, 15, bad_partition=2) as (d, watch, load, _):
        with stage.fault(d, watch, "a whole partition of damaged records"):
            pass
        truth = settle(stage, d, load)
        stage.note(f"{len(truth.dead_letters)} dead letters")


class Polluted(Load):
    """A load that had rubbish sent beside it: its truth has both."""

    def __init__(self, load: Load, values: list[bytes | None]) -> None:
        """``values`` were sent to every partition of both inputs before the load began."""
        self._load, self._values = load, values

    def wait(self, timeout_s: float = 600.0) -> Truth:
        """The truth of both: the rubbish came first, and everything else stands behind it."""
        truth, n = self._load.wait(timeout_s), len(self._values)
        moved = []
        for name in truth.dead_letters:
            half, partition, offset = name.split("/")
            moved.append(f"{half}/{partition}/{int(offset) + n}")
        truth.dead_letters = moved
        for half in INPUTS:
            for number in truth.records[half]:
                truth.records[half][number] += n
                truth.dead_letters += [f"{half}/{number}/{k}" for k in range(n)]
            known = truth.outcomes[half]
            known["dead_letter"] = known.get("dead_letter", 0) + n * len(truth.records[half])
        return truth


def rubbish(stage: Stage) -> None:
    """Two thousand records of rubbish of every kind head every partition of both inputs, a burst of dead letters."""
    values = kafka_faults.rubbish(2_000)
    with stage.deployment() as d, Watch(d) as watch:
        producer = Producer({"bootstrap.servers": d.bootstrap, "linger.ms": 20})
        for half in INPUTS:
            for partition in range(d.partitions):
                for value in values:
                    producer.produce(d.topics[half], value, partition=partition, timestamp=BEGIN)
                producer.flush(PATIENCE_S)
        d.wait_ready(d.start("one"))
        load = d.load(spec(15))
        with stage.fault(d, watch, "rubbish"):
            pass
        settle(stage, d, Polluted(load, values))


# -- the outputs ------------------------------------------------------------------------------------------------------


def letters(d: Deployment) -> set[tuple[str, int, int]]:
    """The dead letters that are there, by topic, partition and offset; none where there is no topic."""
    found: set[tuple[str, int, int]] = set()
    if kafka_faults.admin(d.bootstrap).list_topics(d.topics["dead_letters"]).topics[d.topics["dead_letters"]].error:
        return found
    for _, headers in results.read_topics(d, ["dead_letters"])["dead_letters"]:
        topic, partition, offset = headers["driftline.id"].decode().split("/")
        found.add((topic, int(partition), int(offset)))
    return found


def none_passed(d: Deployment, bad: Truth) -> int:
    """Every bad record that a commit has passed has its dead letter (R7); returns how many were passed."""
    at = results.offsets(d)  # first: what is acknowledged later does not matter
    there = letters(d)
    passed = 0
    for name in bad.dead_letters:
        half, partition, offset = name.split("/")
        key = d.topics[half], int(partition)
        if int(offset) < at.get(key, 0):
            passed += 1
            assert (*key, int(offset)) in there, f"a commit has passed {name}, and there is no dead letter of it"
    return passed


def cpu_share(worker: WorkerProcess, seconds: float) -> float:
    """The share of one core that a worker takes for so long."""
    process = psutil.Process(worker.pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return float((sum(process.cpu_times()[:2]) - before) / seconds)


@contextlib.contextmanager
def refused(d: Deployment) -> Iterator[None]:
    """The dead-letter topic takes nothing."""
    with kafka_faults.refusing(d.bootstrap, d.topics["dead_letters"]):
        yield


@contextlib.contextmanager
def deleted(d: Deployment) -> Iterator[None]:
    """There is no dead-letter topic. Only for traffic that has no bad record before it."""
    kafka_faults.delete(d.bootstrap, d.topics["dead_letters"])
    try:
        yield
    finally:
        kafka_faults.make(d.bootstrap, d.topics["dead_letters"], d.partitions, {"retention.ms": "-1"})


def no_letters(fault: Callable[[Deployment], contextlib.AbstractContextManager[None]]) -> Callable[[Stage], None]:
    """Dead letters cannot be written for ten seconds: no commit passes a bad record, nothing grows, and then all goes on."""

    def play(stage: Stage) -> None:
        with stage.deployment() as d, Watch(d) as watch:
            worker = d.start("one")
            d.wait_ready(worker)
            truth = truth_of(spec(25))
            with fault(d):
                load = d.load(spec(25))
                d.wait_for(lambda: stage.lag(d), "traffic")
                not_ready(worker, UNACKNOWLEDGED, REFUSES_S)
                time.sleep(SETTLED_S)  # what was on its way has come
                memory, before = worker.memory_bytes(), watch.commits()
                share, (ready, why) = cpu_share(worker, 5.0), worker.ready()
                grown = worker.memory_bytes() - memory
                stage.note(f"{share:.2f} of a core; memory grew by {grown >> 10} KiB in 5 s; /readyz said: {why}")
                assert not ready, "it says that it is ready, and cannot commit"
                assert any(r in why for r in UNACKNOWLEDGED), f"/readyz says {why!r}, none of {UNACKNOWLEDGED}"
                assert grown < FLAT_BYTES, f"memory grew by {grown} bytes in 5 s"
                assert share < WAITING_SHARE, f"waiting takes {share:.2f} of a core"
                stage.note(f"{before} commits before, {watch.commits() - before} meanwhile")
                assert worker.alive, f"the worker ended with {worker.status}: {worker.tail()}"
                stage.note(f"{none_passed(d, truth)} bad records were passed, each with its dead letter")
                if not stage.lag(d):
                    message = "everything was read: nothing waited for the dead letters"
                    raise Missed(message)
                stage.count("faults")
            since = time.monotonic()
            took = watch.wait_commit(set(range(d.partitions)), since)
            assert took is not None, "no commit came after the dead letters could be written"
            stage.sample("dead letters taken again -> every task has committed, s", took)
            settle(stage, d, load)

    return play


def unpublished(d: Deployment) -> int:
    """Events that wait in the outboxes of all evaluators."""
    return sum(m.unpublished for m in read_status(d.config, RedisStore(d.redis.url)).models)


def alerts_refused(stage: Stage) -> None:
    """The alert topic refuses everything: counting goes on, events wait in Redis, and are published in the end."""
    with working(stage, 25) as (d, watch, load, started):
        with stage.fault(d, watch, "alerts refused"), kafka_faults.refusing(d.bootstrap, d.topics["alerts"]):
            before = watch.commits()
            try:
                d.wait_for(lambda: unpublished(d) > 0, "a decided event", PATIENCE_S)
            except NotInTime as error:
                raise Inconclusive(str(error)) from error
            stage.note(f"{cpu_share(started[0], 5.0):.2f} of a core; {unpublished(d)} events wait")
            assert watch.commits() > before + 5, "counting stood still for want of the alert topic"
            assert started[0].alive, f"the worker ended with {started[0].status}: {started[0].tail()}"
        settle(stage, d, load)


def alerts_deleted(stage: Stage) -> None:
    """The alert topic is deleted before the first alert, and made again after one has been decided."""
    with working(stage, 25) as (d, watch, load, started):
        with stage.fault(d, watch, "alert topic deleted"):
            kafka_faults.delete(d.bootstrap, d.topics["alerts"])
            try:
                d.wait_for(lambda: unpublished(d) > 0, "a decided event", PATIENCE_S)
            except NotInTime as error:
                raise Inconclusive(str(error)) from error
            time.sleep(3)
            assert started[0].alive, f"the worker ended with {started[0].status}: {started[0].tail()}"
            kafka_faults.make(d.bootstrap, d.topics["alerts"], d.partitions, {"retention.ms": "-1"})
        settle(stage, d, load)


def journal_refused(stage: Stage) -> None:
    """The journal refuses everything while a worker dies and another takes over; nothing is decided beside it."""
    with working(stage, 25) as (d, watch, load, started):
        with stage.fault(d, watch, "journal refused"):
            with kafka_faults.refusing(d.bootstrap, d.topics["journal"]):
                started[0].kill()
                again = d.start("again")
                time.sleep(12)
                assert again.alive, f"the worker ended with {again.status}: {again.tail()}"
                ready, why = again.ready()
                stage.note(f"/readyz said: {why}")
                assert not ready, "it says that it is ready, and its claims stand nowhere"
                assert any(r in why for r in UNCLAIMED), f"/readyz says {why!r}, none of {UNCLAIMED}"
            since = time.monotonic()
        took = watch.wait_commit(set(range(d.partitions)), since)
        assert took is not None, "no commit came after the journal was back"
        stage.sample("journal back -> every task has committed, s", took)
        settle(stage, d, load)


CELLS = [
    Cell("kafka.restart", "the broker is restarted in good order, three times", restarted(3, orderly=True)),
    Cell("kafka.kill", "the broker is killed and started again, three times", restarted(3, orderly=False)),
    Cell("kafka.frozen", "the broker stands still for 20 s", frozen(20.0)),
    Cell("kafka.absent", "the broker is away for 70 s", absent(70.0, KAFKA_LATE)),
    Cell("kafka.absent-static", "the same, with static members", absent(70.0, static=True)),
    Cell("kafka.absent-kip848", "the same, with the protocol of KIP-848", absent(70.0, kafka_settings=KIP848)),
    Cell("kafka.trimmed", "retention deletes predictions that nobody has counted", trimmed(half="predictions")),
    Cell("kafka.trimmed-labels", "retention deletes labels that nobody has counted", trimmed(half="labels")),
    Cell("kafka.trimmed-live", "retention overtakes a worker that was held up", trimmed_while_working),
    Cell("kafka.anew", "the predictions topic is made anew between two lives", made_anew(longer=False, alive=False)),
    Cell("kafka.anew-live", "the predictions topic is made anew under a worker", made_anew(longer=False, alive=True)),
    Cell(
        "kafka.anew-longer",
        "the predictions topic is made anew and filled beyond where we stood",
        made_anew(longer=True, alive=False),
    ),
    Cell("kafka.grown", "partitions are added under a running worker", partitions_grown),
    Cell("kafka.bad-partition", "every record of one partition is damaged", bad_partition),
    Cell("kafka.rubbish", "2,000 records of rubbish head every partition", rubbish),
    Cell("kafka.letters-refused", "the dead-letter topic refuses to be written", no_letters(refused)),
    Cell("kafka.letters-deleted", "the dead-letter topic is deleted and made again", no_letters(deleted)),
    Cell("kafka.alerts-refused", "the alert topic refuses to be written", alerts_refused),
    Cell("kafka.alerts-deleted", "the alert topic is deleted and made again", alerts_deleted),
    Cell("kafka.journal-refused", "the journal refuses to be written while a worker dies", journal_refused),
]
