"""When the state of tasks is committed, and what must stand in Kafka before: dead letters (R7) and what was journaled (R3)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from streams.hosting.readers import drop_passed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.engine.journal import Journal
    from streams.engine.publisher import Publisher
    from streams.engine.store import Store
    from streams.owned import OwnedTask

_TIMED = 4096
"""Durations of commits that wait to be scraped; where nobody scrapes, the oldest are forgotten."""


class Commits:
    """The commits of our tasks; ``seconds`` is how long each took. ``interval_s``: so often a task is committed."""

    def __init__(
        self,
        tasks: Mapping[tuple[str, int], OwnedTask],
        store: Store,
        publisher: Publisher,
        journal: Journal,
        now: Callable[[], float],
        interval_s: float,
    ) -> None:
        """Nothing committed yet."""
        self._tasks, self._store, self._publisher, self._journal = tasks, store, publisher, journal
        self._now, self._interval_s = now, interval_s
        self.seconds: deque[float] = deque(maxlen=_TIMED)

    def commit(self, owned: OwnedTask) -> None:
        """As ``Host.commit``."""
        begin = self._now()
        drop_passed(owned, self._store)
        owned.shard.commit(owned.task.stage)
        owned.task.committed()
        owned.note_committed(self._now())
        self.seconds.append(owned.committed_at - begin)

    def due(self, now: float) -> set[str]:
        """Commit the tasks that are due, where everything they need stands in Kafka; returns their groups."""
        for owned in self._tasks.values():
            if not owned.dirty:
                owned.clean_at = now
        return self._commit_journaled([o for o in self._tasks.values() if _is_due(o, now - self._interval_s)])

    def last(self, owned: OwnedTask) -> None:
        """Commit a task that goes, if anything is new and everything it needs stands in Kafka."""
        if owned.dirty:
            self._publisher.poll()
            self._commit_journaled([owned])

    def _commit_journaled(self, due: list[OwnedTask]) -> set[str]:
        """Write what was noted, and commit those of which everything stands by then; waits a little."""
        for owned in due:
            owned.shard.write()
        settled = bool(due) and self._publisher.settled() and self._journal.settled()
        ready = [owned for owned in due if owned.shard.journaled] if settled else []
        for owned in ready:
            self.commit(owned)
        return {owned.group for owned in ready}

    def uncommitted_s(self) -> float:
        """As ``Host.uncommitted_s``."""
        now = self._now()
        return max((now - o.clean_at for o in self._tasks.values() if o.dirty), default=0.0)


def _is_due(owned: OwnedTask, since: float) -> bool:
    due = owned.committed_at <= since
    if not (owned.dirty or (due and owned.shard.acknowledged)):
        return False
    return due or bool(owned.task.ripe())
