"""State as it lies in the store, read without claiming anything: what a command that only looks is built on.

A worker may commit while we read. A shard is read between two looks at its commit sequence; when the sequence moved, what we
have is not one state, and the shard is read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.errors import RetryLater, StateMissing
from schemas.identifiers import model_tag, task_tag
from streams.engine.evaluator import Evaluator
from streams.engine.task import Task
from streams.engine.task_restore import restore
from streams.hosting.deployment import FEATURE_EVENTS, PREDICTIONS
from streams.references import ReferenceBook, plans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.config import Config
    from streams.engine.plan import Plan
    from streams.engine.store import Store

ATTEMPTS = 5
"""How often the state is read again when a worker commits meanwhile; a worker commits about once a second."""


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task that nobody owns here."""

    task: Task


@dataclass(frozen=True, slots=True)
class StoredEvaluator:
    """An evaluator that nobody owns here."""

    evaluator: Evaluator


@dataclass(slots=True)
class StoredState:
    """All tasks and evaluators of a deployment, as they were last committed; a ``streams.digest.Holder``."""

    tasks: dict[tuple[str, int], StoredTask] = field(default_factory=dict)
    evaluators: dict[tuple[str, str], StoredEvaluator] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """One group of topics that has state: its topics, and its tasks' shards by partition."""

    name: str
    topics: tuple[str, ...]
    shards: tuple[str, ...]
    models: tuple[str, ...]


def evaluator_shard(config: Config, model: str) -> str:
    """The name of the shard of a model's evaluator."""
    return model_tag(config.group, model)


def stored_groups(config: Config, store: Store) -> Iterator[StoredGroup]:
    """The groups that a worker has begun. May raise ConnectionProblem."""
    t = config.topics
    for name, topics, models in (
        (PREDICTIONS, (t.predictions, t.labels), config.models),
        (FEATURE_EVENTS, (t.features,), config.feature_sets),
    ):
        state_group = f"{config.group}.{name}"
        count = store.pinned_partitions(state_group) if models else None
        if count is not None:
            shards = tuple(task_tag(state_group, p) for p in range(count))
            yield StoredGroup(name, topics, shards, tuple(sorted(models)))


def read_state(config: Config, store: Store) -> StoredState:
    """Everything that the workers of this deployment have committed, restored as a worker would, and changed in nothing.

    Raises StateMissing when no worker ever began, RetryLater when workers commit faster than we can read, the errors of
    ``task_restore.restore``, ConfigError, ReferenceMismatch or ConnectionProblem.
    """
    groups = list(stored_groups(config, store))
    if not groups:
        what = f"group {config.group!r} has no state in Redis"
        raise StateMissing(what, "start `driftline run`, or correct group or redis.url in monitor.yaml")
    for _ in range(ATTEMPTS):
        before = _sequences(config, store, groups)
        try:
            state = _read(config, store, groups)
        except StateMissing:
            # A pane that was dropped between two of our questions looks like a lost one.
            if before == _sequences(config, store, groups):
                raise
            continue
        if before == _sequences(config, store, groups):
            return state
    raise RetryLater("workers commit while the state is read", "ask again when they are idle, or stop them first")


def _sequences(config: Config, store: Store, groups: list[StoredGroup]) -> list[int]:
    shards = [s for g in groups for s in (*g.shards, *(evaluator_shard(config, m) for m in g.models))]
    return [store.peek(s).sequence for s in shards]


def _read(config: Config, store: Store, groups: list[StoredGroup]) -> StoredState:
    state, book, compiled = StoredState(), ReferenceBook(config, store), plans(config)
    for group in groups:
        plan: Plan = compiled[group.name]
        for partition, shard in enumerate(group.shards):
            body = store.peek(shard).body
            if body is None:
                task = Task(plan, shard, group.topics[0], group.topics[1] if len(group.topics) > 1 else None)
            else:
                task = restore(plan, shard, group.topics, body, store, book)
            state.tasks[group.name, partition] = StoredTask(task)
        for model in plan.models:
            body = store.peek(evaluator_shard(config, model.name)).body
            evaluator = Evaluator(model, group.shards, config.group, config.topics, str, body)
            state.evaluators[group.name, model.name] = StoredEvaluator(evaluator)
    return state
