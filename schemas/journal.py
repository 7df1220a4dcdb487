"""What shaped a result and is in no input (R3): one record of `driftline.journal` per entry, JSON, told apart by `entry`.

A replay reads the inputs and this. Every entry says where in the task's inputs it took effect: `offsets` are the next
offsets of the task's topics at that moment, so "after all records before them".
"""

from __future__ import annotations

import msgspec

from schemas.identifiers import event_id
from schemas.outbox import OutboxEvent


class ClockEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="clock"):
    """The partition clock: `topic`'s partition was caught up and silent, and stands at `time_ms` (R2)."""

    task: str
    group: str
    partition: int
    topic: str
    time_ms: int
    offsets: dict[str, int]
    number: int


class StartEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="start"):
    """A model that this task has not seen starts there: at an event time and a record time (R2)."""

    task: str
    group: str
    partition: int
    model: str
    event_time: int
    record_time: int
    offsets: dict[str, int]
    number: int


class CommandEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="entry", tag="command"):
    """A command took effect at an evaluator, between the decisions that its cursors name (R9)."""

    model: str
    group: str
    partition: int
    """Of the control topic."""
    offset: int
    cursors: tuple[int, int, int, int, int]
    """Drift, performance (revision 1), sequential, retrain, performance (revision 2): what starts before them was decided
    before."""
    command: dict[str, str | None]
    applied: bool
    """False: it named no request in flight, and changed nothing."""
    number: int


Entry = ClockEntry | StartEntry | CommandEntry


def to_event(entry: Entry, topic: str) -> OutboxEvent:
    """Return the record that publishes an entry; its key keeps a task's (or a model's) entries in order."""
    key = entry.model if isinstance(entry, CommandEntry) else entry.task
    kind = type(entry).__struct_config__.tag
    return OutboxEvent(
        event_id=event_id("journal", str(kind), key, entry.number),
        topic=topic,
        key=key.encode(),
        value=msgspec.json.encode(entry, order="deterministic"),
        headers=[("entry", str(kind).encode())],
    )


def decode(value: bytes) -> Entry:
    """Return the entry of a journal record; raises msgspec.ValidationError when it is none."""
    entry: Entry = msgspec.json.decode(value, type=Entry)
    return entry
