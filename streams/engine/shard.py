"""Owning one shard: the claim, the journal before the state, the sequence, and the one commit that may be in doubt.

The protocol, in order: (1) ``claim`` makes our token the owner in the store, which refuses every later commit of an earlier owner;
it makes our claim stand in the journal, which voids every later entry of an earlier owner; and it returns what stands between the
head's position in the journal and our claim: ``pending``, to be obeyed before anything new. (2) What is in no input is noted
(``note``) and written (``write``) before the commit that contains its effect. (3) ``commit`` stages everything that changed and
sends it with the sequence it was made for; DONE moves the sequence on. (4) When the reply is lost the same commit is sent again,
and the store knows its id. (5) LOST and CONFLICT are exceptions: whoever holds the state drops it.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import RESTORE, CommitConflict, OwnershipLost, StateMissing
from schemas.journal import Claim, Entries
from streams.engine import fence
from streams.engine.fence import Pending, Position
from streams.engine.store import Commit, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schemas.journal import Entry
    from streams.engine.journal import Journal
    from streams.engine.store import Store

PROVEN_S = 5.0
"""After its first commit a shard has state for good: Redis with ``appendfsync everysec`` loses two seconds at most."""
RECORD_BYTES = 500_000
"""A record of the journal is full beyond this: with its last entry (a command, 64 KiB) it stays below Kafka's 1 MB."""


