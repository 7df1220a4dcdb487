"""What our evaluators decide: from the committed progress of tasks and from commands to events that are published.

A command takes effect at the cursors where it was journaled, so decisions stop there when they are made again; and how far an
evaluator has decided is journaled before any of it is published, so that no command can slip in before that (P3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.control import Command
from schemas.errors import StateError
from schemas.journal import CommandEntry, DecidedEntry
from streams.engine.evaluator_head import Cursors
from streams.engine.task_head import Progress
from streams.hosting.readers import progress
from streams.hosting.takeover import refuse_lost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.engine.journal import Journal
    from streams.engine.store import Store
    from streams.hosting.deployment import Deployment
    from streams.hosting.outbox import Outbox
    from streams.owned import OwnedEvaluator

MAX_OUTBOX = 10_000
"""Events of one evaluator that may wait for Kafka: it decides nothing more before some are acknowledged (P6)."""


class Decisions:
    """The turns of our evaluators. ``moved``: groups in which something has happened since they had nothing more to decide."""

    def __init__(
        self,
        deployment: Deployment,
        evaluators: Mapping[tuple[str, str], OwnedEvaluator],
        store: Store,
        journal: Journal,
        outbox: Outbox,
    ) -> None:
        """Nothing decided yet."""
        self._deployment, self._evaluators = deployment, evaluators
        self._store, self._journal, self._outbox = store, journal, outbox
        self.moved: set[str] = set()

    def run(self) -> bool:
        """Evaluate the groups that moved; True when there is more at once: a backlog does not wait for the next commit."""
        self.moved = {group for group in sorted(self.moved) if self.evaluate(group)}
        return bool(self.moved)

    def evaluate(self, group: str) -> bool:
        """As ``Host.evaluate``."""
        mine = [e for e in self._evaluators.values() if e.group == group]
        if not mine:
            return False
        tasks = progress(self._store, self._deployment.shards(group), b"prog", Progress)
        more = False
        for owned in mine:
            if not owned.shard.in_doubt and len(owned.shard.outstanding) < MAX_OUTBOX:
                try:
                    more |= self._decide(owned, tasks)
                except StateError:  # a worker that was replaced and does not know it yet may find panes deleted
                    refuse_lost(self._store, [owned.shard])
                    raise
        due = [o for o in mine if o.evaluator.changed or o.shard.in_doubt or o.shard.acknowledged]
        for owned in due:
            _note_decided(owned)
            owned.shard.write()
        if not all(o.shard.journaled for o in due):
            self._journal.settled()
        for owned in due:
            if owned.shard.journaled:
                self.commit(owned)
        return more

    def _decide(self, owned: OwnedEvaluator, tasks: Sequence[Progress | None]) -> bool:
        """Let an evaluator decide, and obey the journaled commands where they took effect; True when there is more at once."""
        evaluator, entry = owned.evaluator, owned.shard.next_entry
        if not isinstance(entry, CommandEntry | DecidedEntry):
            return evaluator.run(self._store, tasks)
        limit = Cursors(*entry.cursors)
        more = evaluator.run(self._store, tasks, limit)
        if more or not evaluator.reached(limit):
            return more
        if isinstance(entry, CommandEntry):
            evaluator.command(msgspec.convert(entry.command, Command), entry.partition, entry.offset)
        owned.shard.obeyed()
        return True

    def commit(self, owned: OwnedEvaluator) -> None:
        """Commit an evaluator's decisions, then publish them. Raises as ``Shard.commit``."""
        owned.shard.commit(owned.evaluator.stage)
        self._outbox.publish(owned.shard, owned.evaluator.committed())

    def command(self, group: str, command: Command, partition: int, offset: int) -> bool:
        """As ``Host.command``."""
        owned = self._evaluators.get((group, command.model))
        if owned is None or offset < owned.evaluator.head.control.get(partition, 0):
            return True
        if not owned.shard.settled:
            return False
        cursors = owned.evaluator.head.cursors.numbers()
        applied = owned.evaluator.command(command, partition, offset)
        told = msgspec.to_builtins(command)
        owned.shard.note(
            CommandEntry(partition=partition, offset=offset, cursors=cursors, command=told, applied=applied)
        )
        self.moved.add(group)
        return True

    def control_offsets(self) -> dict[int, int]:
        """As ``Host.control_offsets``."""
        heads = [e.evaluator.head.control for e in self._evaluators.values()]
        partitions = {p for head in heads for p in head}
        return {p: min(head.get(p, 0) for head in heads) for p in partitions}


def _note_decided(owned: OwnedEvaluator) -> None:
    """Journal how far an evaluator has decided, if it has events to publish."""
    cursors = owned.evaluator.head.cursors.numbers()
    if owned.evaluator.events and owned.shard.settled and cursors != owned.decided:
        owned.decided = cursors
        owned.shard.note(DecidedEntry(cursors=cursors))
