"""``driftline run``: one process, one consumer, the tasks that the group gives it.

The loop: read a micro-batch, fold it, commit what is due, decide, publish. When Kafka or Redis is away the worker waits with
``/readyz`` false; what it holds in memory stays valid, because a commit that may have happened is recognised when it is
sent again, and one that did not happen is repeated. When Redis comes back from a restart every task is claimed again in place,
without a rebalance: what lies in memory goes on where Redis still has it, and is loaded anew where Redis has gone back.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from schemas.control import Command
from schemas.errors import (
    ANEW,
    OTHER_COUNT,
    START_OVER,
    AheadOfLogEnd,
    CommitConflict,
    ConnectionProblem,
    DriftlineError,
    OwnershipLost,
    PartitionCountChanged,
    StoreRestarted,
    TopicMissing,
)
from schemas.times import rfc3339
from streams.co_partitioning import refuse_apart, same_number
from streams.edges import heap
from streams.edges.control import ControlLog
from streams.edges.kafka_journal import KafkaJournal
from streams.edges.kafka_log import KafkaLog, partition_counts
from streams.edges.kafka_publisher import KafkaPublisher
from streams.edges.kafka_topics import admin_client, topic_ids
from streams.edges.redis_store import RedisStore
from streams.engine.fence import offsets_of
from streams.host import FEATURE_EVENTS, PREDICTIONS, Host
from streams.references import ReferenceBook, plans

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.config import Config
    from schemas.settings import Topics
    from streams.engine.plan import Plan
    from streams.engine.records import RecordBatch
    from streams.owned import OwnedTask

BATCH = 10_000
"""Records a poll asks for: enough that the cost of a batch disappears, few enough to stay far below a second."""
POLL_S = 0.1
"""How long a poll waits for a full batch: the most that a quiet topic adds to the delay of an alert."""
RETRY_S = 0.1
"""Pause between attempts while Kafka or Redis is away: as long as a poll."""
MAX_COMMAND = 64 * 1024
"""Bytes of a command: the journal repeats it, and Kafka must take that record."""
MAX_HELD = 10 * BATCH
"""Records of one partition that may be held back for the other half of its task: then nothing more is fetched of it (P6)."""
ASK_S = 2.0
"""How long Kafka may take to answer a question that is asked only to hear whether it is there."""
LAG_EVERY_S = 5.0
"""How often lags are looked at, and offsets are told to Kafka."""
TOPICS_EVERY_S = 30.0
"""How often a worker looks whether its topics are still the same ones, with as many partitions, and Redis evicts nothing; how
often it gives memory back."""
REVOKE_S = 5.0
"""So long the last commits of a revocation may begin; a task whose turn comes later is left to the next owner as it is."""
KEPT_S = 60.0
"""So long what was revoked stays in memory, in case that it comes back: longer than a rebalance takes."""
UNCOMMITTED_S = 3.0
"""So long a commit may wait for Kafka's acknowledgements before nothing more is fetched: memory must not grow meanwhile."""
STALLED_S = 60.0
"""A partition with lag that makes no progress for so long is reported: far longer than any batch, commit or election takes."""

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(slots=True)
class Status:
    """What the worker tells of itself: ``problem`` is why it is not ready, empty when it is."""

    problem: str = "starting"
    batches: int = 0
    lag: dict[tuple[str, int], int] = field(default_factory=dict)
    stalled: dict[tuple[str, int], float] = field(default_factory=dict)
    """Seconds without progress of partitions that have lag, beyond ``STALLED_S``."""

    @property
    def unready(self) -> str:
        """Why the worker is not ready, empty when it is."""
        if self.problem or not self.stalled:
            return self.problem
        named = ", ".join(
            f"{topic}/{partition} for {late:.0f} s" for (topic, partition), late in list(self.stalled.items())
        )
        return f"records wait and none is counted: {named}. Look at this worker's log, and restart it"


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
        self._counts = {t: n for t, n in counts.items() if t in inputs}
        references = ReferenceBook(config, self.store)
        self.host = Host(
            config,
            compiled,
            partitions,
            self.store,
            self.publisher,
            KafkaJournal(config.kafka, topics.journal, self.publisher),
            references,
            time.monotonic,
            lambda: rfc3339(wall_ms()),
        )
        self.status = Status()
        self._stopping = False
        self._last_record: dict[tuple[str, int], float] = {}
        self._asked: dict[tuple[str, int], float] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._progress: dict[tuple[str, int], tuple[int, float]] = {}
        self._again: set[tuple[str, int]] = set()
        self._next_lag = 0.0
        self._next_topics = time.monotonic() + TOPICS_EVERY_S
        self._commands: deque[tuple[int, int, bytes | None]] = deque()
        self._paused = self._missed = False
        self._revoked_at: float | None = None
        self._fetched: deque[RecordBatch] = deque()
        self._admin = admin_client(config.kafka)
        self._refuse_other_topics()
        together = [ts for group, ts in self.host.topics.items() if group in compiled]
        self.log = KafkaLog(config.kafka, config.group, inputs, self._claimed, self._revoked, self._lost, together)
        self.control = ControlLog(config.kafka, topics.control) if PREDICTIONS in compiled else None

    def stop(self) -> None:
        """Ask the loop to commit, leave the group and return."""
        self._stopping = True

    # -- ownership ----------------------------------------------------------------------------------------------------

    def _claimed(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Claim the tasks of these partitions (R10); returns the offsets to read from. May raise ConnectionProblem."""
        self._forget(partitions)  # what was fetched before is fetched again, from where the state stands
        starts = self._claim(sorted({(self.host.group_of[t], p) for t, p in partitions}))
        log.info("assigned", tasks=sorted(f"{g}/{p}" for g, p in self.host.tasks))
        return starts

    def _claim(self, wanted: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Claim tasks; returns the offsets to read from. Where something is raised none of them is ours."""
        for group, partition in wanted:
            count = self.host.partitions[group]
            if partition >= count:
                what = f"{self.host.topics[group][0]}/{partition} is ours, the state was made for {count} partitions"
                raise PartitionCountChanged(what, OTHER_COUNT)
            self.host.release(group, partition, commit=False)
        starts: dict[tuple[str, int], int] = {}
        try:
            for owned in self.host.claim(wanted):
                starts |= self._begin(owned)
            self._listen()
        except BaseException:  # all of them are asked for again: until then none may work without being read
            self._abandon(wanted)
            raise
        self._let_go()
        return starts

    def _claim_again(self) -> None:
        """Claim in place, without a rebalance, the tasks whose state may have changed under us.

        They wait to be claimed until they are read from where the state stands, too: a consumer that stood further on would skip
        what lies between.
        """
        wanted = sorted(self._again)
        starts = self._claim(wanted)
        try:
            self.log.assign_again(starts)
        except BaseException:
            self._abandon(wanted)
            raise
        self._again.difference_update(wanted)

    def _abandon(self, tasks: Iterable[tuple[str, int]]) -> None:
        """Let tasks go as they are."""
        for group, partition in tasks:
            self.host.release(group, partition, commit=False)

    def _begin(self, owned: OwnedTask) -> dict[tuple[str, int], int]:
        """Look whether the topics still fit to a task that is ours now; returns the offsets to read from."""
        partition = owned.partition
        new = owned.shard.body is None
        if owned.shard.pending or new:  # what entries name may be gone from the topics
            spans = {topic: self.log.bounds(topic, partition) for topic in owned.task.topics}
            _refuse_in_vain(owned, {topic: end for topic, (_, end) in spans.items()})
            begins = {topic: begin for topic, (begin, _) in spans.items()}
            if new:  # with what the topics still have; from its first commit on nothing may be missing
                owned.task.offsets.update(begins)
            self.host.begin_at(owned, begins)
        now = time.monotonic()
        for topic, offset in owned.task.offsets.items():
            owned.behind[topic] = self._ends[topic, partition] = self.log.verify(topic, partition, offset)
            self._last_record[topic, partition] = now
        return {(topic, partition): owned.reads_from(topic) for topic in owned.task.topics}

    def _distrust(self) -> None:
        """Everything is claimed again before anything else happens."""
        self._fetched.clear()
        self._again.update(self.host.tasks)
        self._abandon(list(self.host.tasks))

    def _refuse_other_topics(self) -> None:
        """Raise PartitionCountChanged or AheadOfLogEnd unless the topics are those that the state was made of (R10)."""
        journal = self.config.topics.journal
        now = partition_counts(self.publisher.client, [*self._counts, journal])
        for topic, count in self._counts.items():
            if now[topic] != count:
                what = f"topic {topic} has {now[topic]} partitions now, the state was made for {count}"
                raise PartitionCountChanged(what, OTHER_COUNT)
        # A shard's records lie where its key comes to, so with other partitions they would not be found.
        for group in self.host.plans:
            pinned = self.store.pin(self.host.state_group(group), f"partitions of {journal}", str(now[journal]))
            if pinned != str(now[journal]):
                what = f"topic {journal}, the journal, has {now[journal]} partitions now, it was written with {pinned}"
                raise PartitionCountChanged(what, START_OVER)
        ids = topic_ids(self._admin, [*self._counts, journal])  # of none that the cluster does not tell just now
        ours = [(self.host.group_of[t], t) for t in self._counts] + [(group, journal) for group in self.host.plans]
        for group, topic in ours:
            found = ids.get(topic, "")
            pinned = self.store.pin(self.host.state_group(group), f"topic {topic}", found) if found else ""
            if pinned != found:
                what = f"topic {topic} was made anew since its records were read (its id is {found}, it was {pinned})"
                raise AheadOfLogEnd(what, START_OVER if topic == journal else ANEW)

    def _listen(self) -> None:
        """Read commands from where our evaluators stand."""
        if self.control is not None:
            self._commands.clear()
            self.control.rewind(self.host.control_offsets())

    def _lost(self, partitions: list[tuple[str, int]]) -> None:
        """Somebody else has them: change nothing any more (P4)."""
        self._release(partitions, last_commit_s=0.0)
        self._let_go()
        log.warning("lost", partitions=len(partitions))

    def _revoked(self, partitions: list[tuple[str, int]]) -> None:
        """Commit a last time and let go."""
        self._release(partitions, last_commit_s=REVOKE_S)
        self._revoked_at = time.monotonic()
        log.info("revoked", partitions=len(partitions))

    def _release(self, partitions: list[tuple[str, int]], last_commit_s: float) -> None:
        """Let tasks go; the first ones after a last commit, until the time for that is over. Abandoning is always safe."""
        deadline = time.monotonic() + last_commit_s
        self._forget(partitions)
        for group, partition in sorted({(self.host.group_of[t], p) for t, p in partitions}):
            self._again.discard((group, partition))
            try:
                self.host.release(group, partition, commit=time.monotonic() < deadline)
            except DriftlineError as error:
                log.warning("left without a last commit", task=f"{group}/{partition}", reason=str(error))

    def _forget(self, partitions: list[tuple[str, int]]) -> None:
        """What was fetched of partitions that go, and their lag, is no longer ours to count or to tell."""
        self._fetched = deque(part for batch in self._fetched for part in batch.without(partitions))
        for key in partitions:
            for known in (self.status.lag, self.status.stalled, self._ends, self._progress):
                known.pop(key, None)

    def _let_go(self) -> None:
        """Forget what was released and not claimed again, and give its memory back now.

        State refers to itself in circles, and after ``gc.freeze`` a full collection comes by itself only once as much was made as was
        frozen: until then every rebalance left the arrays of the tasks that went.
        """
        self.host.forget()
        self._revoked_at = None
        gc.collect()

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
            found = self.log.poll(BATCH, POLL_S)  # first: what the group takes or gives meanwhile replaces the queue
            self._fetched.extend(found)
            while self._fetched:
                self._take(self._fetched[0])
                self._fetched.popleft()
            self.log.hold({place for owned in self.host.tasks.values() for place in owned.crowded(MAX_HELD)})
            if self._again:
                self._claim_again()
            self._look_around()
            self.host.tick()
            self._refuse_backlog()
            self._resume()
        except (StoreRestarted, CommitConflict) as error:
            log.warning("claiming the state again", reason=str(error))
            self.store.go_on()
            self._distrust()
        except OwnershipLost as error:
            log.warning("rejoining to load the state again", reason=str(error))
            self._distrust()
            self._again.clear()
            self._let_go()
            self.log.rejoin()
        except ConnectionProblem as error:
            self._wait(error)

    def _refuse_backlog(self) -> None:
        """Raise ConnectionProblem when so much waits for Kafka or Redis that nothing more may come in (P6)."""
        late = self.host.uncommitted_s()
        if late > UNCOMMITTED_S + self.config.commit_interval / 1000:
            what = f"counts wait for a commit for {late:.0f} s, because Kafka does not acknowledge dead letters or the journal"
            raise ConnectionProblem(what, "look at these topics: do they exist, and have they enough replicas in sync")
        if self.publisher.full:
            what = "too many dead letters wait for Kafka"
            raise ConnectionProblem(what, "look at the topic of dead letters: does it exist, and can it keep up")

    def _take(self, batch: RecordBatch) -> None:
        """Fold a batch. ConnectionProblem (a new version's reference could not be read) leaves everything as it was."""
        self.host.take(batch)
        now = time.monotonic()
        for partition, _, _ in batch.partitions():
            self._last_record[batch.topic, partition] = now
        self.status.batches += 1

    def _wait(self, error: ConnectionProblem) -> None:
        """Something is away: fetch nothing more, stay in the group, try again soon."""
        if self.status.problem != str(error):
            log.warning("waiting", reason=str(error))
        self.status.problem = str(error)
        self._progress.clear()  # while we wait nothing moves, and nobody wonders
        if not self._paused:
            self.log.pause()
            self._paused = True
        time.sleep(RETRY_S)

    def _resume(self) -> None:
        if self._paused:
            self.log.resume()
            self._paused = False
            log.info("going on")
        self.status.problem = "" if self.host.tasks else "no partition is assigned to this worker"

    def _look_around(self) -> None:
        """Commands, silent partitions, lag: everything that is not a record."""
        if self.control is not None:
            self._commands.extend(self.control.poll())
            while self._commands and self._command(*self._commands[0]):
                self._commands.popleft()
        now = time.monotonic()
        if now >= self._next_topics:
            self._look_at_settings(now)
        for (group, partition), owned in list(self.host.tasks.items()):
            for topic, end in list(owned.behind.items()):
                if self.log.position(topic, partition) >= end and not owned.held:
                    del owned.behind[topic]
            idle = min(m.idle for m in owned.task.plan.models) / 1000
            for topic in owned.task.topics:
                key = (topic, partition)
                quiet = now - max(self._last_record[key], self._asked.get(key, 0.0))
                if quiet >= max(idle / 4, self.config.commit_interval / 1000) and owned.shard.settled:
                    self._asked[key] = now
                    self._maybe_silent(group, partition, topic)
        if now >= self._next_lag:
            self._next_lag = now + LAG_EVERY_S
            self._look_at_kafka(now)

    def _look_at_settings(self, now: float) -> None:
        """Whether Redis and the topics are still what they must be."""
        self.store.check()  # at every turn until it is as it must be: Redis answers at once
        self._next_topics = now + TOPICS_EVERY_S  # but Kafka may not
        heap.trim()
        try:
            self._refuse_other_topics()
        except TopicMissing:  # a broker that has just started may say so, but not twice in a row
            if self._missed:
                raise
            self._missed = True
        else:
            self._missed = False

    def _look_at_kafka(self, now: float) -> None:
        """Whether it is there, how far we are behind; tell it where we are."""
        if self._revoked_at is not None and now > self._revoked_at + KEPT_S:
            self._let_go()
        self._ask_kafka(now)
        self.log.commit({(t, p): o for (_, p), owned in self.host.tasks.items() for t, o in owned.offsets.items() if o})
        self._look_at_lags(now)

    def _ask_kafka(self, now: float) -> None:
        """Raise ConnectionProblem when Kafka is away: a poll that finds nothing does not tell that from silence."""
        quiet = [key for key, since in self._last_record.items() if now - since >= LAG_EVERY_S and key in self._ends]
        if quiet and len(quiet) == len(self._ends):
            self.log.bounds(*quiet[0], ASK_S)

    def _look_at_lags(self, now: float) -> None:
        """How far each partition is behind, and whether it moves."""
        for (_, partition), owned in self.host.tasks.items():
            for topic, offset in owned.task.offsets.items():
                key = (topic, partition)
                end = max(self.log.cached_end(*key), self._ends.get(key, 0))
                # The position passes the markers of transactions, but also what is held back and not counted.
                counted = offset if owned.held or owned.shard.pending else max(offset, self.log.position(*key))
                self.status.lag[key] = behind = max(0, end - counted)
                before, since = self._progress.get(key, (-1, now))
                if offset != before or not behind:
                    self._progress[key] = offset, now
                    self.status.stalled.pop(key, None)
                elif now - since > STALLED_S:
                    if key not in self.status.stalled:
                        log.error("no progress", topic=topic, partition=partition, offset=offset, lag=behind)
                    self.status.stalled[key] = now - since

    def _maybe_silent(self, group: str, partition: int, topic: str) -> None:
        """Caught up and silent: the wall clock, read before the broker was asked, stands in for record time (R2)."""
        time_ms = wall_ms()
        _, end = self.log.bounds(topic, partition, ASK_S)
        self._ends[topic, partition] = end
        # The position passes the markers of transactions, which no record has the offset of.
        if self.log.position(topic, partition) >= end and (topic, partition) not in self.host.blocked():
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
        try:
            self._release([(t, p) for g, p in self.host.tasks for t in self.host.topics[g]], last_commit_s=REVOKE_S)
        finally:  # or the others would wait for our session to end
            self.log.close()
        if self.control is not None:
            self.control.close()
        self.publisher.close(5.0)
        self.store.close()


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


def _refuse_in_vain(owned: OwnedTask, ends: Mapping[str, int]) -> None:
    """Raise AheadOfLogEnd when the journal lets records in first that the topics do not have: they would be waited for in vain."""
    named = [offsets_of(entry) for pending in owned.shard.pending for entry in pending.entries]
    for topic, end in ends.items():
        last = max((offsets.get(topic, 0) for offsets in named), default=0)
        if last > end:
            what = f"{topic}/{owned.partition}: the journal speaks of offset {last}, the topic ends at {end}"
            raise AheadOfLogEnd(what, START_OVER)


def check_same_partitions(topics: Topics, counts: Mapping[str, int]) -> None:
    """Raise NotCoPartitioned unless predictions and labels have the same number of partitions."""
    if (wrong := same_number(topics, counts)) is not None:
        raise wrong
