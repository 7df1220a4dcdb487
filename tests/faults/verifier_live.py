"""What must hold at any moment, also while workers die and Kafka or Redis goes: looked at again and again.

Redis is read first and Kafka after it, so that everything a committed state rests on must be there already:

- a committed offset is never beyond the log's end, and never goes back while Redis has not been restarted;
- of every committed head: received = sum of the outcomes + waiting;
- of the records behind a committed offset, exactly those that the ledger counts as dead letters have one (R7);
- one id, one payload; and what an evaluator counts as decided, less what waits in its outbox, is published.

A look that Kafka or Redis refuses is no finding.
"""

from __future__ import annotations

import signal
import threading
from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass, field

from schemas.config import Config
from tests.faults import verifier_compare as compare
from tests.faults import verifier_events
from tests.faults.verifier_log import CannotLookError, Log
from tests.faults.verifier_stored import DamagedError, EvaluatorHead, Stored, TaskHead

EVERY_S = 1.0
"""Between two looks: as often as a worker commits by default."""


@dataclass
class Watcher:
    """What was seen so far. ``wrong`` has every finding once."""

    config: Config
    redis_url: str | None = None
    looks: int = 0
    refused: int = 0
    wrong: dict[str, int] = field(default_factory=dict)
    """The finding, and the number of the look that had it first."""
    _run_id: str = ""
    _offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    _read: dict[tuple[str, int], int] = field(default_factory=dict)
    _letters: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    _payloads: verifier_events.Payloads = field(default_factory=verifier_events.Payloads)

    def look(self) -> None:
        """Look once. Raises CannotLookError."""
        config, topics = self.config, self.config.topics
        stored = Stored(config, self.redis_url)
        run_id = stored.run_id()
        with Log(config.kafka) as log:
            partitions = len(log.bounds(topics.predictions)[topics.predictions])
            try:
                tasks = {p: head for p in range(partitions) if (head := stored.task(p)) is not None}
                heads = {name: stored.evaluator(name) for name in config.models}
            except DamagedError as error:
                self._say(str(error))
                return
            if stored.run_id() != run_id:  # restarted between two questions
                return
            ends = log.bounds(topics.predictions, topics.labels, topics.dead_letters, topics.alerts, topics.retrain)
            self._new_letters(log, ends[topics.dead_letters])
            for topic in (topics.alerts, topics.retrain):
                self._new_events(log, topic, ends[topic])
        if run_id != self._run_id:  # it may have lost its last second
            self._run_id, self._offsets = run_id, {}
        for number, head in tasks.items():
            self._task(number, head, {t: found[number][1] for t, found in ends.items() if number in found})
        self._decided(heads)
        self.looks += 1

    def _say(self, finding: str) -> None:
        self.wrong.setdefault(finding, self.looks)

    def _task(self, number: int, head: TaskHead, ends: dict[str, int]) -> None:
        for finding in compare.sums(self.config, number, head):
            self._say(finding)
        for topic, offset in head.offsets.items():
            if offset > ends[topic]:
                self._say(f"{topic}/{number}: {offset} is committed, and the log ends at {ends[topic]}")
            before = self._offsets.get((topic, number), 0)
            if offset < before:
                self._say(f"{topic}/{number}: the committed offset went back from {before} to {offset}")
            self._offsets[topic, number] = offset
            sent = bisect_left(self._letters.get((topic, number), []), offset)
            counted = head.ledger.get(topic, {}).get("dead_letter", 0)
            if sent != counted:
                self._say(
                    f"{topic}/{number}: {counted} dead letters are counted up to offset {offset}, {sent} were sent"
                )

    def _new_letters(self, log: Log, ends: dict[int, tuple[int, int]]) -> None:
        topic = self.config.topics.dead_letters
        for partition, (low, end) in ends.items():
            first = max(low, self._read.get((topic, partition), 0))
            for raw in log.read(topic, partition, first, end):
                of, number, offset = (raw.headers.get("driftline.id") or b"//").decode().rsplit("/", 2)
                known = self._letters.setdefault((of, int(number)), [])
                at = bisect_left(known, int(offset))
                if at == len(known) or known[at] != int(offset):
                    insort(known, int(offset))
                self._read[topic, partition] = raw.offset + 1

    def _new_events(self, log: Log, topic: str, ends: dict[int, tuple[int, int]]) -> None:
        for partition, (low, end) in ends.items():
            first = max(low, self._read.get((topic, partition), 0))
            for raw in log.read(topic, partition, first, end):
                self._payloads.add(raw, topic)
                self._read[topic, partition] = raw.offset + 1
        for finding in self._payloads.wrong:
            self._say(finding)

    def _decided(self, heads: dict[str, EvaluatorHead | None]) -> None:
        published: Counter[str] = Counter()
        for event in self._payloads.events.values():
            if ".alert." in event["type"]:
                published[event["data"]["model"]] += 1
        for name, head in heads.items():
            waiting = 0 if head is None else list(head.outbox.values()).count(self.config.topics.alerts)
            decided = 0 if head is None else sum(head.transitions.values()) - waiting
            if published[name] < decided:
                self._say(
                    f"{name}: {decided} alert events were decided and do not wait, {published[name]} are published"
                )


def watch(config: Config, redis_url: str | None = None, seconds: float | None = None) -> Watcher:
    """Look until SIGTERM or SIGINT, or so long; then a last time."""
    watcher, over = Watcher(config, redis_url), threading.Event()
    before = {n: signal.signal(n, lambda *_: over.set()) for n in (signal.SIGTERM, signal.SIGINT)}
    if seconds is not None:
        timer = threading.Timer(seconds, over.set)
        timer.daemon = True
        timer.start()
    last = False
    while not last:
        last = over.wait(EVERY_S)
        try:
            watcher.look()
        except CannotLookError:
            watcher.refused += 1
    for n, handler in before.items():
        signal.signal(n, handler)
    return watcher
