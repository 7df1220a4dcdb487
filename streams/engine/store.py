"""What the engine asks of the place where state lives: one atomic commit, fenced by a token and a sequence.

The Redis edge and its in-memory twin implement ``Store``; one contract test runs on both. A *shard* is everything that is
committed together: one task's state, or one model's evaluator. Its name is the hash tag of its keys.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from streams.engine.fence import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FEATURES, ARRIVALS, PERFORMANCE, WINDOWS = "features", "arrivals", "performance", "windows"
"""Kinds of cells: feature panes, outcomes by arrival of the label, outcomes by time of the prediction, evaluated windows."""
LABELS, EVERY = "labels", "*"
"""Kind of the cells that say where labels of a time stand in the log, by the model that they name; EVERY: by those without."""

Cell = tuple[str, str, int]
"""(kind, model, start in ms)."""


@dataclass(slots=True)
class Commit:
    """Everything one shard writes at once. The order within does not matter: all of it happens, or nothing.

    ``body`` is the whole small state; ``progress`` what other shards read of it; ``position`` how far it has obeyed the journal.
    ``put``/``drop`` are whole cells;
    ``append``/``cut`` are segments of the join log; ``outbox`` adds events by sequence, ``acknowledged`` takes them out.
    """

    shard: str
    token: str
    sequence: int
    commit_id: str
    body: bytes
    progress: bytes
    position: Position = field(default_factory=Position)
    put: list[tuple[Cell, bytes]] = field(default_factory=list)
    drop: list[Cell] = field(default_factory=list)
    append: list[tuple[str, bytes]] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    outbox: list[tuple[int, bytes]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)


class Verdict(enum.Enum):
    """How a commit ended: DONE (now, or earlier when only its reply was lost), LOST (the token is another's), CONFLICT."""

    DONE = "done"
    LOST = "lost"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Head:
    """A shard as it was found; ``body`` None means that nothing was ever committed.

    ``token`` is the owner's, ``commit`` is the id of the last commit, ``position`` how far that had obeyed the journal.
    """

    sequence: int
    body: bytes | None
    token: str = ""
    commit: str = ""
    position: Position = field(default_factory=Position)


class Store(Protocol):
    """State, shard by shard. None but ``erase`` changes a shard without its token.

    Every method may raise ConnectionProblem, and StoreRestarted when the store may have gone back since we began.
    """

    def claim(self, shard: str, token: str) -> Head:
        """Make the token the shard's owner, whoever held it before, and return what stands there."""
        ...

    def go_on(self) -> None:
        """Work with a store that was restarted: everything that is owned must be claimed again."""
        ...

    def peek(self, shard: str) -> Head:
        """What stands in a shard, without claiming it: for looking only."""
        ...

    def commit(self, commit: Commit) -> Verdict:
        """Write everything or nothing: refused unless the token owns the shard and its sequence is ``commit.sequence``."""
        ...

    def starts(self, shard: str, kind: str, model: str, first: int, last: int) -> list[int]:
        """The starts of the cells with first <= start < last, ascending."""
        ...

    def cells(self, wanted: Sequence[tuple[str, Cell]]) -> list[bytes | None]:
        """The bytes of (shard, cell) pairs, None where there is no such cell; one round trip."""
        ...

    def segments(self, shard: str) -> dict[str, bytes]:
        """The join log: all segments by name."""
        ...

    def outbox(self, shard: str) -> dict[int, bytes]:
        """The events that nobody has acknowledged yet."""
        ...

    def progress(self, shards: Iterable[str]) -> list[bytes | None]:
        """What each shard last published of its progress; one round trip."""
        ...

    def declare_start(self, group: str, model: str, event_time: int, record_time: int) -> tuple[int, int]:
        """Set a model's start unless it has one; returns the one that holds."""
        ...

    def model_starts(self, group: str) -> Mapping[str, tuple[int, int]]:
        """All model starts of a group."""
        ...

    def pin_partitions(self, group: str, count: int) -> int:
        """Pin the number of partitions of a group unless it is pinned; returns the pinned number."""
        ...

    def pin(self, group: str, name: str, value: str) -> str:
        """Pin something of a group under a name unless it is pinned; returns what is pinned."""
        ...

    def unpin(self, group: str) -> None:
        """Forget everything that is pinned of a group, the number of partitions included."""
        ...

    def forget_starts(self, group: str) -> None:
        """Forget all model starts of a group."""
        ...

    def shards(self, beginning: str) -> list[str]:
        """The names of all shards that begin so, in order: for recovery only, because it may look at every key there is."""
        ...

    def erase(self, beginning: str) -> int:
        """Delete everything of all shards whose names begin so, whoever owns them; returns how many shards there were."""
        ...

    def pinned_partitions(self, group: str) -> int | None:
        """The pinned number of partitions of a group, None when no worker has ever pinned one."""
        ...

    def publish_reference(self, content_hash: str, data: bytes, model: str, version: str) -> None:
        """Keep a reference under its content hash and make it the one of a model's version (immutable once set).

        To publish the same one again makes whole what was damaged or lost.

        Raises ReferenceMismatch when the version already has another reference.
        """
        ...

    def reference(self, model: str, version: str) -> tuple[str, bytes] | None:
        """The content hash and the bytes of a version's reference, None when none was published.

        Raises StateMissing when it is gone, StateCorrupt when what names it is damaged.
        """
        ...
