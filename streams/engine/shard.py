"""Committing one shard: the token, the sequence, and the one commit that may be in doubt.

The protocol, in order: (1) ``claim`` makes our token the owner and returns head and sequence; (2) ``commit`` stages everything
that changed and sends it with the sequence it was made for; (3) DONE moves the sequence on; (4) when the reply is lost the
same commit is sent again, and the store knows its id; (5) LOST and CONFLICT are exceptions: whoever holds the state drops it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import CommitConflict, OwnershipLost
from streams.engine.store import Commit, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.engine.store import Store


class Shard:
    """Our hold on one shard. ``acknowledged`` collects outbox sequences that Kafka has; the next commit removes them."""

    def __init__(self, store: Store, name: str, token: str) -> None:
        """Claim it; ``body`` is what was there, None for a shard that never committed. May raise ConnectionProblem.

        ``token`` must be new with every claim: so a commit of an earlier hold that the store runs late is refused, and
        cannot pass for one of this hold that has the same sequence.
        """
        head = store.claim(name, token)
        self.name, self.token, self.body = name, token, head.body
        self.acknowledged: list[int] = []
        self._store, self._sequence = store, head.sequence
        self._doubtful: Commit | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether a commit was sent and not answered: its state must not change until ``commit`` has settled it."""
        return self._doubtful is not None

    def commit(self, stage: Callable[[Commit], None]) -> None:
        """Commit what ``stage`` writes (or, first, the commit that is in doubt).

        Raises OwnershipLost, CommitConflict, or ConnectionProblem (then call it again: nothing is lost or doubled).
        """
        commit = self._doubtful
        if commit is None:
            name = f"{self.token}:{self._sequence}"
            commit = Commit(self.name, self.token, self._sequence, name, b"", b"", acknowledged=self.acknowledged)
            self.acknowledged = []
            stage(commit)
            self._doubtful = commit
        verdict = self._store.commit(commit)
        self._doubtful = None
        if verdict is Verdict.LOST:
            raise OwnershipLost(
                f"{self.name} belongs to another worker now", "nothing: this worker drops it and rejoins"
            )
        if verdict is Verdict.CONFLICT:
            what = f"{self.name}: the commit sequence moved while we owned it"
            raise CommitConflict(what, "nothing: this worker loads the state again")
        self._sequence += 1
