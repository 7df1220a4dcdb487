"""Where the journal lies: a protocol with two implementations, Kafka and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.journal import Claim, Record


class Journal(Protocol):
    """The log of what is in no input. Every method may raise ConnectionProblem."""

    def claim(self, claims: Sequence[Claim], since: Mapping[str, int]) -> dict[str, list[tuple[int, Record]]]:
        """Append claims, of one shard each, and wait until they stand.

        Returns for each shard its records, as (offset, record) in order, behind the offset ``since`` up to its claim.
        """
        ...

    def write(self, record: Record, done: Callable[[int], None]) -> None:
        """Append a record; ``done`` is called with its offset (from ``settled``, or the publisher's ``poll``) when it stands."""
        ...

    def settled(self) -> bool:
        """Whether every record written so far stands; waits a little for those under way."""
        ...
