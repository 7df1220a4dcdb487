"""What a deployment is doing, read from Redis alone: no Kafka, no references, nothing claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import orjson

from streams.engine import snapshot
from streams.engine.evaluator import DRIFT_RESULTS, PERFORMANCE_RESULTS
from streams.engine.evaluator_head import EvaluatorHead
from streams.engine.families import stream_of
from streams.engine.kernels.clock import NEVER
from streams.engine.task_head import Progress, TaskHead
from streams.stored import evaluator_shard, stored_groups

if TYPE_CHECKING:
    from schemas.config import Config
    from streams.engine.families import Book
    from streams.engine.performance_family import Coverage
    from streams.engine.retrain import Request
    from streams.engine.store import Store
    from streams.stored import StoredGroup

LAST_WINDOWS = 3
"""Windows of each kind that are shown: as many as the default confirmation looks at."""
_RESULTS = {"drift": DRIFT_RESULTS, "performance": PERFORMANCE_RESULTS}


class TaskStatus(msgspec.Struct, frozen=True):
    """One task: what it has read, and what became of it. Per topic: received = sum of outcomes + waiting (labels)."""

    group: str
    partition: int
    commits: int
    offsets: dict[str, int]
    outcomes: dict[str, dict[str, int]]
    waiting: int
    unpublished: int


class OpenAlert(msgspec.Struct, frozen=True):
    """An alert that is open. ``opened`` is the end of the window that opened it, ms."""

    alert_id: str
    incident: str
    family: str
    version: str
    variant: str
    subject: str
    severity: str
    opened: int
    segment: str = ""


class RequestStatus(msgspec.Struct, frozen=True):
    """The retrain request in flight; times in ms of event time. ``proposed`` waits for ``driftline approve``."""

    request: str
    state: Literal["proposed", "requested", "started"]
    decided: int
    expires: int
    labels: int


class CoverageStatus(msgspec.Struct, frozen=True):
    """How complete the labels of the latest evaluated window were: ``labels`` of the ``remembered`` predictions had one.

    ``end`` of the window and delays in ms; ``coverage`` = labels / remembered, None without a prediction.
    """

    end: int
    labels: int
    remembered: int
    coverage: float | None
    delay_p50_ms: int | None
    delay_p90_ms: int | None
    delay_p99_ms: int | None


class ModelStatus(msgspec.Struct, frozen=True):
    """One model or feature set. ``watermark`` and ``label_clock`` are the least of all tasks, ms; None before they begin."""

    name: str
    group: str
    watermark: int | None
    label_clock: int | None
    windows: int
    transitions: dict[str, int]
    open_alerts: list[OpenAlert]
    request: RequestStatus | None
    unpublished: int
    last_windows: dict[str, list[dict[str, Any]]]
    coverage: dict[str, CoverageStatus] = msgspec.field(default_factory=dict)
    """``mature``: the latest window that was evaluated at maturity; ``final``: at the horizon of its labels."""


class Status(msgspec.Struct, frozen=True):
    """A whole deployment."""

    group: str
    tasks: list[TaskStatus]
    models: list[ModelStatus]


def read_status(config: Config, store: Store) -> Status:
    """The status as last committed. Raises ConnectionProblem, StateCorrupt or StateNewer."""
    tasks, models = [], []
    for group in stored_groups(config, store):
        found = [_task(store, group, p) for p in range(len(group.shards))]
        tasks += [task for task, _ in found]
        models += [_model(config, store, group, name, [progress for _, progress in found]) for name in group.models]
    return Status(config.group, tasks, models)


def flight_of(config: Config, store: Store, model: str) -> RequestStatus | None:
    """A model's retrain request in flight. Raises ConnectionProblem, StateCorrupt or StateNewer."""
    return _request(_head(store, evaluator_shard(config, model)).policy.flight)


def _task(store: Store, group: StoredGroup, partition: int) -> tuple[TaskStatus, Progress | None]:
    shard = group.shards[partition]
    head, data = store.peek(shard), store.progress([shard])[0]
    progress = None if data is None else snapshot.unpack(b"prog", data, Progress, f"{shard} progress")
    waiting, unpublished = progress.waiting if progress else 0, len(store.outbox(shard))
    if head.body is None:
        return TaskStatus(group.name, partition, 0, dict.fromkeys(group.topics, 0), {}, 0, unpublished), progress
    body = snapshot.unpack(b"task", head.body, TaskHead, f"{shard} head")
    outcomes = {t: {k: n for k, n in sorted(found.items()) if n} for t, found in body.ledger.items()}
    task = TaskStatus(group.name, partition, head.sequence, body.offsets, outcomes, waiting, unpublished)
    return task, progress


def _head(store: Store, shard: str) -> EvaluatorHead:
    body = store.peek(shard).body
    return EvaluatorHead() if body is None else snapshot.unpack(b"eval", body, EvaluatorHead, f"{shard} head")


def _model(config: Config, store: Store, group: StoredGroup, name: str, progress: list[Progress | None]) -> ModelStatus:
    shard = evaluator_shard(config, name)
    head = _head(store, shard)
    clocks = [p.models.get(name) if p else None for p in progress]
    labelled = len(group.topics) > 1
    return ModelStatus(
        name=name,
        group=group.name,
        watermark=_least([c[0] if c else None for c in clocks]),
        label_clock=_least([c[1] if c else None for c in clocks]) if labelled else None,
        windows=head.windows,
        transitions=dict(sorted(head.alerts.items())),
        open_alerts=[alert for family, book in head.books() for alert in _open(family, book)],
        request=_request(head.policy.flight),
        unpublished=len(store.outbox(shard)),
        last_windows={kind: _windows(store, shard, of, name) for kind, of in _RESULTS.items()},
        coverage={which: _coverage(found) for which, found in sorted(head.coverage.items(), reverse=True)},
    )


def _coverage(found: Coverage) -> CoverageStatus:
    return CoverageStatus(
        found.end,
        found.labels,
        found.remembered,
        found.share,
        found.delay_p50_ms,
        found.delay_p90_ms,
        found.delay_p99_ms,
    )


def _least(clocks: list[int | None]) -> int | None:
    """The least clock; None as long as one task has not begun."""
    known = [c for c in clocks if c is not None and c != NEVER]
    return min(known) if known and len(known) == len(clocks) else None


def _open(family: str, book: Book) -> list[OpenAlert]:
    found = []
    for text, subjects in sorted(book.conditions.items()):
        _, version, variant, segment = stream_of("", text)
        for subject, c in sorted(subjects.items()):
            if c.open:
                what = (c.alert_id, c.incident, family, version, variant, subject, c.severity, c.opened, segment)
                found.append(OpenAlert(*what))
    return found


def _request(flight: Request | None) -> RequestStatus | None:
    if flight is None:
        return None
    return RequestStatus(flight.key, flight.state, flight.decided, flight.expires, flight.labels)


def _windows(store: Store, shard: str, kind: str, model: str) -> list[dict[str, Any]]:
    starts = store.starts(shard, kind, model, 0, 1 << 62)[-LAST_WINDOWS:]
    cells = store.cells([(shard, (kind, model, at)) for at in starts])
    return [record for data in cells for record in orjson.loads(data or b"[]")]
