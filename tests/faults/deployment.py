"""One deployment under test: topics of its own on a real Kafka, a Redis of its own, and any number of worker processes.

``Deployment(kafka, folder)`` is a context manager. Everything that a cell may do to it is a method here, of a
``WorkerProcess``, of ``redis`` or of ``kafka``; at the end of the block every process that was started is gone.
"""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import yaml
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from detectors.reference import Reference
from schemas import config as configuration
from streams.edges.embedded import free_ports
from tests.faults.load import MODELS, Load, Spec
from tests.faults.processes import LOOK_S, PRODUCT, WorkerProcess
from tests.services.redis import RedisService

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.config import Config
    from tests.services.kafka import KafkaService

INPUTS = ("predictions", "labels")
OUTPUTS = ("control", "alerts", "retrain", "dead_letters", "journal", "features")
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807"}
"""Record times lie in the past, and those of the closing records in the future."""
SESSION_MS = 6_000
"""The shortest session that a broker allows by default: how long a killed worker is missed by nobody."""
_READY_S = 60.0
"""Until a new worker is ready: three seconds alone, much longer beside a test suite on two cores."""
_numbers = itertools.count(1)


class NotInTime(AssertionError):  # noqa: N818  # says what did not happen
    """Something that was waited for did not come. A machine can be slow: of a twin it proves nothing (``Stage.play``)."""


