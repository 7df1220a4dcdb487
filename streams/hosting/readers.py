"""How far the readers of the panes are, wherever they run, so that tasks delete what everyone has passed (R12)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

from schemas.identifiers import model_tag
from streams.engine import snapshot
from streams.engine.evaluator_head import Cursors
from streams.engine.store import ARRIVALS, EVERY, FEATURES, LABELS, PERFORMANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.engine.store import Store
    from streams.hosting.deployment import Deployment
    from streams.owned import OwnedTask

DROP_AFTER_S = 30.0
"""How long cells stay that every reader has passed: longer than what a reader's shard may go back (appendfsync everysec: 2 s)."""

T = TypeVar("T")


class Readers:
    """The looks at the evaluators' cursors, by group: those of the last ``DROP_AFTER_S``, and the newest before."""

    def __init__(
        self,
        deployment: Deployment,
        tasks: Mapping[tuple[str, int], OwnedTask],
        store: Store,
        now: Callable[[], float],
    ) -> None:
        """Not looked yet."""
        self._deployment, self._tasks, self._store, self._now = deployment, tasks, store, now
        self._looks: dict[str, deque[tuple[float, dict[str, Cursors]]]] = {}

    def look(self, group: str) -> None:
        """Learn how far the evaluators are, and note in our tasks what was passed ``DROP_AFTER_S`` ago and ever since.

        Raises StateCorrupt or ConnectionProblem.
        """
        names = [m.name for m in self._deployment.plans[group].models]
        read = progress(self._store, [model_tag(self._deployment.config.group, n) for n in names], b"curs", Cursors)
        found = {name: cursors for name, cursors in zip(names, read, strict=True) if cursors is not None}
        looks = self._looks.setdefault(group, deque())
        looks.append((self._now(), found))
        while len(looks) > 1 and looks[1][0] <= self._now() - DROP_AFTER_S:
            looks.popleft()
        if looks[0][0] <= self._now() - DROP_AFTER_S:
            for owned in self._tasks.values():
                if owned.group == group:
                    _note_passed(owned, _least([found for _, found in looks]))

    def forget(self) -> None:
        """Look anew: the store may have gone back since."""
        self._looks.clear()


def _least(looks: list[dict[str, Cursors]]) -> dict[str, Cursors]:
    """How far each model's evaluator was in every one of the looks: between two of them the store may have gone back."""
    names = [name for name in looks[0] if all(name in found for found in looks)]
    least = {name: zip(*(found[name].numbers() for found in looks), strict=True) for name in names}
    return {name: Cursors(*map(min, numbers)) for name, numbers in least.items()}


def _note_passed(owned: OwnedTask, found: Mapping[str, Cursors]) -> None:
    owned.passed.clear()  # also of a reader of which nothing is known any more
    for name, cursors in found.items():
        passed = owned.task.sealed_before(owned.task.plan.by_name[name], cursors.final)
        read = (
            (FEATURES, cursors.drift),
            (ARRIVALS, cursors.sequential),
            (PERFORMANCE, passed),
            (LABELS, cursors.sequential),
        )
        owned.passed.update({(kind, name): at for kind, at in read})
    read_by = [c.sequential for c in found.values() if c.sequential >= 0]
    if read_by:  # a model that starts later finds those of a horizon
        owned.passed[LABELS, EVERY] = min(read_by) - owned.task.join.longest


def drop_passed(owned: OwnedTask, store: Store) -> None:
    """Delete the panes that every reader has passed, with the task's next commit; nothing beside one that is in doubt."""
    if owned.shard.in_doubt:
        return
    for key, read in owned.passed.items():
        passed = min(read, owned.task.closed_before(*key))  # labels may be older than the first window that is read
        since = owned.task.dropped.get(key, 0)
        if passed > since:
            owned.task.drop(*key, store.starts(owned.shard.name, *key, since, passed), passed)


def progress(store: Store, shards: Sequence[str], kind: bytes, of: type[T]) -> list[T | None]:
    """What the last commit of each shard said of its progress. Raises StateCorrupt or ConnectionProblem."""
    return [
        None if data is None else snapshot.unpack(kind, data, of, f"{shard} progress")
        for shard, data in zip(shards, store.progress(shards), strict=True)
    ]
