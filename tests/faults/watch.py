"""What the heads in Redis say, seen every 20 ms: who owns which task, and when each commit came. For proof and for times."""

from __future__ import annotations

import bisect
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import redis

from schemas.identifiers import task_tag

if TYPE_CHECKING:
    from tests.faults.deployment import Deployment

EVERY_S = 0.02
"""The error of every time that is measured with it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A commit, or a claim: when it was seen (monotonic), the owner's token, the commit sequence."""

    at: float
    token: str
    sequence: int

    @property
    def owner(self) -> str:
        """The same for all claims of one process."""
        return self.token.partition(".")[0]


@dataclass(slots=True)
class Watch:
    """A thread that looks at the head of every task; a context manager. A Redis that is away is looked at again."""

    deployment: Deployment
    history: dict[int, list[Seen]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to look."""
        self.history = {p: [] for p in range(self.deployment.partitions)}
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(10)

    def _look(self) -> None:
        group = f"{self.deployment.config.group}.predictions"
        keys = [f"driftline:{task_tag(group, p)}:head" for p in range(self.deployment.partitions)]
        with redis.Redis(port=self.deployment.redis.port, socket_timeout=2.0) as client:
            while not self._over.wait(EVERY_S):
                try:
                    pipe = client.pipeline(transaction=False)
                    for key in keys:
                        pipe.hmget(key, "token", "sequence")
                    heads = pipe.execute()
                except redis.RedisError:
                    continue
                now = time.monotonic()
                for partition, (token, sequence) in enumerate(heads):
                    self._note(partition, Seen(now, (token or b"").decode(), int(sequence or 0)))

    def _note(self, partition: int, seen: Seen) -> None:
        past = self.history[partition]
        if not past or (past[-1].token, past[-1].sequence) != (seen.token, seen.sequence):
            past.append(seen)

    # -- what was seen ------------------------------------------------------------------------------------------------

    def now(self, partition: int) -> Seen:
        """The latest."""
        past = self.history[partition]
        return past[-1] if past else Seen(0.0, "", 0)

    def owners(self) -> dict[str, set[int]]:
        """The partitions of each owner, by the latest claims."""
        found: dict[str, set[int]] = {}
        for partition in self.history:
            if owner := self.now(partition).owner:
                found.setdefault(owner, set()).add(partition)
        return found

    def sequences(self) -> dict[int, int]:
        """The commit sequence of each task."""
        return {p: self.now(p).sequence for p in self.history}

    def commits(self) -> int:
        """All commits of all tasks so far."""
        return sum(self.sequences().values())

    def first_commit(self, partition: int, after: float, not_by: str = "") -> float | None:
        """When the first commit after a time was seen, of anybody but one owner; None: none yet."""
        past = self.history[partition]
        first = bisect.bisect_right([s.at for s in past], after)
        for before, seen in zip(past[max(0, first - 1) :], past[first:] if first else past[1:], strict=False):
            if seen.at > after and seen.sequence > before.sequence and seen.owner != not_by:
                return seen.at
        return None

    def wait_commit(
        self, partitions: set[int], after: float, not_by: str = "", timeout_s: float = 60.0
    ) -> float | None:
        """Seconds from ``after`` until every one of the partitions had a commit since; None when one had none in time."""
        while True:
            found = [self.first_commit(p, after, not_by) for p in sorted(partitions)]
            if all(at is not None for at in found):
                return max((at for at in found if at is not None), default=after) - after
            if time.monotonic() - after > timeout_s:
                return None
            time.sleep(EVERY_S)

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time in which some task had no commit."""
        worst = 0.0
        for past in self.history.values():
            times = [
                since,
                *(b.at for a, b in pairwise(past) if b.sequence > a.sequence and since <= b.at <= until),
                until,
            ]
            worst = max(worst, *(b - a for a, b in pairwise(times)))
        return worst
