"""What shaped a result and is in no input (R3), and who may say so: the records of ``driftline.journal`` (JSON, tag `record`).

A state in Redis never contains the effect of an entry that Kafka has not acknowledged: the journal comes first, then the commit.
So whoever takes a shard over, after a crash or from a Redis that lost its last second, reads here what to live through again.
A replay reads the inputs and this. Every entry says where it took effect: `offsets` are the next offsets of the task's topics
at that moment, so "after all records before them". All records of a shard have one key, so they lie in one order.

Which records count is a rule of the log alone (`streams.engine.fence`): see `Claim` and `Entries`.
"""

from __future__ import annotations

import msgspec

from schemas.identifiers import event_id
from schemas.outbox import OutboxEvent


class ClockEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="clock"):
    """The partition clock: `topic`'s partition was caught up and silent, and stands at `time_ms` (R2)."""

    topic: str
    time_ms: int
    offsets: dict[str, int]


class StartEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="start"):
    """A model that this task has not seen starts there: at an event time and a record time (R2)."""

    model: str
    event_time: int
    record_time: int
    offsets: dict[str, int]


class SkipEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="skip"):
    """Somebody decided to go on at `offset` of `topic` although the records before it are gone (`driftline recover`).

    An `offset` below the one where the task stood says that the topic is another one, or was cut off there: what was journaled
    before it at higher offsets happened, for whoever lives it through again, at that offset (`streams.engine.fence`).
    """

    topic: str
    offset: int
    offsets: dict[str, int]


class CommandEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="command"):
    """A command took effect at an evaluator, between the decisions that its cursors name (R9)."""

    partition: int
    """Of the control topic."""
    offset: int
    cursors: tuple[int, int, int, int, int]
    """Drift, performance (revision 1), sequential, retrain, performance (revision 2): what starts before them was decided
    before."""
    command: dict[str, str | None]
    applied: bool
    """False: it named no request in flight, and changed nothing."""


class DecidedEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="decided"):
    """An evaluator publishes what it decided up to these cursors; no command takes effect earlier any more.

    Nothing is to be obeyed: an evaluator whose store went back decides the same again. But a command that it has not seen yet
    must not slip in before decisions that are published already.
    """

    cursors: tuple[int, int, int, int, int]
    """As those of a command."""


Entry = ClockEntry | StartEntry | SkipEntry | CommandEntry | DecidedEntry


class Claim(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="claim"):
    """A worker takes a shard over. It counts only when its epoch is higher than that of every claim before it.

    The epoch is one more than that of the last claim that counts and that the worker knows of: a compare-and-set on the log.
    """

    shard: str
    token: str
    epoch: int
    sequence: int
    """Commits that the shard had had."""


class Entries(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="entries"):
    """Everything that shaped a shard between two of its commits.

    It counts only when no claim before it has a higher epoch; a repeat (same token and number) counts once.
    """

    shard: str
    token: str
    epoch: int
    number: int
    """Of the records of this token: 0, 1, 2..."""
    entries: list[Entry]


class Rebuild(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="rebuild"):
    """Somebody decided that a shard without state is lived through from the beginning again (`driftline recover`)."""

    shard: str
    anew: bool = False
    """The records that it was made of are gone with their topic: the entries before this do not count any more."""


Record = Claim | Entries | Rebuild


def to_event(record: Record, topic: str) -> OutboxEvent:
    """Return what is published for a record; its key keeps a shard's records in order."""
    kind = str(type(record).__struct_config__.tag)
    value = msgspec.json.encode(record, order="deterministic")
    return OutboxEvent(
        event_id=event_id("journal", record.shard, value.decode()),
        topic=topic,
        key=record.shard.encode(),
        value=value,
        headers=[("record", kind.encode())],
    )


def decode(value: bytes) -> Record:
    """Return a journal record; raises msgspec.ValidationError when it is none."""
    record: Record = msgspec.json.decode(value, type=Record)
    return record
