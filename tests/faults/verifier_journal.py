"""The journal, read naively: which entries took effect in which task, and before which records.

Which records count is a rule of the log alone (schemas/journal.py): of a shard, an entries record counts unless a claim before it
had a higher epoch; a repeat, of the same token and number, counts once. What counts has been lived through by somebody, or will
be, at the offsets that it names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.faults.verifier_log import CannotLookError, Log, Raw

_TASK = re.compile(r"\{task:.*\.(\w+):(\d+)\}")
"""Group of topics and partition, in the name of a task's shard."""


@dataclass
class Journal:
    """Entries by task (the group of topics and the partition) in the order in which they took effect, and what is wrong."""

    entries: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    commands: list[dict[str, Any]] = field(default_factory=list)
    claims: int = 0
    unheeded: int = 0
    """Entries records and claims that do not count."""
    wrong: list[str] = field(default_factory=list)


def read(log: Log, topic: str) -> Journal:
    """Read all partitions of the journal."""
    return understood({p: list(log.read(topic, p, *span)) for p, span in log.bounds(topic)[topic].items()})


def understood(partitions: Mapping[int, Sequence[Raw]]) -> Journal:
    """What the records of all partitions mean. Raises CannotLookError for what is no record of a journal."""
    journal, shards = Journal(), defaultdict(list)
    for number, records in partitions.items():
        for raw in records:
            try:
                record = orjson.loads(raw.value or b"")
                shards[record["shard"]].append((f"journal/{number}, offset {raw.offset}", record))
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise CannotLookError(f"journal/{number}: offset {raw.offset} is no record of a journal") from error
    for shard, said in shards.items():
        _shard(journal, shard, said)
    return journal


def _shard(journal: Journal, shard: str, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """The records of one shard in the order of the log."""
    highest = 0
    heeded: dict[tuple[str, int], list[dict[str, Any]]] = {}
    owner: dict[int, str] = {}
    for where, record in records:
        if record["record"] == "claim":
            journal.claims += 1
            journal.unheeded += record["epoch"] <= highest
            highest = max(highest, record["epoch"])
            continue
        if record["record"] == "rebuild":
            highest += 1
            if record.get("anew"):  # what the entries before it spoke of is gone
                journal.entries.pop(_task(shard), None)
            continue
        name = (record["token"], record["number"])
        if record["epoch"] < highest:
            journal.unheeded += 1
        elif name in heeded:
            if heeded[name] != record["entries"]:
                journal.wrong.append(f"{where}: number {name[1]} of token {name[0]} is there twice, with other entries")
        else:
            heeded[name] = record["entries"]
            if owner.setdefault(record["epoch"], record["token"]) != record["token"]:
                journal.wrong.append(f"{where}: two owners of {shard} wrote under epoch {record['epoch']}")
            for entry in record["entries"]:
                _take(journal, shard, where, entry)


def _take(journal: Journal, shard: str, where: str, entry: dict[str, Any]) -> None:
    if entry["entry"] == "command":
        journal.commands.append(entry)
        return
    if entry["entry"] == "decided":  # nothing is obeyed by it
        return
    if entry["entry"] == "skip":
        raise CannotLookError(f"{where}: records were skipped on purpose, which is not understood")
    task = _task(shard)
    if not task[0]:
        journal.wrong.append(f"{where}: an entry of a task stands under {shard}")
        return
    before = journal.entries[task]
    if before and any(offset < before[-1]["offsets"][topic] for topic, offset in entry["offsets"].items()):
        journal.wrong.append(f"{where}: an entry took effect before the one that {shard} wrote before it")
    before.append(entry)


def _task(shard: str) -> tuple[str, int]:
    """Group and partition of a task's shard; of an evaluator's there is no group."""
    match = _TASK.fullmatch(shard)
    return (match[1], int(match[2])) if match is not None else ("", -1)
