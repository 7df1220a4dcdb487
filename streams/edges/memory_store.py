"""State in memory: the twin of the Redis store, for replay, simulation and quick tests. Same protocol, same contract test."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.errors import ReferenceMismatch
from streams.engine.fence import Position
from streams.engine.store import Commit, Head, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streams.engine.store import Cell


@dataclass(slots=True)
class _Shard:
    token: str = ""
    sequence: int = 0
    commit: str = ""
    position: Position = field(default_factory=Position)
    body: bytes | None = None
    progress: bytes | None = None
    cells: dict[Cell, bytes] = field(default_factory=dict)
    starts: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    segments: dict[str, bytes] = field(default_factory=dict)
    outbox: dict[int, bytes] = field(default_factory=dict)

    def head(self) -> Head:
        """What stands here."""
        return Head(self.sequence, self.body, self.token, self.commit, self.position)


class MemoryStore:
    """All shards in one process. Nothing survives it."""

    def __init__(self) -> None:
        """Empty."""
        self._shards: dict[str, _Shard] = {}
        self._starts: dict[str, dict[str, tuple[int, int]]] = {}
        self._pins: dict[tuple[str, str], str] = {}
        self._references: dict[tuple[str, str], tuple[str, bytes]] = {}

    def _shard(self, name: str) -> _Shard:
        return self._shards.setdefault(name, _Shard())

    def claim(self, shard: str, token: str) -> Head:
        """As the protocol says."""
        mine = self._shard(shard)
        mine.token = token
        return mine.head()

    def go_on(self) -> None:
        """As the protocol says: memory that restarts is gone."""

    def peek(self, shard: str) -> Head:
        """As the protocol says."""
        return self._shard(shard).head()

    def commit(self, commit: Commit) -> Verdict:  # noqa: C901  # the steps of the script, in its order
        """As ``commit.lua`` does it."""
        mine = self._shard(commit.shard)
        if mine.token != commit.token:
            return Verdict.LOST
        if mine.commit == commit.commit_id:
            return Verdict.DONE
        if mine.sequence != commit.sequence:
            return Verdict.CONFLICT
        mine.sequence, mine.commit = commit.sequence + 1, commit.commit_id
        mine.body, mine.progress, mine.position = commit.body, commit.progress, commit.position
        for cell, data in commit.put:
            if cell not in mine.cells:
                insort(mine.starts.setdefault(cell[:2], []), cell[2])
            mine.cells[cell] = data
        for cell in commit.drop:
            if mine.cells.pop(cell, None) is not None:
                mine.starts[cell[:2]].remove(cell[2])
        for segment, data in commit.append:
            mine.segments[segment] = mine.segments.get(segment, b"") + data
        for segment in commit.cut:
            mine.segments.pop(segment, None)
        mine.outbox.update(commit.outbox)
        for sequence in commit.acknowledged:
            mine.outbox.pop(sequence, None)
        return Verdict.DONE

    def starts(self, shard: str, kind: str, model: str, first: int, last: int) -> list[int]:
        """As the protocol says."""
        return [s for s in self._shard(shard).starts.get((kind, model), []) if first <= s < last]

    def cells(self, wanted: Sequence[tuple[str, Cell]]) -> list[bytes | None]:
        """As the protocol says."""
        return [self._shard(shard).cells.get(cell) for shard, cell in wanted]

    def segments(self, shard: str) -> dict[str, bytes]:
        """As the protocol says."""
        return dict(self._shard(shard).segments)

    def outbox(self, shard: str) -> dict[int, bytes]:
        """As the protocol says."""
        return dict(self._shard(shard).outbox)

    def progress(self, shards: Iterable[str]) -> list[bytes | None]:
        """As the protocol says."""
        return [self._shard(s).progress for s in shards]

    def declare_start(self, group: str, model: str, event_time: int, record_time: int) -> tuple[int, int]:
        """As the protocol says."""
        return self._starts.setdefault(group, {}).setdefault(model, (event_time, record_time))

    def model_starts(self, group: str) -> Mapping[str, tuple[int, int]]:
        """As the protocol says."""
        return dict(self._starts.get(group, {}))

    def pin_partitions(self, group: str, count: int) -> int:
        """As the protocol says."""
        return int(self.pin(group, "partitions", str(count)))

    def pin(self, group: str, name: str, value: str) -> str:
        """As the protocol says."""
        return self._pins.setdefault((group, name), value)

    def unpin(self, group: str) -> None:
        """As the protocol says."""
        self._pins = {key: value for key, value in self._pins.items() if key[0] != group}

    def forget_starts(self, group: str) -> None:
        """As the protocol says."""
        self._starts.pop(group, None)

    def shards(self, beginning: str) -> list[str]:
        """As the protocol says."""
        return sorted(name for name, shard in self._shards.items() if name.startswith(beginning) and shard.token)

    def erase(self, beginning: str) -> int:
        """As the protocol says."""
        found = self.shards(beginning)
        for name in found:
            del self._shards[name]
        return len(found)

    def pinned_partitions(self, group: str) -> int | None:
        """As the protocol says."""
        found = self._pins.get((group, "partitions"))
        return None if found is None else int(found)

    def publish_reference(self, content_hash: str, data: bytes, model: str, version: str) -> None:
        """As the protocol says."""
        found, _ = self._references.get((model, version), (content_hash, b""))
        if found != content_hash:
            what = f"version {version!r} of model {model!r} already has the reference {found}"
            raise ReferenceMismatch(what, "publish it for a new version: a version's reference never changes")
        self._references[model, version] = content_hash, data

    def reference(self, model: str, version: str) -> tuple[str, bytes] | None:
        """As the protocol says."""
        return self._references.get((model, version))
