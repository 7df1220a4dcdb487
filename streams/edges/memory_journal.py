"""The journal in memory: the twin of the one in Kafka, for replay, simulation and quick tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import AheadOfLogEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from schemas.journal import Claim, Record


class MemoryJournal:
    """Every record stands at once. ``records`` are all of them; the offset of one is its index."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        """With what was written before."""
        self.records = list(records)

    def claim(self, claims: Sequence[Claim], since: Mapping[str, int]) -> dict[str, list[tuple[int, Record]]]:
        """As the protocol says. Raises AheadOfLogEnd when this is not the journal that the state has obeyed."""
        if any(at >= len(self.records) for at in since.values()):
            raise AheadOfLogEnd("the state has obeyed another journal", "claim it with that one")
        found: dict[str, list[tuple[int, Record]]] = {claim.shard: [] for claim in claims}
        self.records += claims
        for offset, record in enumerate(self.records):
            if record.shard in found and offset > since[record.shard]:
                found[record.shard].append((offset, record))
        return found

    def write(self, record: Record, done: Callable[[int], None]) -> None:
        """As the protocol says."""
        self.records.append(record)
        done(len(self.records) - 1)

    def settled(self) -> bool:
        """Always."""
        return True
