"""Shards taken over and let go: what lies in memory goes on where nothing has happened meanwhile, the rest is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from schemas.errors import OwnershipLost, StateError
from schemas.identifiers import model_tag, task_tag
from streams.engine.evaluator import Evaluator
from streams.engine.shard import claim
from streams.engine.task import Task
from streams.engine.task_restore import restore
from streams.owned import OwnedEvaluator, OwnedTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streams.engine.journal import Journal
    from streams.engine.plan import References
    from streams.engine.shard import Shard
    from streams.engine.store import Store
    from streams.hosting.deployment import Deployment
    from streams.hosting.outbox import Outbox


def refuse_lost(store: Store, shards: Iterable[Shard]) -> None:
    """Raise OwnershipLost when one of them is another's: what is read while another owner commits does not fit together."""
    for shard in shards:
        if store.peek(shard.name).token != shard.token:
            what = f"{shard.name} belongs to another worker now"
            raise OwnershipLost(what, "nothing is to be done: this worker drops it and rejoins")


H = TypeVar("H", OwnedTask, OwnedEvaluator)


class Takeover:
    """``tasks`` by (group, partition) and ``evaluators`` by (group, model) are ours; what was let go stays until ``forget``."""

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        journal: Journal,
        references: References | None,
        outbox: Outbox,
        now: Callable[[], float],
        recorded: Callable[[], str],
        token: Callable[[], str],
    ) -> None:
        """Own nothing yet. ``token`` gives one that no earlier claim had (``Shard`` says why)."""
        self._deployment, self._store, self._journal, self._references = deployment, store, journal, references
        self._outbox, self._now, self._recorded, self._token = outbox, now, recorded, token
        self.tasks: dict[tuple[str, int], OwnedTask] = {}
        self.evaluators: dict[tuple[str, str], OwnedEvaluator] = {}
        self._kept: dict[str, OwnedTask | OwnedEvaluator] = {}

    def claim(self, places: Sequence[tuple[str, int]]) -> list[OwnedTask]:
        """As ``Host.claim``, but that nothing of the journal is obeyed yet."""
        deployment = self._deployment
        names = {task_tag(deployment.state_group(g), p): (g, p) for g, p in places}
        models = {model_tag(deployment.config.group, m): (g, m) for g, p in places for m in deployment.evaluated(g, p)}
        shards = claim(self._store, self._journal, [*names, *models], self._token)
        try:
            tasks = {key: self._task(*key, shards[name]) for name, key in names.items()}
            evaluators = {key: self._evaluator(*key, shards[name]) for name, key in models.items()}
        except StateError:
            refuse_lost(self._store, shards.values())
            raise
        for shard in shards.values():
            self._outbox.again(shard)
        self.tasks.update(tasks)
        self.evaluators.update(evaluators)
        return list(tasks.values())

    def _task(self, group: str, partition: int, shard: Shard) -> OwnedTask:
        """A task that goes on, is restored, or begins. Raises what ``restore`` does."""
        if (kept := self._still_true(OwnedTask, shard)) is not None:
            return kept
        deployment = self._deployment
        plan, topics, count = deployment.plans[group], deployment.topics[group], deployment.partitions[group]
        if shard.body is None:
            task = Task(plan, shard.name, topics[0], topics[1] if len(topics) > 1 else None, count)
        else:
            task = restore(plan, shard.name, topics, shard.body, self._store, self._references, count)
        owned = OwnedTask(group, partition, task, shard)
        owned.note_committed(self._now())
        return owned

    def _evaluator(self, group: str, name: str, shard: Shard) -> OwnedEvaluator:
        """An evaluator that goes on, is restored, or begins."""
        if (kept := self._still_true(OwnedEvaluator, shard)) is not None:
            return kept
        config, model = self._deployment.config, self._deployment.plans[group].by_name[name]
        args = (config.group, config.topics, self._recorded, shard.body, self._references)
        return OwnedEvaluator(group, Evaluator(model, self._deployment.shards(group), *args), shard)

    def _still_true(self, kind: type[H], shard: Shard) -> H | None:
        """What we hold of a shard in memory, if the store holds the same: the commit that was in doubt may have happened."""
        kept = self._kept.pop(shard.name, None)
        if not isinstance(kept, kind) or not shard.succeeds(kept.shard):
            return None
        if kept.shard.happened(shard.found):
            if isinstance(kept, OwnedTask):
                kept.task.committed()
                kept.note_committed(self._now())
            else:
                kept.evaluator.committed()
        kept.shard = shard
        return kept

    def release(self, group: str, partition: int) -> OwnedTask | None:
        """Let a task go, and with it the evaluators that live there; returns the task if it was ours.

        An evaluator that stayed would be refused by its next owner's token at every turn.
        """
        owned = self.tasks.pop((group, partition), None)
        if owned is None:
            return None
        owned.held.clear()
        evaluators = [self.evaluators.pop((group, m), None) for m in self._deployment.evaluated(group, partition)]
        self._kept |= {held.shard.name: held for held in (owned, *evaluators) if held is not None}
        return owned

    def forget(self) -> None:
        """Let go of what was released and not claimed again."""
        self._kept.clear()
