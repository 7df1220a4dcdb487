"""What must come of a simulation, read from its logs by slow and plain code that shares nothing with the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.journal import Claim, ClockEntry, CommandEntry, Entries, Rebuild
from tests.sim.toy import EVENT_EVERY, PANE_EVERY, mix
from tests.sim.toy_host import EVALUATOR, task_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.journal import Entry, Record
    from schemas.outbox import OutboxEvent
    from tests.sim.toy_host import Script


def obeyed(journal: Sequence[Record], shard: str) -> list[Entry]:
    """The entries of a shard that count, in order.

    A record counts unless what stands before it has a higher epoch (a rebuild raises it), or it stood before, too.
    """
    found: list[Entry] = []
    for at, record in enumerate(journal):
        if not isinstance(record, Entries) or record.shard != shard:
            continue
        before = [r for r in journal[:at] if r.shard == shard]
        repeat = any(isinstance(r, Entries) and (r.token, r.number) == (record.token, record.number) for r in before)
        if record.epoch >= epoch(before) and not repeat:
            found += record.entries
    return found


def epoch(records: Sequence[Record]) -> int:
    """The epoch behind the records of a shard."""
    highest = 0
    for record in records:
        if isinstance(record, Claim):
            highest = max(highest, record.epoch)
        highest += isinstance(record, Rebuild)
    return highest


def task(script: Script, partition: int, entries: list[Entry]) -> tuple[dict[str, Any], list[int], dict[str, Any]]:
    """The last state of a task, its panes and its events by id."""
    clocks = [e for e in entries if isinstance(e, ClockEntry)]
    chain, clock_of, panes, events = {}, {}, [], {}
    for topic in ("a", "b"):
        number = 0
        log = script.logs[topic, partition]
        for offset, value in enumerate(log):
            clock = 0
            for entry in clocks:
                if entry.topic == topic and entry.offsets[topic] <= offset:
                    clock = mix(clock, entry.time_ms)
            number = mix(number, offset, value, clock)
            if topic == "a" and (offset + 1) % EVENT_EVERY == 0:
                nth = (offset + 1) // EVENT_EVERY - 1
                events[f"{task_shard(partition)}/{nth}"] = repr((number, clock))
            if topic == "b" and (offset + 1) % PANE_EVERY == 0:
                panes.append(number)
        chain[topic], clock_of[topic] = number, 0
        for entry in clocks:
            if entry.topic == topic:
                clock_of[topic] = mix(clock_of[topic], entry.time_ms)
    offsets = {topic: len(script.logs[topic, partition]) for topic in ("a", "b")}
    state = {"offsets": offsets, "chain": chain, "clock": clock_of, "obeyed": len(clocks)}
    return state | {"panes": len(panes), "events": len(events)}, panes, events


def evaluator(panes: list[list[int]], entries: list[Entry]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last state of the evaluator, and its events by id."""
    commands = [e for e in entries if isinstance(e, CommandEntry)]
    chain, events = 0, {}
    windows = list(zip(*panes, strict=False))
    for cursor, window in enumerate(windows):
        heard = 0
        for entry in commands:
            if entry.cursors[0] <= cursor:
                heard = mix(heard, entry.command["word"])
        chain = mix(chain, [repr(pane).encode() for pane in window], heard)
        events[f"{EVALUATOR}/{cursor}"] = repr(chain)
    heard = 0
    for entry in commands:
        heard = mix(heard, entry.command["word"])
    return {"cursor": len(windows), "control": len(commands), "commands": heard, "chain": chain}, events


def published(events: Sequence[OutboxEvent]) -> dict[str, Any]:
    """Payloads by id. Raises AssertionError when an id has two."""
    found: dict[str, Any] = {}
    for event in events:
        payload = event.value.decode()
        assert found.setdefault(event.event_id, payload) == payload, f"two payloads of {event.event_id}"
    return found
