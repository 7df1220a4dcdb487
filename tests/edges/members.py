"""Members of a consumer group that share their state, a dict, as workers share Redis; each sees whether a record is skipped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Producer

from schemas.errors import ConnectionProblem
from streams.edges.kafka_log import KafkaLog
from streams.engine.records import RecordBatch

Place = tuple[str, int]
PATIENCE_S: Final = 20.0
"""A rebalance of both protocols takes a second; a machine that does much else may need ten times that."""


@dataclass
class Ledger:
    """What is committed: the next offset by partition, the numbers that were counted, and who may commit."""

    offsets: dict[Place, int] = field(default_factory=dict)
    counted: dict[Place, list[int]] = field(default_factory=dict)
    owner: dict[Place, str] = field(default_factory=dict)


class Member:
    """One consumer that counts the numbers it reads. Its count is uncommitted until ``commit``; a claim starts from the ledger."""

    def __init__(self, name: str, bootstrap: str, group: str, topics: list[str], ledger: Ledger, **kafka: str) -> None:
        """Join the group; all topics make one task together."""
        self.name, self.ledger = name, ledger
        self.events: list[tuple[str, list[Place]]] = []
        self.reading: dict[Place, int] = {}
        self.fresh: dict[Place, list[int]] = {}
        self.most, self.wait_s = 500, 0.02
        self.on_claim: Callable[[], None] = lambda: None
        self.on_revoke: Callable[[], None] = lambda: None
        settings = {"bootstrap.servers": bootstrap, "topic.metadata.refresh.interval.ms": "1000"} | kafka
        self.log = KafkaLog(settings, group, topics, self._claimed, self._revoked, self._lost, [topics])

    def _claimed(self, places: list[Place]) -> dict[Place, int]:
        self.on_claim()
        self.events.append(("claimed", places))
        for place in places:
            self.ledger.owner[place] = self.name
            self.reading[place] = self.ledger.offsets.get(place, 0)
            self.fresh[place] = []
        return {place: self.reading[place] for place in places}

    def _revoked(self, places: list[Place]) -> None:
        self.events.append(("revoked", places))
        try:
            self.on_revoke()
            self.commit(places)
        finally:
            self.drop(places)

    def _lost(self, places: list[Place]) -> None:
        self.events.append(("lost", places))
        self.drop(places)

    def drop(self, places: list[Place]) -> None:
        """Forget what is not committed."""
        for place in places:
            self.reading.pop(place, None)
            self.fresh.pop(place, None)

    def commit(self, places: list[Place] | None = None) -> None:
        """Commit what was counted; only the owner may."""
        for place in list(self.reading) if places is None else places:
            if place in self.reading and self.ledger.owner[place] == self.name:
                self.ledger.offsets[place] = self.reading[place]
                self.ledger.counted.setdefault(place, []).extend(self.fresh[place])
                self.fresh[place] = []

    def _poll(self, most: int, timeout_s: float) -> list[RecordBatch]:
        try:
            return self.log.poll(most, timeout_s)
        except ConnectionProblem as error:
            if "Not leader" in str(error):  # of a topic that was made just now; a worker tries again, too
                return []
            raise

    def step(self, most: int = 0, timeout_s: float | None = None) -> int:
        """Read once; every record must be the next one of its partition. Returns how many there were."""
        count = 0
        for batch in self._poll(most or self.most, self.wait_s if timeout_s is None else timeout_s):
            for partition, first, last in batch.partitions():
                place = batch.topic, partition
                if place not in self.reading:
                    continue
                values = [int(v or b"") for v in batch.values[first:last]]
                assert values[0] == self.reading[place], f"{self.name} skipped or repeated records of {place}"
                assert values == list(range(values[0], values[0] + len(values)))
                self.fresh[place] += values
                self.reading[place] += len(values)
                count += len(values)
        return count

    @property
    def partitions(self) -> dict[str, list[int]]:
        """What is read, by topic."""
        return {t: sorted(p for u, p in self.reading if u == t) for t, _ in self.reading}


def fill(bootstrap: str, topics: list[str], partitions: int, first: int, last: int, size: int = 1) -> None:
    """Put the numbers first..last-1 into every partition, in order, where number = offset; padded to ``size`` bytes."""
    kafka = {"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
    producer = Producer(
        kafka | {"enable.idempotence": True}
    )  # or a batch that is sent again may come behind the next one
    for number in range(first, last):
        for topic in topics:
            for partition in range(partitions):
                producer.produce(topic, b"%0*d" % (size, number), partition=partition)
    assert producer.flush(PATIENCE_S) == 0


@contextlib.contextmanager
def trickle(bootstrap: str, topics: list[str], partitions: int) -> Iterator[Callable[[], int]]:
    """Put number after number into every partition until the block ends; yields a function that tells how many each has."""
    sent, stop = [0], threading.Event()
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "enable.idempotence": True})

    def run() -> None:
        while not stop.wait(0.005):
            for topic in topics:
                for partition in range(partitions):
                    producer.produce(topic, b"%d" % sent[0], partition=partition)
            sent[0] += 1
        producer.flush(PATIENCE_S)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: sent[0]
    finally:
        stop.set()
        thread.join()


def until(done: Callable[[], bool], *members: Member, within_s: float = PATIENCE_S) -> None:
    """Let the members work until it is so."""
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, (
            f"not within {within_s} s: {[(m.name, m.events, m.reading) for m in members]}"
        )
        for member in members:
            member.step()


@contextlib.contextmanager
def closing(*members: Member) -> Iterator[None]:
    """Close the members' consumers at the end, whatever happened."""
    try:
        yield
    finally:
        for member in members:
            with contextlib.suppress(RuntimeError):  # closed by the test
                member.log.close()
