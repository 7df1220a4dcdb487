"""What Redis is in a simulation: a store that may restart without its last changes, of all shards or of one.

A process has a connection, on which a command may not arrive, its answer may not come back, or it may arrive much later. What is
on its way when the store restarts is lost with the connection; the next connection finds another life of the store.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from schemas.errors import ConnectionProblem, StoreRestarted
from streams.edges.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streams.engine.store import Cell, Commit, Head, Verdict

Trouble = Literal["", "does not arrive", "is not answered", "arrives later"]
TROUBLES: tuple[Trouble, ...] = ("does not arrive", "is not answered", "arrives later")
STARTS = "starts of models"
"""Under this name they are lost and kept like a shard."""
T = TypeVar("T")


class RewindingStore(MemoryStore):
    """A store that remembers every change, to take the last ones back. ``life`` is its run id."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Empty; ``now`` is the time in seconds."""
        super().__init__()
        self.life = self.commits = 0
        self.late: list[Callable[[], object]] = []
        """Commands on their way, whose senders have stopped waiting."""
        self._now = now
        self._changes: list[tuple[float, str, Any]] = []

    def names(self, since_s: float) -> list[str]:
        """What has changed since then, a name for each change, the oldest first."""
        return [name for at, name, _ in self._changes if at >= since_s]

    def restart(self, lost: int, only: str = "") -> None:
        """Come back without the last ``lost`` changes (of one name, if it is given); what was on its way never arrives."""
        kept: list[tuple[float, str, Any]] = []
        while self._changes and lost:
            change = self._changes.pop()
            _, name, before = change
            if only and name != only:
                kept.append(change)
                continue
            lost -= 1
            if name == STARTS:
                self._starts = before
            elif before is None:
                self._shards.pop(name, None)
            else:
                self._shards[name] = before
        self._changes += reversed(kept)
        self.late.clear()
        self.life += 1

    def _changing(self, name: str) -> None:
        before = self._shards.get(name)
        self._changes.append((self._now(), name, before))
        if before is not None:
            after = copy.copy(before)
            after.cells, after.segments, after.outbox = dict(before.cells), dict(before.segments), dict(before.outbox)
            after.starts = {key: list(starts) for key, starts in before.starts.items()}
            self._shards[name] = after

    def claim(self, shard: str, token: str) -> Head:
        """As the protocol says."""
        self._changing(shard)
        return super().claim(shard, token)

    def commit(self, commit: Commit) -> Verdict:
        """As the protocol says."""
        self._changing(commit.shard)
        self.commits += 1
        return super().commit(commit)

    def declare_start(self, group: str, model: str, event_time: int, record_time: int) -> tuple[int, int]:
        """As the protocol says."""
        if model not in self._starts.get(group, {}):
            self._changes.append((self._now(), STARTS, copy.deepcopy(self._starts)))
        return super().declare_start(group, model, event_time, record_time)


class Connection:
    """The store as one process sees it. ``point`` lets the world go on; ``trouble`` says what befalls a command."""

    def __init__(
        self, store: RewindingStore, point: Callable[[], None], trouble: Callable[[str, str], Trouble]
    ) -> None:
        """Nothing asked yet."""
        self._store, self._point, self._trouble = store, point, trouble
        self._life: int | None = None
        self._open = False

    def _ask(self, what: str, shard: str, call: Callable[[], T]) -> T:
        """Send a command, which may be the end of the connection."""
        self._point()
        store = self._store
        if self._life is None:
            self._life = store.life
        if self._life != store.life:
            if self._open:
                self._open = False
                raise ConnectionProblem("the connection broke", "wait")
            raise StoreRestarted("the store was restarted", "claim everything again")
        self._open = True
        trouble = self._trouble(what, shard)
        if not trouble:
            return call()
        if trouble == "arrives later":
            store.late.append(call)
        if trouble == "is not answered":
            call()
        raise ConnectionProblem(f"{what} {trouble}", "wait")

    @property
    def current(self) -> bool:
        """Whether it leads to the present life of the store, if it leads anywhere."""
        return self._life is None or self._life == self._store.life

    def go_on(self) -> None:
        """As the protocol says."""
        self._life = None

    def claim(self, shard: str, token: str) -> Head:
        """As the protocol says."""
        return self._ask("claim", shard, lambda: self._store.claim(shard, token))

    def peek(self, shard: str) -> Head:
        """As the protocol says."""
        return self._store.peek(shard)

    def commit(self, commit: Commit) -> Verdict:
        """As the protocol says."""
        return self._ask("commit", commit.shard, lambda: self._store.commit(commit))

    def starts(self, shard: str, kind: str, model: str, first: int, last: int) -> list[int]:
        """As the protocol says."""
        return self._ask("read", shard, lambda: self._store.starts(shard, kind, model, first, last))

    def cells(self, wanted: Sequence[tuple[str, Cell]]) -> list[bytes | None]:
        """As the protocol says."""
        return self._ask("read", "", lambda: self._store.cells(wanted))

    def segments(self, shard: str) -> dict[str, bytes]:
        """As the protocol says."""
        return self._ask("read", shard, lambda: self._store.segments(shard))

    def outbox(self, shard: str) -> dict[int, bytes]:
        """As the protocol says."""
        return self._ask("read", shard, lambda: self._store.outbox(shard))

    def progress(self, shards: Iterable[str]) -> list[bytes | None]:
        """As the protocol says."""
        return self._ask("read", "", lambda: self._store.progress(shards))

    def declare_start(self, group: str, model: str, event_time: int, record_time: int) -> tuple[int, int]:
        """As the protocol says."""
        return self._ask("start", STARTS, lambda: self._store.declare_start(group, model, event_time, record_time))

    def model_starts(self, group: str) -> Mapping[str, tuple[int, int]]:
        """As the protocol says."""
        return self._ask("read", STARTS, lambda: self._store.model_starts(group))

    def pin_partitions(self, group: str, count: int) -> int:
        """As the protocol says."""
        return self._store.pin_partitions(group, count)

    def pin(self, group: str, name: str, value: str) -> str:
        """As the protocol says."""
        return self._store.pin(group, name, value)

    def unpin(self, group: str) -> None:
        """As the protocol says."""
        self._store.unpin(group)

    def forget_starts(self, group: str) -> None:
        """As the protocol says."""
        self._store.forget_starts(group)

    def shards(self, beginning: str) -> list[str]:
        """As the protocol says."""
        return self._store.shards(beginning)

    def erase(self, beginning: str) -> int:
        """As the protocol says."""
        return self._store.erase(beginning)

    def pinned_partitions(self, group: str) -> int | None:
        """As the protocol says."""
        return self._store.pinned_partitions(group)

    def publish_reference(self, content_hash: str, data: bytes, model: str, version: str) -> None:
        """As the protocol says."""
        self._store.publish_reference(content_hash, data, model, version)

    def reference(self, model: str, version: str) -> tuple[str, bytes] | None:
        """As the protocol says."""
        return self._store.reference(model, version)
