"""Traffic with known truth, produced while faults go on: ``Spec`` says what, ``Load`` produces it in a process of its own.

The records follow from the spec alone. Event time runs with record time, much faster than the wall clock, so that windows
close while it runs; the last record of every partition is a closing record far in the future, so that everything that can
be decided is decided by the log, and no wall clock takes part. Every record goes to the partition that crc32 of its key
names, each topic has one producer, and the topics are new: so the offset of every record is known, too.

``python -m tests.faults.load SPEC.json`` is that process; it writes ``Truth`` beside the spec when it is done.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import signal
import sys
import time
import zlib
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from confluent_kafka import Producer

from streams.edges.embedded import GuardedProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
MINUTE, HOUR = 60_000, 3_600_000
CLOSING = 6 * HOUR
"""Of the closing records: beyond every horizon, and not so far that kept windows would be forgotten."""
MODELS = ("loans", "cards")
"""Their evaluators live on different partitions, which may belong to different workers."""
REGIMES = ((0.0, 0.1), (0.5, 0.1), (0.5, 0.35), (0.0, 0.1))
"""(shift of feature a, share of wrong answers), in turn: inputs drift, then the rule, then both come back."""
BLOCK = 2_000
"""Predictions made at once: enough for numpy, few enough for a smooth rate."""
_PIECE = 200
"""Records sent between two pauses: at a low rate, a whole block would be a burst, and between two of them nothing is unread."""
_IN_FLIGHT = 100_000
"""Records that the producer holds at most while the broker is away."""
_LATE, _EARLY = 3 * HOUR, 10 * MINUTE
"""How far a late prediction lies behind, beyond every window; how far one of the future lies ahead, twice what is allowed."""
_SETTLED = 5_000
"""From this prediction on every partition has heard of every model, and what lies hours behind is late for certain."""

Record = tuple[str, int, int, str, str]
"""(half, partition, record time, key, value)."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What is produced. ``predictions`` are the good first ones; all records together are about 2.07 times as many."""

    predictions: int = 150_000
    seed: int = 1
    partitions: int = 4
    step_ms: int = 50
    """Event time from one prediction to the next."""
    delay_ms: tuple[int, int] = (10_000, 40 * MINUTE)
    """From a prediction to its label: some come beyond maturity, all within the horizon."""
    regime: int = 48_000
    """Predictions until the next of ``REGIMES``: 40 minutes, four windows."""
    rate: float = 10_000
    """Records per second of wall clock."""
    burst: tuple[float, float, float] | None = None
    """(from, to, factor): between these shares of the predictions the rate is that many times as high."""
    bad_every: int = 211
    """Every so many-th prediction, and label, is followed by one that cannot be read; 0: none."""
    bad_partition: int = -1
    """All records of this partition are garbage, but the closing ones; -1: of none."""


class Truth(msgspec.Struct):
    """What must become of it. ``outcomes`` by half and outcome; ``orphan`` of labels includes those that still wait."""

    records: dict[str, dict[int, int]] = msgspec.field(default_factory=lambda: {"predictions": {}, "labels": {}})
    """By half and partition: the number of records, which is the offset that the next would get."""
    outcomes: dict[str, dict[str, int]] = msgspec.field(default_factory=lambda: {"predictions": {}, "labels": {}})
    dead_letters: list[str] = msgspec.field(default_factory=list)
    """half/partition/offset of every record that cannot be read."""
    last: int = 0
    """Event time of the last good prediction."""
    end: int = 0
    """Event time of the last record but the closing ones."""

    @property
    def total(self) -> int:
        """All records."""
        return sum(n for by in self.records.values() for n in by.values())


def place(key: str, partitions: int) -> int:
    """Where librdkafka's partitioner ``consistent`` puts a key."""
    return zlib.crc32(key.encode()) % partitions