class Deployment:
    """Workers, their topics and their Redis. ``config`` is the configuration of every worker, but for port and member."""

    def __init__(  # noqa: PLR0913  # each is a choice that a cell makes by name
        self,
        kafka: KafkaService,
        folder: Path,
        *,
        partitions: int = 4,
        static: bool = False,
        settings: dict[str, Any] | None = None,
        kafka_settings: dict[str, Any] | None = None,
        model_settings: dict[str, Any] | None = None,
        redis: RedisService | None = None,
        inputs: dict[str, str] | None = None,
        fresh: bool = False,
    ) -> None:
        """Make topics, a Redis and the configuration; no worker runs yet.

        ``static``: each worker name is a static member of the group, whose partitions wait for it until its session ends.
        ``settings``, ``kafka_settings``, ``model_settings``: laid over monitor.yaml, its ``kafka`` and each of its models.
        ``redis``: not started yet. ``inputs``: topics of another deployment to read; its workers must be gone.
        ``fresh``: start every worker by a new interpreter, not by a fork of one that has imported the product.
        """
        self.kafka, self.folder, self.partitions, self.static, self._fresh = kafka, folder, partitions, static, fresh
        self.bootstrap = kafka.bootstrap
        folder.mkdir(parents=True, exist_ok=True)
        number = next(_numbers)  # a group of its own, too: members of an earlier cell may still be in theirs
        self.redis = RedisService() if redis is None else redis
        self._owns_inputs = inputs is None
        self.topics = {role: f"{role}-f{number}" for role in (*INPUTS, *OUTPUTS)} | (inputs or {})
        model = {
            "task": "binary",
            "positive_class": "yes",
            "reference": str(reference()),
            # The records are old by the wall clock, which must not move anything on.
            "windows": {"size": "10m", "pane": "1m", "lateness": "30s", "idle": "3000d"},
            "labels": {"maturity": "30m", "horizon": "2h"},
            "retrain": {"min_labels": 500, "approval": "none"},
        } | (model_settings or {})
        self.raw: dict[str, Any] = {
            "group": f"faults-{number}",
            "kafka": {"bootstrap.servers": self.bootstrap, "session.timeout.ms": SESSION_MS} | (kafka_settings or {}),
            "redis": {"url": self.redis.url},
            "topics": self.topics,
            "commit_interval": "200ms",
            "models": {name: dict(model) for name in MODELS},
        } | (settings or {})
        if self.raw["kafka"].get("group.protocol") == "consumer":  # the broker decides
            del self.raw["kafka"]["session.timeout.ms"]
        self.workers: dict[str, WorkerProcess] = {}
        self.started: list[WorkerProcess] = []
        """Every process there ever was, ended ones included."""
        self._loads: list[Load] = []
        self.config: Config = self._write(folder, port=0)

    def _write(self, folder: Path, *, port: int, member: str = "", url: str = "") -> Config:
        kafka = self.raw["kafka"] | ({"group.instance.id": member} if member else {})
        redis = {"url": url} if url else self.raw["redis"]
        raw = self.raw | {"kafka": kafka, "redis": redis, "http": {"port": port}}
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "monitor.yaml"
        path.write_text(yaml.safe_dump(raw))
        return configuration.load(path)

    @property
    def monitor_yaml(self) -> Path:
        """For commands that only look: ``driftline status``, the verifier."""
        return self.folder / "monitor.yaml"

    def __enter__(self) -> Self:
        """Start Redis and make the topics."""
        try:
            if not self.redis.alive:
                self.redis.start()
            self.make_topics([r for r in self.topics if r not in INPUTS or self._owns_inputs])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self.close()

    def close(self) -> None:
        """End everything that was started here."""
        for load in self._loads:
            load.close()
        for worker in self.started:
            worker.kill()
        self.redis.close()

    # -- topics -------------------------------------------------------------------------------------------------------

    def make_topics(self, roles: Sequence[str]) -> None:
        """Make the topics of some roles."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        new = [
            NewTopic(
                self.topics[r],
                num_partitions=self.partitions,
                replication_factor=1,
                config=KEEP if r in INPUTS else {"retention.ms": "-1"},
            )
            for r in roles
        ]
        for done in admin.create_topics(new).values():
            done.result(timeout=20)
        self.wait_for(self._led, "a leader of every partition", 30)

    def _led(self) -> bool:
        try:
            self.ends()
        except KafkaException:  # the topics are made, and the broker does not lead them yet
            return False
        return True

    def ends(self) -> dict[tuple[str, int], int]:
        """The end offset of every input partition, by (half, partition). May raise KafkaException."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "looks-only", "log_level": 2})
        try:
            return {
                (half, p): consumer.get_watermark_offsets(TopicPartition(self.topics[half], p), timeout=10)[1]
                for half in INPUTS
                for p in range(self.partitions)
            }
        finally:
            consumer.close()

    # -- workers ------------------------------------------------------------------------------------------------------

    def start(self, name: str, *, program: Sequence[str] = PRODUCT, redis_url: str = "") -> WorkerProcess:
        """Start a worker, again under a name that has ended; ``program``: a wrapper instead of the product.

        ``redis_url``: another way to the same Redis, through a proxy.
        """
        folder = self.folder / name
        (port,) = free_ports(1)
        self._write(folder, port=port, member=name if self.static else "", url=redis_url)
        worker = WorkerProcess(name, folder, port, program, fresh=self._fresh)
        self.workers[name] = worker
        self.started.append(worker)
        return worker

    def wait_ready(self, *workers: WorkerProcess, timeout_s: float = _READY_S) -> None:
        """Return when these workers (default: all that run) say that they are ready; they may own nothing yet."""
        wanted = list(workers) or [w for w in self.workers.values() if w.alive]
        for worker in wanted:
            self.wait_for(lambda w=worker: not w.alive or w.ready()[0], f"{worker.name} to be ready", timeout_s)  # type: ignore[misc]
            if not worker.alive:
                message = f"{worker.name} ended with {worker.status}: {worker.tail()}"
                raise AssertionError(message)

    def wait_for(self, happened: Callable[[], object], what: str, timeout_s: float = 60.0) -> float:
        """Return when it has happened, with the seconds it took; NotInTime after the time."""
        begin = time.monotonic()
        while not happened():
            if time.monotonic() - begin > timeout_s:
                message = f"waited {timeout_s} s in vain for {what}; {self._standing()}"
                raise NotInTime(message)
            time.sleep(LOOK_S)
        return time.monotonic() - begin

    def _standing(self) -> str:
        """What can be said of topics and workers at the moment, for whoever looks for the reason of a failure."""
        try:
            produced = f"{sum(self.ends().values())} records produced"
        except KafkaException as error:
            produced = f"Kafka says {error}"
        return "; ".join([produced, *(w.stack() for w in self.workers.values() if w.alive)])

    def end_workers(self, *, orderly: bool = True) -> None:
        """End all workers, orderly or not."""
        for worker in self.workers.values():
            worker.thaw()
            if orderly:
                worker.term()
        for worker in self.workers.values():
            if orderly:
                with suppress(Exception):
                    worker.wait()
            worker.kill()

    # -- traffic ------------------------------------------------------------------------------------------------------

    def load(self, spec: Spec) -> Load:
        """Start producing; it ends with this deployment at the latest."""
        assert spec.partitions == self.partitions, "the truth would name other partitions"
        inputs = {half: self.topics[half] for half in INPUTS}
        load = Load(spec, self.bootstrap, inputs, self.folder / f"load{len(self._loads)}")
        self._loads.append(load)
        return load

    def keep_step(self, load: Load, share: float) -> None:
        """Hold the producer up when it is ahead of a share of its records, and wait for it when it is behind."""
        target = share * 2.07 * load.spec.predictions
        while load.running:
            produced = sum(self.ends().values())
            if produced > target + load.spec.rate:
                load.freeze()
            else:
                load.thaw()
            if produced >= target:
                return
            time.sleep(0.05)


_reference: list[Path] = []


def reference() -> Path:
    """The reference of the traffic's models, made once a process."""
    if not _reference:
        import tempfile  # noqa: PLC0415  # beside its only use

        path = Path(tempfile.mkdtemp(prefix="driftline-reference-")) / "reference.json"
        rng, n = np.random.default_rng(0), 20_000
        a = rng.normal(0, 1, n)
        truth = a + rng.normal(0, 0.5, n) > 0
        answer = np.where(rng.random(n) < 0.1, ~truth, truth)
        table = {
            "a": a,
            "b": rng.exponential(1, n),
            "c": rng.choice(["de", "fr", "uk"], n),
            "prediction": np.where(answer, "yes", "no"),
            "score": np.clip(np.where(answer, 0.8, 0.2) + rng.normal(0, 0.1, n), 0, 1),
            "label": np.where(truth, "yes", "no"),
        }
        Reference.build(table, task="binary", positive_class="yes").save(path)
        _reference.append(path)
    return _reference[0]
