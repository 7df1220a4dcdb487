"""Which records of the journal count: a rule that reads the log alone, so that every reader comes to the same answer.

- A `Claim` counts only when its epoch is higher than that of every claim of the shard before it.
- An `Entries` record counts only when no claim before it has a higher epoch: a worker that was replaced, and does not know it
  yet, may still write, and nobody heeds it. A repeat of a number of the same token counts once.

- A `SkipEntry` that goes back to an offset caps what stands before it there: nothing behind it existed, as the topic is now.
- A `Rebuild` raises the epoch by one, and so voids what is under way; with `anew` it voids every entry before it, too.

A worker claims with one epoch more than that of the last claim it knows to count, from the state that it found or from the log
itself. So a claim counts only if its author knew of every claim that counts before it: of two that knew the same, the second
does not, however late it comes. Its worker has seen the first in the log, and claims again: in the store before the journal, so
that nobody is replaced in the log who still owns the shard in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from schemas.journal import Claim, ClockEntry, Entries, Rebuild, SkipEntry, StartEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.journal import Entry, Record


@dataclass(frozen=True, slots=True)
class Position:
    """How far a shard has obeyed the journal: ``offset`` of the last record, ``epoch`` of the last claim up to it that counts.

    ``part``: how many entries of the next record that counts are obeyed as well.
    """

    offset: int = -1
    epoch: int = 0
    part: int = 0

    def __str__(self) -> str:
        """Return the text that the store keeps."""
        return f"{self.offset}:{self.epoch}:{self.part}"


@dataclass(frozen=True, slots=True)
class Pending:
    """Entries that count, and the position of whoever has obeyed them."""

    position: Position
    entries: list[Entry]


@dataclass(slots=True)
class Reading:
    """What a stretch of the journal means for one shard.

    ``epoch`` is that of the last claim that counts, ``last`` the token of the last claim if that one does; ``begun`` says that the
    shard has had state since it was last rebuilt (known only when the stretch begins at the beginning). ``anew`` is the position of
    the last rebuild in the stretch that voids what stands before it.
    """

    epoch: int
    last: str = ""
    begun: bool = False
    anew: Position | None = None
    pending: list[Pending] = field(default_factory=list)


def read(records: Iterable[tuple[int, Record]], since: Position = Position()) -> Reading:  # frozen
    """Read the records of one shard, as (offset, record) in order, that lie behind a position."""
    reading = Reading(since.epoch)
    numbers: dict[str, int] = {}
    part, owner = since.part, ""
    for offset, record in records:
        match record:
            case Claim():
                counts = record.epoch > reading.epoch
                reading.epoch = max(reading.epoch, record.epoch)
                reading.last = record.token if counts else ""
                owner = record.token if counts else owner
                # An owner says so later, too; but none of before the last rebuild whose record comes late.
                reading.begun |= record.sequence > 0 and record.token == owner
            case Entries() if record.epoch >= reading.epoch:
                number = numbers.get(record.token, -1)
                if record.number > number:
                    numbers[record.token] = record.number
                    if left := record.entries[part:]:
                        reading.pending.append(Pending(Position(offset, reading.epoch), left))
                        _cap(reading.pending)
                    part = 0
                elif record.number == number and reading.pending:
                    # Whoever has obeyed it is behind its repeats, too, or would take the next of them for new.
                    reading.pending[-1] = replace(reading.pending[-1], position=Position(offset, reading.epoch))
            case Rebuild():
                reading.begun, owner = False, ""
                reading.epoch += 1  # what an owner has under way counts no more
                if record.anew:
                    reading.pending.clear()
                    reading.anew = Position(offset, reading.epoch)
                    part = 0
    return reading


def offsets_of(entry: Entry) -> Mapping[str, int]:
    """The offsets, by topic, of which an entry says that the records before them came first; empty for an evaluator's."""
    return entry.offsets if isinstance(entry, ClockEntry | StartEntry | SkipEntry) else {}


def _cap(pending: list[Pending]) -> None:
    """Where the last record skips back, put what stands before it within what the topic has now."""
    for number, skip in enumerate(pending[-1].entries):
        if not isinstance(skip, SkipEntry) or skip.offsets.get(skip.topic, 0) <= skip.offset:
            continue
        whole = [(p, len(p.entries)) for p in pending[:-1]] + [(pending[-1], number + 1)]
        for stretch, end in whole:
            capped = [_capped(entry, skip.topic, skip.offset) for entry in stretch.entries[:end]]
            stretch.entries[:] = capped + stretch.entries[end:]


def _capped(entry: Entry, topic: str, most: int) -> Entry:
    if not isinstance(entry, ClockEntry | StartEntry | SkipEntry) or entry.offsets.get(topic, 0) <= most:
        return entry
    return msgspec.structs.replace(entry, offsets=entry.offsets | {topic: most})