@dataclass(slots=True)
class Generator:
    """Iterates over the records in the order in which they are sent, a block at a time; ``truth`` is complete at its end."""

    spec: Spec
    truth: Truth = field(default_factory=Truth)
    _due: list[tuple[int, int, str, str, str, str]] = field(default_factory=list)
    _number: int = 0

    def blocks(self) -> Iterator[tuple[int, list[Record]]]:
        """(predictions made so far, records)."""
        spec, rng = self.spec, np.random.default_rng(self.spec.seed)
        for first in range(0, spec.predictions, BLOCK):
            last = min(first + BLOCK, spec.predictions)
            self._block(rng, first, last)
            yield last, list(self._ready(BEGIN + last * spec.step_ms))
        self.truth.last = BEGIN + (spec.predictions - 1) * spec.step_ms
        self.truth.end = max((at for at, *_ in self._due), default=BEGIN + spec.predictions * spec.step_ms)
        rest = list(self._ready(self.truth.end + 1))
        for first in range(0, len(rest), BLOCK):
            yield spec.predictions, rest[first : first + BLOCK]
        yield spec.predictions, list(self._closing())

    def _block(self, rng: np.random.Generator, first: int, last: int) -> None:
        spec, n = self.spec, last - first
        regimes = np.array(REGIMES)[(np.arange(first, last) // spec.regime) % len(REGIMES)]
        shift, error = regimes[:, 0], regimes[:, 1]
        a = rng.normal(0, 1, n)
        truth = a + rng.normal(0, 0.5, n) > 0
        answer = np.where(rng.random(n) < error, ~truth, truth)
        score = np.clip(np.where(answer, 0.8, 0.2) + rng.normal(0, 0.1, n), 0, 1)
        columns = (
            (a + shift).tolist(),
            rng.exponential(1, n).tolist(),
            rng.choice(["de", "fr", "uk"], n).tolist(),
            answer.tolist(),
            score.tolist(),
            truth.tolist(),
            rng.integers(*spec.delay_ms, n).tolist(),
        )
        for j, row in zip(range(first, last), zip(*columns, strict=True), strict=True):
            self._case(j, *row)

    def _case(self, j: int, a: float, b: float, c: str, answer: bool, score: float, truth: bool, delay: int) -> None:  # noqa: FBT001  # a row of a table
        at, key, model = BEGIN + j * self.spec.step_ms, f"p{j}", MODELS[j % len(MODELS)]
        event = (
            f'{{"prediction_id":"{key}","model":"{model}","model_version":"v1","event_time":{at},'
            f'"features":{{"a":{a!r},"b":{b!r},"c":"{c}"}},"prediction":"{_word(answer)}","score":{score!r}}}'
        )
        self._send(at, "predictions", key, event, "applied")
        if j % 97 == 0:  # a producer repeats itself
            self._send(at + 500, "predictions", key, event, "duplicate")
        known = at + delay
        self._label(known, key, truth, "applied")
        if j % 89 == 0:
            self._label(known + 1_000, key, truth, "duplicate")
        if j % 83 == 0:
            self._label(known + 2_000, key, not truth, "conflict")
        if j % 101 == 0:
            self._send(at, "labels", f"ghost{j}", f'{{"prediction_id":"ghost{j}","label":"yes"}}', "orphan")
        if self.spec.bad_every and j % self.spec.bad_every == 0:
            self._send(at, "predictions", f"bad{j}", '{"prediction_id": "bad', "dead_letter")
            self._send(at, "labels", f"worse{j}", '{"label":', "dead_letter")
        if j >= _SETTLED and j % 307 == 0:
            self._odd(at, f"late{j}", model, at - _LATE, "late")
            self._odd(at, f"early{j}", model, at + _EARLY, "future")
            self._odd(at, f"nobody{j}", "nobody", at, "unknown_model")

    def _odd(self, at: int, key: str, model: str, event_time: int, outcome: str) -> None:
        event = f'{{"prediction_id":"{key}","model":"{model}","model_version":"v1","event_time":{event_time}}}'
        self._send(at, "predictions", key, event, outcome)

    def _label(self, at: int, key: str, truth: bool, outcome: str) -> None:  # noqa: FBT001  # a class of two
        event = f'{{"prediction_id":"{key}","label":"{_word(truth)}","event_time":{at}}}'
        self._send(at, "labels", key, event, outcome)

    def _send(self, at: int, half: str, key: str, value: str, outcome: str) -> None:
        self._number += 1  # equal times stay in the order in which they were made
        heapq.heappush(self._due, (at, self._number, half, key, value, outcome))

    def _ready(self, until: int) -> Iterator[Record]:
        """What is due before ``until``, counted as it leaves, because only then its offset is known."""
        while self._due and self._due[0][0] < until:
            at, _, half, key, value, outcome = heapq.heappop(self._due)
            yield self._counted(half, place(key, self.spec.partitions), at, key, value, outcome)

    def _counted(self, half: str, partition: int, at: int, key: str, value: str, outcome: str) -> Record:
        by = self.truth.records[half]
        offset = by.get(partition, 0)
        by[partition] = offset + 1
        if partition == self.spec.bad_partition and outcome != "closing":
            value, outcome = value[: len(value) // 2], "dead_letter"
        if outcome == "dead_letter":
            self.truth.dead_letters.append(f"{half}/{partition}/{offset}")
        if outcome == "closing":
            outcome = "applied" if half == "predictions" else "orphan"
        found = self.truth.outcomes[half]
        found[outcome] = found.get(outcome, 0) + 1
        return half, partition, at, key, value

    def _closing(self) -> Iterator[Record]:
        at = self.truth.end + CLOSING
        for partition in range(self.spec.partitions):
            for model in MODELS:
                key = f"end{partition}{model}"
                event = f'{{"prediction_id":"{key}","model":"{model}","model_version":"v1","event_time":{at}}}'
                yield self._counted("predictions", partition, at, key, event, "closing")
            key = f"last{partition}"
            event = f'{{"prediction_id":"{key}","label":"no","event_time":{at}}}'
            yield self._counted("labels", partition, at, key, event, "closing")


def _word(yes: bool) -> str:  # noqa: FBT001  # a class of two
    return "yes" if yes else "no"


def truth_of(spec: Spec) -> Truth:
    """The truth without producing anything."""
    made = Generator(spec)
    deque(made.blocks(), maxlen=0)
    return made.truth


class Load:
    """The producer as a process. ``freeze`` and ``thaw`` hold it up; ``truth`` waits for its end."""

    def __init__(self, spec: Spec, bootstrap: str, topics: dict[str, str], folder: Path) -> None:
        """Start producing at once."""
        folder.mkdir(parents=True, exist_ok=True)
        self.spec, self._truth, order = spec, folder / "truth.json", folder / "spec.json"
        order.write_bytes(msgspec.json.encode({"spec": spec, "bootstrap": bootstrap, "topics": topics}))
        self._process = GuardedProcess([sys.executable, "-m", "tests.faults.load", str(order)], folder / "load.log")

    @property
    def pid(self) -> int:
        """Process id of the producer."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self._process.alive

    def wait(self, timeout_s: float = 600.0) -> Truth:
        """The truth, once everything is produced; a producer that was held up goes on."""
        self.thaw()
        deadline = time.monotonic() + timeout_s
        while self._process.alive:
            if time.monotonic() > deadline:
                message = f"the producer is not done after {timeout_s} s: {self._process.tail()}"
                raise TimeoutError(message)
            time.sleep(0.05)
        if not self._truth.exists():
            message = f"the producer failed: {self._process.tail()}"
            raise RuntimeError(message)
        return msgspec.json.decode(self._truth.read_bytes(), type=Truth)

    def freeze(self) -> None:
        """SIGSTOP: nothing is produced until ``thaw``."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def hurry(self) -> None:
        """Produce the rest as fast as it goes: what was to be seen has been seen."""
        self.thaw()
        self._signal(signal.SIGUSR1)

    def _signal(self, how: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process.alive:
                os.kill(self._process.pid, how)

    def close(self) -> None:
        """End it."""
        self._process.kill()


def produce(spec: Spec, bootstrap: str, topics: dict[str, str]) -> Truth:
    """Produce everything at the rate of the spec; returns when the broker has it all, however long it was away."""
    settings = {
        "bootstrap.servers": bootstrap,
        "linger.ms": 20,
        "enable.idempotence": True,  # the order and the offsets survive a broker that comes back
        # With more, librdkafka takes a new epoch after a kill of the broker, now and then, and some records stand twice (its issue
        # 4953; seen in 1 of 12 kills): then the truth is another one.
        "max.in.flight.requests.per.connection": 1,
        "message.timeout.ms": 0,
        "queue.buffering.max.messages": 2 * _IN_FLIGHT,
        "log_level": 2,
    }
    producer, made = Producer(settings), Generator(spec)
    hurried: list[int] = []
    signal.signal(signal.SIGUSR1, lambda *_: hurried.append(1))
    due = time.monotonic()
    for predictions, block in made.blocks():
        for first in range(0, len(block), _PIECE):
            records = block[first : first + _PIECE]
            for half, partition, at, key, value in records:
                producer.produce(topics[half], value, key, partition, timestamp=at)
            producer.poll(0)
            while len(producer) > _IN_FLIGHT:
                producer.poll(0.05)
            # A producer that was held up makes good for a second, no more.
            due = max(due + len(records) / _rate(spec, predictions), time.monotonic() - 1.0)
            if not hurried:
                time.sleep(max(0.0, due - time.monotonic()))
    while producer.flush(5):
        pass
    return made.truth


def _rate(spec: Spec, predictions: int) -> float:
    if spec.burst is not None:
        first, last, factor = spec.burst
        if first <= predictions / spec.predictions < last:
            return spec.rate * factor
    return spec.rate


def main(order: Path) -> None:
    """What the process does."""
    given = msgspec.json.decode(order.read_bytes())
    found = produce(msgspec.convert(given["spec"], Spec), given["bootstrap"], given["topics"])
    order.with_name("truth.json").write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
