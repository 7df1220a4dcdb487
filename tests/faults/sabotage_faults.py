"""What befalls a worker, so that the moment comes in which a protection is needed; each says on stderr that it came."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from tests.faults import sabotage_patches
from tests.faults.sabotage_patches import die, is_task, of, replace, say, store, wrap

NTH: Final = 12
"""The commit of tasks at which a fault strikes: state is there, and most of the traffic is not."""
EARLY: Final = 2
"""Commits of one task before one is kept, and again until it comes late: a busy machine has few in ten seconds."""
PARTITIONS: Final = 4
"""Of every deployment of these cells."""
STARVED_S: Final = 6.0
"""So long a starved worker gets nothing: several times the idle time of the silent scene."""


def dies_between_writes() -> None:
    """SIGKILL in a commit; between its writes, if there are two."""
    count = 0

    def strike(commit: Any) -> None:  # noqa: ANN401  # a Commit
        nonlocal count
        count += bool(is_task(commit) and commit.put)
        if count == NTH:
            die("inside a commit")

    sabotage_patches.between_writes = strike

    def commit(original: Callable[..., Any], self: Any, commit: Any) -> Any:  # noqa: ANN401  # a RedisStore, a Commit
        strike(commit)
        return original(self, commit)

    if not getattr(store().commit, "__wrapped__", None):
        wrap(store(), "commit", commit)


def dies_before_publishing() -> None:
    """SIGKILL when the first event should be published."""
    publisher = of("streams.edges.kafka_publisher:KafkaPublisher")
    replace(publisher, "publish", lambda *_: die("before publishing"))


def no_room_for_letters() -> None:
    """The producer never has room for a dead letter."""

    def produce(original: Callable[..., bool], self: Any, record: Any) -> bool:  # noqa: ANN401  # a KafkaPublisher
        if record.topic == self._topic:
            say("a dead letter waits")
            return False
        return original(self, record)

    wrap(of("streams.edges.kafka_publisher:KafkaPublisher"), "_produce", produce)


def no_room_for_clocks() -> None:
    """The journal never has room for a record with an entry of a clock."""

    def write(original: Callable[..., None], self: Any, record: Any, done: Any) -> None:  # noqa: ANN401  # a KafkaJournal
        if _of_clock(record):
            say("a clock entry waits")
        else:
            original(self, record, done)

    wrap(of("streams.edges.kafka_journal:KafkaJournal"), "write", write)


def dies_with_a_clock() -> None:
    """SIGKILL when a clock entry stands in the journal, before the commit that contains its effect."""

    def write(original: Callable[..., None], self: Any, record: Any, done: Any) -> None:  # noqa: ANN401  # a KafkaJournal
        stands = (lambda _: die("a clock entry stands")) if _of_clock(record) else done
        original(self, record, stands)

    wrap(of("streams.edges.kafka_journal:KafkaJournal"), "write", write)


def sleeps_with_a_clock() -> None:
    """SIGSTOP right before a clock entry is journaled; tells how the commit ends that follows when it wakes."""
    asleep = False

    def write(original: Callable[..., None], self: Any, record: Any, done: Any) -> None:  # noqa: ANN401  # a KafkaJournal
        nonlocal asleep
        if _of_clock(record) and not asleep:
            asleep = True
            say("sleeping before the journal")
            os.kill(os.getpid(), signal.SIGSTOP)
        original(self, record, done)

    def commit(original: Callable[..., Any], self: Any, commit: Any) -> Any:  # noqa: ANN401  # a RedisStore, a Commit
        answer = original(self, commit)
        if asleep:
            say(f"awake: {answer.value}")
        return answer

    wrap(of("streams.edges.kafka_journal:KafkaJournal"), "write", write)
    wrap(store(), "commit", commit)


def sleeps_after_claims() -> None:
    """SIGSTOP when as many tasks are claimed as there are partitions, before any of them commits."""
    takeover = import_module("streams.hosting.takeover")
    claimed: set[str] = set()

    def claim(original: Callable[..., Any], store: Any, journal: Any, names: Any, token: Any) -> Any:  # noqa: ANN401  # its own
        named = list(names)
        found = original(store, journal, named, token)
        claimed.update(n for n in named if n.startswith("{task:"))
        if len(claimed) == PARTITIONS:
            claimed.add("slept")
            say("sleeping after the claims")
            os.kill(os.getpid(), signal.SIGSTOP)
        return found

    wrap(takeover, "claim", claim)


def _of_clock(record: Any) -> bool:  # noqa: ANN401  # a journal record
    return any(type(e).__name__ == "ClockEntry" for e in getattr(record, "entries", ()))


def starves() -> None:
    """After the first records nothing comes any more for some seconds, as if every fetch were slow."""
    first: list[float] = []

    def poll(original: Callable[..., Any], self: Any, *args: Any) -> Any:  # noqa: ANN401  # a KafkaLog
        now = time.monotonic()
        if first and 1.0 < now - first[0] < 1.0 + STARVED_S:
            time.sleep(0.1)
            return []
        found = original(self, *args)
        if found and not first:
            say("starving")
            first.append(now)
        return found

    wrap(of("streams.edges.kafka_log:KafkaLog"), "poll", poll)


def sleeps_in_a_commit() -> None:
    """SIGSTOP right before a commit's script is sent; whoever sends SIGCONT lets it be sent."""
    count = 0

    def commit(original: Callable[..., Any], self: Any, commit: Any) -> Any:  # noqa: ANN401  # a RedisStore, a Commit
        nonlocal count
        count += bool(is_task(commit) and commit.put)
        if count == NTH:
            count += 1
            say("sleeping before the script")
            os.kill(os.getpid(), signal.SIGSTOP)
            answer = original(self, commit)
            say(f"awake: {answer.value}")
            return answer
        return original(self, commit)

    wrap(store(), "commit", commit)


def sends_late() -> None:
    """The network delivers a commit a second time, after some later ones; then the worker dies."""
    kept: list[Any] = []

    def commit(original: Callable[..., Any], self: Any, commit: Any) -> Any:  # noqa: ANN401  # a RedisStore, a Commit
        answer = original(self, commit)
        if not kept and is_task(commit) and commit.put and commit.sequence >= EARLY:
            kept.append(commit)
        elif kept and commit.shard == kept[0].shard and commit.sequence >= kept[0].sequence + EARLY:
            say(f"late commit: {original(self, kept[0]).value}")
            die("after a late commit")
        return answer

    wrap(store(), "commit", commit)


def loses_replies() -> None:
    """The reply to every tenth commit is lost after the script has run."""
    errors = import_module("schemas.errors")
    count = 0

    def commit(original: Callable[..., Any], self: Any, commit: Any) -> Any:  # noqa: ANN401  # a RedisStore, a Commit
        nonlocal count
        answer = original(self, commit)
        count += 1
        if count % 10 == 0:
            say("a reply is lost")
            raise errors.ConnectionProblem("the reply was lost", "nothing: this is a test")
        return answer

    wrap(store(), "commit", commit)


FAULTS: Final[dict[str, Callable[[], None]]] = {
    "dies-between-writes": dies_between_writes,
    "dies-before-publishing": dies_before_publishing,
    "no-room-for-letters": no_room_for_letters,
    "no-room-for-clocks": no_room_for_clocks,
    "dies-with-a-clock": dies_with_a_clock,
    "starves": starves,
    "sleeps-in-a-commit": sleeps_in_a_commit,
    "sleeps-with-a-clock": sleeps_with_a_clock,
    "sleeps-after-claims": sleeps_after_claims,
    "sends-late": sends_late,
    "loses-replies": loses_replies,
}
