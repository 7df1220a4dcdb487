"""Where the demo plays: an embedded Kafka and Redis, a folder with the configuration, one worker in a thread of its own.

Everything begins and ends with the block, also when it is interrupted.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from confluent_kafka import KafkaError, Message, Producer
from prometheus_client import CollectorRegistry

from schemas import config as configuration
from schemas.errors import ConnectionProblem
from schemas.settings import Topics
from streams.demo.service import MODEL
from streams.demo.subscriber import QUIET
from streams.demo.world import APPROVE
from streams.edges.embedded import EmbeddedKafka, EmbeddedRedis
from streams.edges.http import HealthServer
from streams.edges.redis_store import RedisStore
from streams.metrics import WorkerMetrics
from streams.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detectors.reference import Reference
    from streams.demo.traffic import Record

_JOIN_S = 30.0
"""How long the worker may take to commit and leave."""
_FLUSH_S = 30.0
_REMEDY = "try again on a machine that is less busy"
_MODEL: dict[str, object] = {
    "task": "binary",
    "positive_class": APPROVE,
    "reference": "reference.json",
    # idle counts in record time, which is real: it outlasts the demo, so that no wall clock closes a window in it.
    "windows": {"size": "5m", "pane": "1m", "lateness": "30s", "idle": "1d"},
    # Clerks take up to eight minutes.
    "labels": {"maturity": "10m", "horizon": "1h"},
    "monitors": [
        {"drift": ["features", "prediction", "score"]},
        {"performance": ["accuracy", "f1", "roc_auc"]},
        {"sequential": "error_rate"},
    ],
    "alerts": {"false_alarms": "1 per 30d", "confirm": "2 of 3", "cooldown": "1h"},
    # Drift alone asks for nothing: as long as the answers are right, there is nothing to learn.
    "retrain": {"on": ["performance", "sequential"], "min_labels": 5000, "cooldown": "1h", "approval": "none"},
}


class Stage:
    """The running services. ``problem`` returns what has ended the worker, None while it runs."""

    def __init__(self, reference: Reference) -> None:
        """Start them; ``reference`` is the first version's. Use it as a context manager."""
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="driftline-demo-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.bootstrap = stack.enter_context(EmbeddedKafka(list(Topics().model_dump().values()))).bootstrap
            redis = stack.enter_context(EmbeddedRedis())
            reference.save(self.folder / "reference.json")
            (self.folder / "monitor.yaml").write_text(yaml.safe_dump(self._settings(redis.url)))
            self.config = configuration.load(self.folder / "monitor.yaml")
            self.store = RedisStore(redis.url)
            # Compressed, because the embedded Kafka keeps 5 MiB a partition as sent.
            producing = {"linger.ms": 20, "compression.type": "lz4", "enable.idempotence": True, "log_level": QUIET}
            self._producer: Any = Producer({"bootstrap.servers": self.bootstrap, **producing})
            self.ends: dict[tuple[str, int], int] = {}
            self._failed: BaseException | None = None
            worker = Worker(self.config)
            thread = threading.Thread(target=self._run, args=(worker,), name="worker")
            thread.start()
            stack.callback(thread.join, _JOIN_S)
            stack.callback(worker.stop)
            registry = CollectorRegistry()
            WorkerMetrics(worker, registry)
            http = HealthServer("127.0.0.1", 0, registry, lambda: worker.status.unready)
            stack.callback(http.close)
            self.http_port = http.port
            self._stack = stack.pop_all()

    def _settings(self, redis_url: str) -> dict[str, object]:
        return {
            "kafka": {"bootstrap.servers": self.bootstrap},
            "redis": {"url": redis_url},
            # The demo waits for a commit after every slice of the story.
            "commit_interval": "200ms",
            "models": {MODEL: _MODEL},
        }

    def _run(self, worker: Worker) -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001  # a thread cannot raise into another: kept for `problem`
            self._failed = error

    def problem(self) -> BaseException | None:
        """What ended the worker, if anything did."""
        return self._failed

    def produce(self, records: Iterable[Record]) -> None:
        """Send records and wait until Kafka has them; ``ends`` says how far each partition then reaches.

        Raises ConnectionProblem when one is refused.
        """
        for topic, key, value in records:
            while True:
                try:
                    self._producer.produce(topic, value, key=key, on_delivery=self._delivered)
                except BufferError:  # the queue is full: let some go
                    self._producer.poll(0.1)
                else:
                    break
            self._producer.poll(0)
        if self._producer.flush(_FLUSH_S):
            raise ConnectionProblem(f"the embedded Kafka took not all records in {_FLUSH_S:.0f} s", _REMEDY)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise ConnectionProblem(f"the embedded Kafka refused a record: {error}", _REMEDY)
        where, offset = (message.topic(), message.partition()), message.offset()
        assert where[0] is not None and where[1] is not None and offset is not None  # noqa: S101, PT018  # it was delivered
        self.ends[where[0], where[1]] = max(self.ends.get((where[0], where[1]), 0), offset + 1)

    def __enter__(self) -> Self:
        """Return the running stage."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the worker, then the services; remove the folder."""
        self._stack.close()
