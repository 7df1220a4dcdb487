"""What a worker and a replay share: owned tasks and evaluators, from a batch of records to committed state and events.

The order that makes P1-P5 hold, per task: (1) decode; rejected records go to the dead letters at once; (2) fold and join;
(3) wait until the dead letters (R7) and what was journaled (R3) are acknowledged; (4) one commit of offsets, state and outbox;
(5) publish the outbox; (6) the next commit removes what Kafka has acknowledged. A crash between any two steps repeats the later
ones only. A task or evaluator that was taken over first obeys what its journal says beyond its state: records are let in up to the
offsets that an entry names, decisions up to the cursors that a command names.

``Host`` is the door; the rooms stand in ``streams.hosting``: ``takeover``, ``intake`` (1, 2), ``commits`` with ``readers`` (3, 4),
``decisions`` with ``outbox`` (5, 6).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from streams.hosting.commits import Commits
from streams.hosting.decisions import Decisions
from streams.hosting.deployment import FEATURE_EVENTS, PREDICTIONS, Deployment
from streams.hosting.intake import Intake
from streams.hosting.outbox import Outbox
from streams.hosting.readers import Readers
from streams.hosting.takeover import Takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.config import Config
    from schemas.control import Command
    from streams.engine.journal import Journal
    from streams.engine.plan import Plan, References
    from streams.engine.publisher import Publisher
    from streams.engine.records import RecordBatch
    from streams.engine.store import Store
    from streams.owned import OwnedTask

__all__ = ["FEATURE_EVENTS", "PREDICTIONS", "Host"]


class Host:
    """The tasks and evaluators of one process. ``now`` is a monotonic clock in seconds, ``recorded`` the wall clock as text."""

    def __init__(  # noqa: PLR0913, PLR0917  # one for each thing outside
        self,
        config: Config,
        plans: Mapping[str, Plan],
        partitions: Mapping[str, int],
        store: Store,
        publisher: Publisher,
        journal: Journal,
        references: References | None,
        now: Callable[[], float],
        recorded: Callable[[], str],
    ) -> None:
        """Own nothing yet; pins the number of partitions of each group.

        Raises PartitionCountChanged when a topic has another number of partitions than the state was made for.
        """
        self.config, self.plans, self.partitions, self.store = config, plans, partitions, store
        self._deployment = deployment = Deployment(config, plans, partitions)
        self.topics, self.group_of = deployment.topics, deployment.group_of
        self.state_group, self.shards = deployment.state_group, deployment.shards
        self._publisher, self._now, self._interval_s = publisher, now, config.commit_interval / 1000
        self.token = uuid.uuid4().hex
        self._holds = 0
        self._looked_at: dict[str, float] = {}
        outbox = Outbox(store, publisher)
        self._takeover = Takeover(deployment, store, journal, references, outbox, now, recorded, self._next_token)
        self.tasks, self.evaluators = self._takeover.tasks, self._takeover.evaluators
        self._commits = Commits(self.tasks, store, publisher, journal, now, self._interval_s)
        self.commit_seconds = self._commits.seconds
        self._intake = Intake(deployment, self.tasks, store, publisher, references, self._commits)
        self._readers = Readers(deployment, self.tasks, store, now)
        self._decisions = Decisions(deployment, self.evaluators, store, journal, outbox)
        deployment.pin(store)

    # -- ownership ----------------------------------------------------------------------------------------------------

    def claim(self, places: Sequence[tuple[str, int]]) -> list[OwnedTask]:
        """Take over tasks (group, partition) and the evaluators that live with them, all or none.

        Returns them with the offsets to read from. What we still hold of them in memory goes on where nothing has happened meanwhile.
        One call for many, because the journal is read once for all of them.

        Raises ConnectionProblem, StoreRestarted, PartitionCountChanged or a StateError.
        """
        owned = self._takeover.claim(places)
        self._deployment.pin(self.store)  # a store that lost everything in our first seconds lost this, too
        self._readers.forget()
        for task in owned:
            task.passed.clear()
            self._looked_at.pop(task.group, None)
            self._intake.obey(task)
        return owned

    def _next_token(self) -> str:
        """A token that no earlier claim had (``Shard`` says why)."""
        self._holds += 1
        return f"{self.token}.{self._holds}"

    def release(self, group: str, partition: int, *, commit: bool) -> None:
        """Give up a task, after a last commit if we may still make one. It stays in memory until ``forget``.

        Raises what ``commit`` does; the task is given up then, too.
        """
        owned = self._takeover.release(group, partition)
        if owned is not None and commit:
            self._commits.last(owned)

    def forget(self) -> None:
        """Let go of what was released and not claimed again."""
        self._takeover.forget()

    # -- records ------------------------------------------------------------------------------------------------------

    def take(self, batch: RecordBatch) -> int:
        """Fold a batch into the tasks that own its partitions; returns how many records were new to them.

        A commit in doubt is settled first. Raises ConnectionProblem (a reference, or the answer to that commit, could not be had):
        then give the batch again. Also what ``commit`` raises.
        """
        return self._intake.take(batch)

    def begin_at(self, owned: OwnedTask, begins: Mapping[str, int]) -> None:
        """The task's partition has no record before these offsets (by topic): no entry of the journal waits for one."""
        self._intake.begin_at(owned, begins)

    def blocked(self) -> set[tuple[str, int]]:
        """The (topic, partition) pairs of which nothing more can be counted before others have come as far."""
        return self._intake.blocked()

    def silent(self, group: str, partition: int, topic: str, time_ms: int) -> bool:
        """The partition of ``topic`` is caught up and silent at ``time_ms``: let its clock run on if a pane can close by it.

        Returns whether it mattered; then it is journaled.
        """
        return self._intake.silent(group, partition, topic, time_ms)

    def declare_starts(self, group: str) -> None:
        """Declare the models that our tasks were first to see, and start the ones that others declared (R2)."""
        self._intake.declare_starts(group)

    # -- commits and decisions ----------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Commit what is due, let evaluators decide, publish; True when there is more to decide at once.

        Raises what ``commit`` does.
        """
        now = self._now()
        moved = self._decisions.moved  # added to in place: what an exception interrupts is looked at in the next turn
        self._publisher.poll()
        for shard in [o.shard for o in self.tasks.values()] + [e.shard for e in self.evaluators.values()]:
            shard.prove(now)
        for owned in self.tasks.values():
            if owned.shard.in_doubt:  # before anything else
                self.commit(owned)
                moved.add(owned.group)
        for group in self.plans:
            due = now - self._looked_at.get(group, -self._interval_s) >= self._interval_s
            if due and any(g == group for g, _ in self.tasks):
                self.declare_starts(group)
                self._readers.look(group)
                self._looked_at[group] = now
                moved.add(group)
        moved |= self._commits.due(now)
        return self._decisions.run()

    def commit(self, owned: OwnedTask) -> None:
        """One atomic commit of a task; everything noted must stand in the journal.

        Raises OwnershipLost, CommitConflict, StoreRestarted or ConnectionProblem.
        """
        self._commits.commit(owned)

    def uncommitted_s(self) -> float:
        """How long the task that has waited longest for its commit has waited, in seconds."""
        return self._commits.uncommitted_s()

    def evaluate(self, group: str) -> bool:
        """Let the evaluators of a group decide what can be decided, and commit; True when there is more at once."""
        return self._decisions.evaluate(group)

    def command(self, group: str, command: Command, partition: int, offset: int) -> bool:
        """Let a command from the control topic take effect at its model's evaluator, if it is ours and has not seen it.

        Returns False when the evaluator has something to settle first: ask again then.
        """
        return self._decisions.command(group, command, partition, offset)

    def control_offsets(self) -> dict[int, int]:
        """Where the control topic must be read from, by partition, so that no evaluator of ours misses a command."""
        return self._decisions.control_offsets()
