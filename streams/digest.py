"""One hash of everything that was counted and decided, for "the same after a crash".

Canonical bytes of panes, join tables, ledgers, detector states, alerts and evaluated windows of all shards. No tokens,
sequences, clocks or wall times are in it, and nothing that depends on which worker owned what.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import msgspec

from streams.engine.evaluator import DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS
from streams.engine.presence_family import Presence
from streams.engine.store import ARRIVALS, FEATURES, PERFORMANCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.engine.evaluator import Evaluator
    from streams.engine.store import Store
    from streams.engine.task import Task


class HasTask(Protocol):
    """Whatever holds a task."""

    @property
    def task(self) -> Task:
        """The task."""
        ...


class HasEvaluator(Protocol):
    """Whatever holds an evaluator."""

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator."""
        ...


class Holder(Protocol):
    """Tasks by (group, partition) and evaluators by (group, model): a ``Host``, or a ``StoredState`` that owns nothing."""

    @property
    def tasks(self) -> Mapping[tuple[str, int], HasTask]:
        """The tasks."""
        ...

    @property
    def evaluators(self) -> Mapping[tuple[str, str], HasEvaluator]:
        """The evaluators."""
        ...


def digest(store: Store, holder: Holder) -> str:
    """The digest of everything that is held, as SHA-256 in hex; all of it must be committed."""
    whole = hashlib.sha256()
    for key, part in sorted(parts(store, holder).items()):
        whole.update(f"{key}={part}\n".encode())
    return whole.hexdigest()


def parts(store: Store, holder: Holder) -> dict[str, str]:
    """The digest in parts, by name: what to compare when two digests differ."""
    found: dict[str, str] = {}
    for (group, partition), held in holder.tasks.items():
        for name, data in _task(held.task).items():
            found[f"{group}/{partition}/{name}"] = hashlib.sha256(data).hexdigest()
    for (group, model), held_evaluator in holder.evaluators.items():
        for name, data in _evaluator(held_evaluator.evaluator, store).items():
            found[f"{group}/{model}/{name}"] = hashlib.sha256(data).hexdigest()
    return found


def _task(task: Task) -> dict[str, bytes]:
    out = {"ledger": msgspec.json.encode({**task.outcomes(), "waiting": task.join.waiting}, order="deterministic")}
    for kind in (FEATURES, ARRIVALS, PERFORMANCE):
        lines = []
        for m, at in task.open[kind].open():
            model = task.plan.models[m]
            names = task.streams.names[m]
            for s, vector in task.open[kind].vectors(m, at):
                lines.append(f"{model.name}/{names[s]}/{at}".encode() + b":" + vector.astype("<i8").tobytes())
        out[kind] = b"\n".join(sorted(lines))
    for name, rows in zip(("predictions", "labels"), task.join.contents(), strict=True):
        out[f"remembered {name}"] = rows.astype("<u8").tobytes()
    return out


def _evaluator(evaluator: Evaluator, store: Store) -> dict[str, bytes]:
    head = evaluator.head
    out = {
        "detectors": msgspec.json.encode(
            [
                head.drift,
                head.quality,
                head.performance,
                head.final,
                head.coverage,
                head.sequential,
                # Not how far silence has been looked at: that says only how often there was a look.
                [head.presence.book, head.presence.pasts],
                msgspec.structs.replace(
                    head.labels, presence=Presence(head.labels.presence.book, head.labels.presence.pasts)
                ),
                head.series,
                head.proxies,
            ],
            order="deterministic",
        ),
        "policy": msgspec.json.encode(
            [head.policy.flight, head.policy.active, head.policy.decided], order="deterministic"
        ),
    }
    for kind in (DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS):
        starts = store.starts(evaluator.shard, kind, evaluator.model.name, 0, 1 << 62)
        cells = store.cells([(evaluator.shard, (kind, evaluator.model.name, at)) for at in starts])
        out[kind] = b"\n".join(f"{at}:".encode() + (data or b"") for at, data in zip(starts, cells, strict=True))
    return out