class Shard:
    """Our hold on one shard. ``acknowledged`` collects outbox sequences that Kafka has; the next commit removes them.

    ``body`` is what was there, None for a shard that never committed; ``found`` the id of the commit that made it.
    """

    def __init__(self, store: Store, journal: Journal, name: str, token: str, last: int = 0) -> None:
        """Claim it in the store, to succeed the claim of epoch ``last`` in the journal (that of the state found, if higher).

        May raise ConnectionProblem. Only ``claim`` calls this.

        ``token`` must be new with every claim: so a commit of an earlier hold that the store runs late is refused, and
        cannot pass for one of this hold that has the same sequence.
        """
        head = store.claim(name, token)
        self.name, self.token, self.body, self.found = name, token, head.body, head.commit
        self.epoch = max(head.position.epoch, last) + 1
        self.position, self.pending = head.position, deque[Pending]()
        self.acknowledged: list[int] = []
        self.outstanding: set[int] = set()
        self._store, self._journal, self._sequence = store, journal, head.sequence
        self._doubtful: Commit | None = None
        self._notes: list[Entry] = []
        self._obeyed = self._written = self._standing = 0
        self._claimed = self.position
        self._last = head.commit
        self._unsaved = False
        self._proves: float | None = None

    # -- the claim ----------------------------------------------------------------------------------------------------

    def claim_record(self) -> Claim:
        """What stands in the journal for this hold."""
        return Claim(shard=self.name, token=self.token, epoch=self.epoch, sequence=self._sequence)

    def take_over(self, reading: fence.Reading, offset: int) -> None:
        """Our claim counts, at this offset: what stands before it is to be obeyed.

        Raises StateMissing when the journal knows of state that the store does not have, or has voided the one that it has.
        """
        if self.body is None and reading.begun:
            raise StateMissing(f"{self.name}: the journal knows of commits, and the store has no state", RESTORE)
        if reading.anew is not None:
            if self.body is not None:
                raise StateMissing(f"{self.name}: the store went back to before the last rebuild", RESTORE)
            self.position = reading.anew  # of which the epoch is known: a commit before all is obeyed must say it
        self.pending.extend(reading.pending)
        self._claimed = Position(offset, self.epoch)
        if not self.pending:
            self.position = self._claimed

    # -- the journal --------------------------------------------------------------------------------------------------

    @property
    def next_entry(self) -> Entry | None:
        """The entry to obey before anything new, None when there is none."""
        return self.pending[0].entries[self._obeyed] if self.pending else None

    def obeyed(self) -> None:
        """The next entry has taken effect. A record counts as obeyed when all of its entries have."""
        self._obeyed += 1
        if self._obeyed == len(self.pending[0].entries):
            done = self.pending.popleft()
            self.position = done.position if self.pending else self._claimed
            self._obeyed = 0
        else:
            p = self.position
            self.position = Position(p.offset, p.epoch, p.part + 1)

    def note(self, entry: Entry) -> None:
        """Something that is in no input has taken effect: it is journaled before the next commit."""
        self._notes.append(entry)
        self._unsaved = True

    def write(self) -> None:
        """Send what was noted to the journal; one record at a time, so that they stand in order."""
        if not self._notes or self._standing < self._written:
            return
        sizes = accumulate(len(msgspec.json.encode(entry)) for entry in self._notes)
        most = 1 + sum(size <= RECORD_BYTES for size in sizes)
        entries, self._notes = self._notes[:most], self._notes[most:]
        record = Entries(shard=self.name, token=self.token, epoch=self.epoch, number=self._written, entries=entries)
        self._written += 1
        self._journal.write(record, self._stands)

    def _stands(self, offset: int) -> None:
        self._standing += 1
        self.position = Position(max(offset, self.position.offset), self.epoch)

    @property
    def journaled(self) -> bool:
        """Whether everything that was noted stands in the journal: only then may the state be committed."""
        return not self._notes and self._standing == self._written

    @property
    def settled(self) -> bool:
        """Whether the state may change by what is in no input: no commit is in doubt, and nothing older is to be obeyed."""
        return self._doubtful is None and not self.pending

    # -- the commit ---------------------------------------------------------------------------------------------------

    @property
    def in_doubt(self) -> bool:
        """Whether a commit was sent and not answered: its state must not change until ``commit`` has settled it."""
        return self._doubtful is not None

    def commit(self, stage: Callable[[Commit], None]) -> None:
        """Commit what ``stage`` writes (or, first, the commit that is in doubt).

        Raises OwnershipLost, CommitConflict, StoreRestarted, or ConnectionProblem (then call it again: nothing is lost or
        doubled).
        """
        commit = self._doubtful
        if commit is None:
            name = f"{self.token}:{self._sequence}"
            commit = Commit(
                self.name, self.token, self._sequence, name, b"", b"", self.position, acknowledged=self.acknowledged
            )
            self.acknowledged = []
            stage(commit)
            self._doubtful = commit
        verdict = self._store.commit(commit)
        self._doubtful = None
        if verdict is Verdict.LOST:
            raise OwnershipLost(
                f"{self.name} belongs to another worker now", "nothing is to be done: this worker drops it and rejoins"
            )
        if verdict is Verdict.CONFLICT:
            what = f"{self.name}: the commit sequence moved while we owned it"
            raise CommitConflict(what, "nothing is to be done: this worker loads the state again")
        self._sequence += 1
        self._last = commit.commit_id
        self._unsaved = False
        if self._sequence == 1:
            self._proves = float("inf")

    def prove(self, now: float) -> None:
        """Say in the journal that the shard has had state, ``PROVEN_S`` after its first commit (``now`` in seconds).

        From then on a store without it has lost it. Before, a store that lost its last second may have had nothing else, and whoever
        begins again counts all of it again. Call it at every turn.
        """
        if self._proves is None:
            return
        self._proves = min(self._proves, now + PROVEN_S)
        if now >= self._proves:
            self._proves = None
            self._journal.write(self.claim_record(), lambda _: None)

    def succeeds(self, before: Shard) -> bool:
        """Whether nothing has happened between an earlier hold and this one: then what it holds in memory is still true.

        What it sent without an answer may have happened or not. What it noted since may stand in the journal behind another's
        claim and not count, so then nothing is kept.
        """
        if not self.found or self.pending:
            return False
        return before.happened(self.found) or (self.found == before._last and not before._unsaved)  # of the same class

    def happened(self, commit_id: str) -> bool:
        """Whether the commit in doubt is this one."""
        return self._doubtful is not None and self._doubtful.commit_id == commit_id


def claim(store: Store, journal: Journal, names: Iterable[str], token: Callable[[], str]) -> dict[str, Shard]:
    """Take shards over, in the store and in the journal; ``token`` gives a new one with every call.

    Raises ConnectionProblem, StoreRestarted, StateCorrupt or StateMissing.
    """
    shards = {name: Shard(store, journal, name, token()) for name in names}
    waiting = list(shards)
    while waiting:
        mine = [shards[name] for name in waiting]
        found = journal.claim([s.claim_record() for s in mine], {s.name: s.position.offset for s in mine})
        for shard in mine:
            records = found[shard.name]
            reading = fence.read(records, shard.position)
            if reading.last == shard.token:
                shard.take_over(reading, records[-1][0])
                waiting.remove(shard.name)
            else:
                shards[shard.name] = Shard(store, journal, shard.name, token(), reading.epoch)
    return shards
