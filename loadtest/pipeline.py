"""The whole of driftline on the workload: one Worker, from its first fetch until every record is committed.

A program of its own, ``python -m loadtest.pipeline JOB RESULT``. The worker is the product's, watched from outside; compiled
loops are warmed up on other events first, because compiling (or loading what was compiled before) happens once in a worker's life.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadtest import workload
from loadtest.answer import Committed
from loadtest.job import Job, Result, Stuck
from loadtest.measure import Meter, Stages
from schemas import config as configuration
from streams.edges import heap
from streams.edges.kafka_log import KafkaLog
from streams.edges.memory_journal import MemoryJournal
from streams.edges.memory_publisher import MemoryPublisher
from streams.edges.memory_store import MemoryStore
from streams.edges.redis_store import RedisStore
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.evaluator import Evaluator
from streams.engine.join import Join
from streams.engine.records import batch_of
from streams.engine.task import Task
from streams.host import PREDICTIONS, Host
from streams.hosting.commits import Commits
from streams.hosting.decisions import Decisions
from streams.references import ReferenceBook, plans
from streams.worker import Worker

if TYPE_CHECKING:
    from schemas.config import Config

_WATCHED = (
    (KafkaLog, "poll", "consume"),
    (PredictionDecoder, "decode", "decode"),
    (LabelDecoder, "decode", "decode"),
    (Task, "predictions", "fold"),
    (Task, "labels", "fold"),
    (Join, "add_predictions", "join"),
    (Join, "add_labels", "join"),
    (Commits, "commit", "commit"),
    (Evaluator, "run", "evaluate"),
    (Decisions, "commit", "evaluate"),
)
"""Where the stages are; a commit ends with handing its events to the producer, and evaluation with its own commit."""
_WARM_ROWS, _WARM_STEP_MS, _WARM_BATCH = 4_000, 1_000, 1_000
"""Six windows and more of other events, some 600 rows each, so that every detector has run as well."""


def warm_up(config: Config) -> None:
    """Drive every compiled loop once on a host in memory."""
    store = MemoryStore()
    args = (
        config,
        plans(config),
        {PREDICTIONS: 1},
        store,
        MemoryPublisher(),
        MemoryJournal(),
        ReferenceBook(config, store),
    )
    host = Host(*args, time.monotonic, lambda: "")
    host.claim([(PREDICTIONS, 0)])
    made = workload.rows(_WARM_ROWS, 1.0, seed=2, step_ms=_WARM_STEP_MS)
    halves = {
        config.topics.predictions: list(workload.predictions(made)),
        config.topics.labels: list(workload.labels(made)),
    }
    for first, last in pairwise(range(0, _WARM_ROWS + 1, _WARM_BATCH)):
        for topic, records in halves.items():
            numbered = enumerate(records[first:last], first)
            host.take(batch_of(topic, [(0, offset, at, value) for offset, (_, at, value) in numbered]))
        while host.tick():
            pass


class MeasuredWorker(Worker):
    """The product's worker; it stops by itself when every record up to ``ends`` is committed, and says what that cost."""

    def __init__(self, config: Config, job: Job, stages: Stages) -> None:
        """Start the clock, then the worker."""
        self.result: Result | None = None
        self._job, self._stages = job, stages
        self._patience = Stuck(job.timeout_s)
        self._meter = Meter()
        super().__init__(config)

    def step(self) -> None:
        """One turn of the worker's loop, and a look at how far it is."""
        super().step()
        self._patience.check(sum(sum(owned.task.offsets.values()) for owned in self.host.tasks.values()))
        if self.result is None and self._all_committed():
            cost, n = self._meter.read(), self._job.records
            self.result = Result(cost, n, stages=self._stages.per_event(cost, n))
            self.stop()

    def _all_committed(self) -> bool:
        """Whether all tasks are ours, at the ends of their topics, and committed."""
        return len(self.host.tasks) == self.host.partitions[PREDICTIONS] and all(
            not owned.dirty
            and not owned.shard.in_doubt
            and all(owned.task.offsets[topic] == self._job.ends[topic][owned.partition] for topic in owned.task.topics)
            for owned in self.host.tasks.values()
        )


def run(job: Job) -> Result:
    """Measure one worker on the job's topics."""
    config = configuration.load(job.config)
    warm_up(config)
    committed, stages = Committed(), Stages()
    for owner, method, stage in _WATCHED:
        stages.watch(owner, method, stage)
    heap.keep_little()  # as `driftline run`
    worker = MeasuredWorker(config, job, stages)
    worker.run()
    if worker.result is None:
        message = "the worker stopped before every record was committed"
        raise RuntimeError(message)
    store, partitions = RedisStore(config.redis.url), worker.host.partitions[PREDICTIONS]
    answer = committed.answer(store, config.group, job.topics, partitions)
    return msgspec.structs.replace(worker.result, answer=answer)


if __name__ == "__main__":
    finished = run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(finished))
