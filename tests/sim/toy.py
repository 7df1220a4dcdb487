"""A toy in place of the engine: states so small that thousands of histories run in a minute, over the real protocol.

A task reads two topics and chains what it reads into one number a topic; the entries of the journal (a topic's clock, which
nobody could guess) change what the topic's number comes to, so an entry that is lost, obeyed twice or at another record shows.
Every few records of "a" it decides an event, every few of "b" it closes a pane, and what it has read it also appends to a log.
An evaluator merges the panes of all tasks and obeys commands, which change what it decides from there on.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from schemas.outbox import OutboxEvent

if TYPE_CHECKING:
    from streams.engine.store import Cell, Commit

TOPICS = ("a", "b")
EVENT_EVERY, PANE_EVERY = 2, 2
PANES, MODEL = "panes", "toy"


def mix(*values: object) -> int:
    """A number that says what all of these were."""
    return zlib.crc32(repr(values).encode())


def event(name: str, payload: object) -> OutboxEvent:
    """A decided event."""
    return OutboxEvent(name, "alerts", b"toy", repr(payload).encode(), [])


class TaskState(msgspec.Struct):
    """Everything a toy task knows."""

    offsets: dict[str, int]
    chain: dict[str, int]
    clock: dict[str, int]
    obeyed: int = 0
    panes: int = 0
    events: int = 0


class ToyTask:
    """One partition."""

    def __init__(self, shard: str, body: bytes | None) -> None:
        """From its shard's last body, or new."""
        self.shard = shard
        new = TaskState(dict.fromkeys(TOPICS, 0), dict.fromkeys(TOPICS, 0), dict.fromkeys(TOPICS, 0))
        self.state = msgspec.msgpack.decode(body, type=TaskState) if body else new
        self.decided: list[tuple[int, OutboxEvent]] = []
        self._put: list[tuple[Cell, bytes]] = []
        self._read = {topic: bytearray() for topic in TOPICS}

    def take(self, topic: str, offset: int, value: int) -> None:
        """Count one record."""
        s = self.state
        assert offset == s.offsets[topic], f"{self.shard}: {topic} is at {s.offsets[topic]}, and got {offset}"
        s.offsets[topic] += 1
        self._read[topic].append(offset)
        s.chain[topic] = mix(s.chain[topic], offset, value, s.clock[topic])
        if topic == "a" and s.offsets["a"] % EVENT_EVERY == 0:
            self.decided.append((s.events, event(f"{self.shard}/{s.events}", (s.chain["a"], s.clock["a"]))))
            s.events += 1
        if topic == "b" and s.offsets["b"] % PANE_EVERY == 0:
            self._put.append(((PANES, MODEL, s.panes), repr(s.chain["b"]).encode()))
            s.panes += 1

    def set_clock(self, topic: str, time_ms: int) -> None:
        """Obey an entry, new or old."""
        self.state.clock[topic] = mix(self.state.clock[topic], time_ms)
        self.state.obeyed += 1

    def stage(self, commit: Commit) -> None:
        """Write everything that changed."""
        commit.body = msgspec.msgpack.encode(self.state)
        commit.progress = msgspec.msgpack.encode(self.state.panes)
        commit.put += self._put
        commit.append += [(topic, bytes(read)) for topic, read in self._read.items() if read]
        commit.outbox += [(n, msgspec.msgpack.encode(e)) for n, e in self.decided]

    def committed(self) -> list[tuple[int, OutboxEvent]]:
        """What was staged stands; returns what may be published now."""
        decided, self.decided, self._put = self.decided, [], []
        for read in self._read.values():
            read.clear()
        return decided


class EvaluatorState(msgspec.Struct):
    """Everything a toy evaluator knows. ``control`` is the next command to read."""

    cursor: int = 0
    control: int = 0
    commands: int = 0
    chain: int = 0


class ToyEvaluator:
    """Windows of one pane, over all tasks."""

    def __init__(self, shard: str, body: bytes | None) -> None:
        """From its shard's last body, or new."""
        self.shard = shard
        self.state = msgspec.msgpack.decode(body, type=EvaluatorState) if body else EvaluatorState()
        self.decided: list[tuple[int, OutboxEvent]] = []
        self.changed = False

    def decide(self, panes: list[bytes]) -> None:
        """The next window."""
        s = self.state
        s.chain = mix(s.chain, panes, s.commands)
        self.decided.append((s.cursor, event(f"{self.shard}/{s.cursor}", s.chain)))
        s.cursor += 1
        self.changed = True

    def command(self, offset: int, word: str) -> None:
        """Obey a command, new or old."""
        self.state.commands = mix(self.state.commands, word)
        self.state.control = offset + 1
        self.changed = True

    def stage(self, commit: Commit) -> None:
        """Write everything that changed."""
        commit.body = msgspec.msgpack.encode(self.state)
        commit.outbox += [(n, msgspec.msgpack.encode(e)) for n, e in self.decided]

    def committed(self) -> list[tuple[int, OutboxEvent]]:
        """What was staged stands; returns what may be published now."""
        decided, self.decided, self.changed = self.decided, [], False
        return decided
