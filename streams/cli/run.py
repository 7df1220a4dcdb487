"""``driftline run``: one worker."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import MONITOR, ConfigPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.config import Config


def run(
    config: ConfigPath = MONITOR,
    *,
    dev: Annotated[
        bool,
        typer.Option("--dev", help="Start an embedded Kafka and Redis and use them; all of it is gone at the end."),
    ] = False,
    partition_check: Annotated[
        bool,
        typer.Option(
            help="Look at the newest predictions and labels first, and refuse to start where labels cannot meet them."
        ),
    ] = True,
) -> None:
    """Watch the configured models until SIGTERM or Ctrl-C. Start as many as the topics have partitions.

    Metrics are at /metrics, health at /healthz and /readyz (http in monitor.yaml).

    For example:

        driftline run --config monitor.yaml
    """
    from schemas.config import load

    loaded = load(config)
    if not dev:
        work(loaded, look_first=partition_check)
        return
    with embedded(loaded) as changed:
        work(changed)


def work(config: Config, *, look_first: bool = False) -> None:
    """Run one worker with its health server until a signal stops it."""
    import structlog
    from prometheus_client import CollectorRegistry

    from streams.edges import heap
    from streams.edges.http import HealthServer
    from streams.metrics import WorkerMetrics
    from streams.worker import Worker

    heap.keep_little()
    log = structlog.get_logger()
    worker = Worker(config, look_first=look_first)
    registry = CollectorRegistry()
    WorkerMetrics(worker, registry)
    server = HealthServer(config.http.host, config.http.port, registry, lambda: worker.status.unready)
    before = {number: signal.signal(number, lambda *_: worker.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    log.info("running", group=config.group, health=f"http://{config.http.host}:{server.port}")
    try:
        worker.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.close()
    log.info("stopped")


@contextlib.contextmanager
def embedded(config: Config) -> Iterator[Config]:
    """Run an embedded Kafka with all topics and an embedded Redis; yields the configuration that points to them."""
    from schemas.settings import RedisConfig
    from streams.cli.output import console
    from streams.edges.embedded import EmbeddedKafka, EmbeddedRedis

    with EmbeddedKafka(list(config.topics.model_dump().values())) as kafka, EmbeddedRedis() as redis:
        console().print(f"embedded Kafka at {kafka.bootstrap}, embedded Redis at {redis.url}", markup=False)
        # Nothing else of the settings fits: they are for a broker with another security.
        yield config.model_copy(
            update={"kafka": {"bootstrap.servers": kafka.bootstrap}, "redis": RedisConfig(url=redis.url)}
        )
