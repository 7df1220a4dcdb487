"""What the command tells the programs that it measures, and what they tell it back; both are JSON files."""

from __future__ import annotations

import time

import msgspec

from loadtest.answer import Answer  # noqa: TC001  # msgspec reads annotations when it decodes
from loadtest.measure import Cost  # noqa: TC001  # the same


class Job(msgspec.Struct, frozen=True):
    """One measured run: ``ends`` are the end offsets by topic name and partition, ``config`` the path of a monitor.yaml."""

    bootstrap: str
    config: str
    group: str
    topics: dict[str, str]
    ends: dict[str, list[int]]
    timeout_s: float

    @property
    def records(self) -> int:
        """How many records there are to read."""
        return sum(map(sum, self.ends.values()))


class Result(msgspec.Struct, frozen=True):
    """What a run cost, how many records (and bytes of values) it read; the pipeline adds ns per event by stage and its answer."""

    cost: Cost
    records: int
    bytes: int = 0
    stages: dict[str, float] = {}
    answer: Answer | None = None


class Stuck:
    """Patience: raises when a count stands still for too long, so that a fault ends a run instead of hanging it."""

    def __init__(self, timeout_s: float) -> None:
        """Start waiting."""
        self._timeout_s, self._count, self._since = timeout_s, -1, time.monotonic()

    def check(self, count: int) -> None:
        """Raise TimeoutError when the count has not moved for the time-out."""
        if count != self._count:
            self._count, self._since = count, time.monotonic()
        elif time.monotonic() - self._since > self._timeout_s:
            message = f"nothing moved for {self._timeout_s:.0f} s after {count} records"
            raise TimeoutError(message)
