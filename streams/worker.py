"""``driftline run``: one process, one consumer, the tasks that the group gives it.

The loop: read a micro-batch, fold it, commit what is due, decide, publish. When Kafka or Redis is away the worker waits with
``/readyz`` false; what it holds in memory stays valid, because a commit that may have happened is recognised when it is
sent again, and one that did not happen is repeated.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from schemas.control import Command
from schemas.errors import RESTORE, CommitConflict, ConnectionProblem, OwnershipLost, StateMissing
from schemas.times import rfc3339
from streams.co_partitioning import refuse_apart, same_number
from streams.edges.control import ControlLog
from streams.edges.kafka_log import KafkaLog, partition_counts
from streams.edges.kafka_publisher import KafkaPublisher
from streams.edges.redis_store import RedisStore
from streams.host import FEATURE_EVENTS, PREDICTIONS, Host
from streams.references import ReferenceBook, plans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schemas.config import Config
    from schemas.settings import Topics
    from streams.engine.plan import Plan
    from streams.engine.records import RecordBatch
    from streams.owned import OwnedTask

BATCH = 10_000
"""Records a poll asks for: enough that the cost of a batch disappears, few enough to stay far below a second."""
POLL_S = 0.1
"""How long a poll waits for a full batch: the most that a quiet topic adds to the delay of an alert."""
RETRY_S = 0.5
"""Pause between attempts while Kafka or Redis is away: half a commit interval."""
MAX_COMMAND = 64 * 1024
"""Bytes of a command: the journal repeats it, and Kafka must take that record."""
LAG_EVERY_S = 5.0
"""How often the lag is asked of the broker, and offsets are told to Kafka."""

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(slots=True)
class Status:
    """What the worker tells of itself: ``problem`` is why it is not ready, empty when it is."""

    problem: str = "starting"
    batches: int = 0
    lag: dict[tuple[str, int], int] = field(default_factory=dict)


class Worker:
    """One worker. ``run`` returns when ``stop`` was called; errors that waiting cannot mend are raised."""

    def __init__(self, config: Config, *, look_first: bool = False) -> None:
        """Read references, check the topics and Redis, join the group.

        ``look_first``: sample predictions and labels, and refuse to start where they cannot meet.

        Raises ConfigError, ReferenceMismatch, TopicMissing, ConnectionProblem, PartitionCountChanged, NotCoPartitioned.
        """
        self.config = config
        compiled: dict[str, Plan] = plans(config)
        self.store = RedisStore(config.redis.url)
        self.store.check()
        self.publisher = KafkaPublisher(config.kafka, config.topics, config.dead_letters)
        topics = config.topics
        inputs = [topics.predictions, topics.labels] if PREDICTIONS in compiled else []
        inputs += [topics.features] if FEATURE_EVENTS in compiled else []
        counts = check_topics(config, compiled, self.publisher)
        if look_first and PREDICTIONS in compiled:
            refuse_apart(config, counts)
        partitions = {PREDICTIONS: counts[topics.predictions]} if PREDICTIONS in compiled else {}
        partitions |= {FEATURE_EVENTS: counts[topics.features]} if FEATURE_EVENTS in compiled else {}
        references = ReferenceBook(config, self.store)
        self.host = Host(
            config,
            compiled,
            partitions,
            self.store,
            self.publisher,
            references,
            time.monotonic,
            lambda: rfc3339(wall_ms()),
        )
        self.status = Status()
        self._stopping = False
        self._last_record: dict[tuple[str, int], float] = {}
        self._asked: dict[tuple[str, int], float] = {}
        self._next_lag = 0.0
        self._told: set[tuple[str, int]] = set()
        self._commands: deque[tuple[int, int, bytes | None]] = deque()
        self._paused = False
        self._fetched: deque[RecordBatch] = deque()
        self.log = KafkaLog(config.kafka, config.group, inputs, self._claimed, self._revoked, self._lost)
        self.control = ControlLog(config.kafka, topics.control) if PREDICTIONS in compiled else None

    def stop(self) -> None:
        """Ask the loop to commit, leave the group and return."""
        self._stopping = True

    # -- ownership ----------------------------------------------------------------------------------------------------

    def _claimed(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Claim the tasks whose every partition is ours (R10); returns the offsets to read from."""
        self._fetched.clear()  # what was fetched before is fetched again, from where the state stands
        given = set(partitions)
        starts: dict[tuple[str, int], int] = {}
        for group, topics in self.host.topics.items():
            if group not in self.host.plans:
                continue
            for partition in range(self.host.partitions[group]):
                mine = [(t, partition) for t in topics]
                if not given.issuperset(mine):
                    continue
                owned = self._patiently(partial(self.host.claim, group, partition))
                self._patiently(partial(self._refuse_lost_state, owned))
                for topic, number in mine:
                    starts[topic, number] = offset = owned.task.offsets[topic]
                    self._patiently(partial(self.log.verify, topic, number, offset))
                    self._last_record[topic, number] = time.monotonic()
        if self.control is not None:
            self._commands.clear()
            self.control.rewind(self.host.control_offsets())
        log.info("assigned", tasks=sorted(f"{g}/{p}" for g, p in self.host.tasks))
        self.status.problem = ""
        return starts

    def _refuse_lost_state(self, owned: OwnedTask) -> None:
        """A task without state that Kafka remembers us reading has lost it: never a silent fresh start (P5)."""
        if owned.shard.body is not None:
            return
        for topic in owned.task.topics:
            read = self.log.committed(topic, owned.partition)
            if read:
                what = f"{owned.task.shard}: Redis holds no state, but group {self.config.group!r} has read {topic} to {read}"
                raise StateMissing(what, RESTORE)

    def _lost(self, partitions: list[tuple[str, int]]) -> None:
        """Somebody else has them: change nothing any more (P4)."""
        self._forget(partitions)
        for group, partition in sorted({(self.host.group_of[t], p) for t, p in partitions}):
            self.host.release(group, partition, commit=False)
        log.warning("lost", partitions=len(partitions))

    def _revoked(self, partitions: list[tuple[str, int]]) -> None:
        """Commit a last time and let go."""
        self._forget(partitions)
        for group, partition in sorted({(self.host.group_of[t], p) for t, p in partitions}):
            try:
                self.host.release(group, partition, commit=True)
            except (OwnershipLost, CommitConflict, ConnectionProblem) as error:
                log.warning("left without a last commit", task=f"{group}/{partition}", reason=str(error))
                self.host.release(group, partition, commit=False)
        log.info("revoked", partitions=len(partitions))

    def _forget(self, partitions: list[tuple[str, int]]) -> None:
        """What was fetched of partitions that go, and their lag, is no longer ours to count or to tell."""
        self._fetched.clear()
        for key in partitions:
            self.status.lag.pop(key, None)

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call until the store answers."""
        while True:
            try:
                return call()
            except ConnectionProblem as error:
                if self._stopping:
                    raise
                self.status.problem = str(error)
                log.warning("waiting", reason=str(error))
                time.sleep(RETRY_S)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until ``stop``. Raises what waiting cannot mend."""
        # What lives by now lives as long as the process. Unfrozen, every full collection walks the heap of all imported
        # libraries again, and the objects of each batch cause one: that was a quarter of the CPU per event.
        gc.freeze()
        try:
            while not self._stopping:
                self.step()
        finally:
            self._close()

    def step(self) -> None:
        """One turn of the loop."""
        try:
            # While paused nothing comes, but a rebalance is answered only by a poll that asks for records.
            self._fetched.extend(self.log.poll(BATCH, POLL_S))
            while self._fetched:
                self._take(self._fetched[0])
                self._fetched.popleft()
            self._look_around()
            self.host.tick()
            self._resume()
        except (OwnershipLost, CommitConflict) as error:
            log.warning("rejoining to load the state again", reason=str(error))
            self._drop_all()
            self.log.rejoin()
        except ConnectionProblem as error:
            self._wait(error)

    def _take(self, batch: RecordBatch) -> None:
        """Fold a batch. ConnectionProblem (a new version's reference could not be read) leaves everything as it was."""
        self.host.take(batch)
        now = time.monotonic()
        for partition, _, _ in batch.partitions():
            self._last_record[batch.topic, partition] = now
        self.status.batches += 1

    def _drop_all(self) -> None:
        self._fetched.clear()
        for group, partition in list(self.host.tasks):
            self.host.release(group, partition, commit=False)

    def _wait(self, error: ConnectionProblem) -> None:
        """Something is away: fetch nothing more, stay in the group, try again soon."""
        if self.status.problem != str(error):
            log.warning("waiting", reason=str(error))
        self.status.problem = str(error)
        if not self._paused:
            self.log.pause()
            self._paused = True
        time.sleep(RETRY_S)

    def _resume(self) -> None:
        if self._paused:
            self.log.resume()
            self._paused = False
            log.info("going on")
        if self.host.tasks:
            self.status.problem = ""

    def _look_around(self) -> None:
        """Commands, silent partitions, lag: everything that is not a record."""
        if self.control is not None:
            self._commands.extend(self.control.poll())
            while self._commands and self._command(*self._commands[0]):
                self._commands.popleft()
        now = time.monotonic()
        for (group, partition), owned in list(self.host.tasks.items()):
            idle = min(m.idle for m in owned.task.plan.models) / 1000
            for topic in owned.task.topics:
                key = (topic, partition)
                quiet = now - max(self._last_record[key], self._asked.get(key, 0.0))
                if quiet >= max(idle / 4, self.config.commit_interval / 1000) and not owned.shard.in_doubt:
                    self._asked[key] = now
                    self._maybe_silent(group, partition, topic)
        # Never ahead of the state: that would look like lost state. And soon after the first commit: until Kafka remembers
        # us, state that is lost looks like state that never was (P5).
        offsets = {(t, p): o for (_, p), owned in self.host.tasks.items() for t, o in owned.offsets.items() if o}
        if now >= self._next_lag or not self._told.issuperset(offsets):
            self._next_lag = now + LAG_EVERY_S
            self._told.update(offsets)
            self.log.commit(offsets)
            for (_, partition), owned in self.host.tasks.items():
                for topic, offset in owned.task.offsets.items():
                    self.status.lag[topic, partition] = max(0, self.log.cached_end(topic, partition) - offset)

    def _maybe_silent(self, group: str, partition: int, topic: str) -> None:
        """Caught up and silent: the wall clock, read before the broker was asked, stands in for record time (R2)."""
        time_ms = wall_ms()
        _, end = self.log.bounds(topic, partition)
        if self.host.tasks[group, partition].task.offsets[topic] >= end:
            self.host.silent(group, partition, topic, time_ms)

    def _command(self, partition: int, offset: int, value: bytes | None) -> bool:
        """Give a command to its model's evaluator; False when it has to wait until a commit is settled."""
        try:
            if len(value or b"") > MAX_COMMAND:
                raise ValueError(f"{len(value or b'')} bytes, at most {MAX_COMMAND} are read")  # noqa: TRY301  # as every other reason
            command = msgspec.json.decode(value or b"", type=Command)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:  # bytes that are no UTF-8 are a ValueError
            log.warning("not a command", topic=self.config.topics.control, offset=offset, reason=str(error))
            return True
        return self.host.command(PREDICTIONS, command, partition, offset)

    def _close(self) -> None:
        for group, partition in list(self.host.tasks):
            try:
                self.host.release(group, partition, commit=True)
            except (OwnershipLost, CommitConflict, ConnectionProblem) as error:
                log.warning("stopped without a last commit", task=f"{group}/{partition}", reason=str(error))
        self.log.close()
        if self.control is not None:
            self.control.close()
        self.publisher.close(5.0)


def wall_ms() -> int:
    """The wall clock, ms since epoch."""
    return time.time_ns() // 1_000_000


def check_topics(config: Config, compiled: dict[str, Plan], publisher: KafkaPublisher) -> dict[str, int]:
    """The partition counts of all topics that this configuration uses.

    Raises TopicMissing, PermissionMissing, ConnectionProblem, or NotCoPartitioned when predictions and labels differ.
    """
    t = config.topics
    wanted = [t.control, t.alerts, t.retrain, t.dead_letters, t.journal]
    wanted += [t.predictions, t.labels] if PREDICTIONS in compiled else []
    wanted += [t.features] if FEATURE_EVENTS in compiled else []
    counts = partition_counts(publisher.client, wanted)
    if PREDICTIONS in compiled:
        check_same_partitions(t, counts)
    return counts


def check_same_partitions(topics: Topics, counts: Mapping[str, int]) -> None:
    """Raise NotCoPartitioned unless predictions and labels have the same number of partitions."""
    if (wrong := same_number(topics, counts)) is not None:
        raise wrong
