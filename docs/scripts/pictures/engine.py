"""The engine itself, on a store in memory: pictures of time are drawn from what it does with records."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from detectors.reference import Reference
from schemas.config import Config, ModelConfig
from schemas.identifiers import model_tag
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.engine.evaluator import PERFORMANCE_RESULTS
from streams.engine.plan import compile_plan
from streams.engine.records import batch_of
from streams.host import PREDICTIONS, Host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.engine.evaluator import Evaluator
    from streams.engine.store import Commit
    from streams.engine.task import Task

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
BEGIN: Final = 1_767_225_600_000 + 12 * HOUR
"""2026-01-01 12:00 UTC, ms: where every picture of time begins."""
MODEL: Final = "fraud"


class _Keeping(MemoryStore):
    """A store in which nothing is deleted, so that a picture can show what everyone has read."""

    def commit(self, commit: Commit) -> Any:  # noqa: ANN401  # as the store's
        commit.drop.clear()
        return super().commit(commit)


@cache
def reference() -> Reference:
    """One feature, and answers of which a tenth is wrong."""
    rng = np.random.default_rng(1)
    truth = rng.random(20_000) < 0.5
    answer = truth ^ (rng.random(20_000) < 0.1)
    table = {"x": rng.normal(size=20_000), "prediction": answer, "label": truth}
    return Reference.build(table, task="binary", positive_class=True)


class Engine:
    """Tasks and evaluators of one process. Times are ms since `BEGIN`; record times too."""

    def __init__(self, *, partitions: int = 1, models: Iterable[str] = (MODEL,), **said: Any) -> None:  # noqa: ANN401  # configuration
        """Own every partition; ``said`` is configured for every model."""
        fixed = {"task": "binary", "positive_class": True, "reference": "unused.json"}
        configs = {name: ModelConfig.model_validate(fixed | said) for name in models}
        config = Config(commit_interval=1, models=configs)
        plan = compile_plan(PREDICTIONS, configs, {name: [reference()] for name in configs}, config.future)
        self.store, self.publisher, self._now = _Keeping(), MemoryPublisher(), 0.0
        groups = {PREDICTIONS: partitions}
        clock = lambda: self._now  # noqa: E731  # a time that stands still until `settle`
        outside = (self.store, self.publisher, MemoryJournal(), None)
        self.host = Host(config, {PREDICTIONS: plan}, groups, *outside, clock, lambda: "")
        for partition in range(partitions):
            self.host.claim([(PREDICTIONS, partition)])
        self._offset: Counter[tuple[str, int]] = Counter()

    def task(self, partition: int = 0) -> Task:
        """The task of a partition."""
        return self.host.tasks[PREDICTIONS, partition].task

    def evaluator(self, model: str = MODEL) -> Evaluator:
        """The evaluator of a model."""
        return self.host.evaluators[PREDICTIONS, model].evaluator

    def send(self, topic: str, records: list[tuple[int, dict[str, Any]]], partition: int = 0) -> None:
        """Take records, (record time, content), in this order."""
        first = self._offset[topic, partition]
        self._offset[topic, partition] += len(records)
        rows = [
            (partition, first + i, BEGIN + time, orjson.dumps(said | {"event_time": BEGIN + said["event_time"]}))
            for i, (time, said) in enumerate(records)
        ]
        self.host.take(batch_of(topic, rows))

    def outcome(self, topic: str, time: int, said: dict[str, Any]) -> str:
        """Take one record of partition 0, and say what became of it; "waiting" of a label whose prediction has not come."""
        before = Counter(self.task().outcomes()[topic])
        self.send(topic, [(time, said)])
        changed = Counter(self.task().outcomes()[topic]) - before
        return next(iter(changed), "waiting")

    def settle(self) -> None:
        """Commit, and let the evaluators decide what they can."""
        self._now += 1
        while self.host.tick():
            self._now += 1

    def silent(self, time: int, partition: int = 0, topics: tuple[str, ...] = ("predictions", "labels")) -> bool:
        """Say that topics are read to their end at ``time``; True when it went into the journal."""
        news = [self.host.silent(PREDICTIONS, partition, topic, BEGIN + time) for topic in topics]
        return any(news)

    def watermark(self, partition: int = 0) -> int:
        """The first model's watermark."""
        return int(self.task(partition).times()[0][0]) - BEGIN

    def performance(self) -> list[dict[str, Any]]:
        """The records of the windows of performance, all traffic, in order; windows in ms since `BEGIN`."""
        shard = model_tag(self.host.config.group, MODEL)
        starts = self.store.starts(shard, PERFORMANCE_RESULTS, MODEL, 0, 1 << 62)
        cells = self.store.cells([(shard, (PERFORMANCE_RESULTS, MODEL, at)) for at in starts])
        found = [record for data in cells for record in orjson.loads(data or b"[]") if not record["segment"]]
        return [record | {"window": [t - BEGIN for t in record["window"]]} for record in found]


def prediction(name: str, event_time: int, *, answer: bool = False, model: str = MODEL) -> dict[str, Any]:
    """A prediction; ``event_time`` in ms since `BEGIN`."""
    return {
        "prediction_id": name,
        "model": model,
        "model_version": "v1",
        "event_time": event_time,
        "features": {"x": 0.0},
        "prediction": answer,
    }


def label(name: str, event_time: int, *, truth: bool = False) -> dict[str, Any]:
    """A label; ``event_time`` in ms since `BEGIN`."""
    return {"prediction_id": name, "model": MODEL, "event_time": event_time, "label": truth}
