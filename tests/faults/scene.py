"""Where a cell plays: a deployment, traffic for so many seconds, and workers that all own tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import redis

from streams.edges.embedded import LOOPBACK
from tests.faults import redis_faults
from tests.faults.cell import Stage
from tests.faults.deployment import Deployment
from tests.faults.load import Load, Spec
from tests.faults.processes import WorkerProcess
from tests.faults.proxy import Proxy
from tests.faults.watch import Watch
from tests.services.kafka import KafkaService
from tests.services.redis import RedisService

RATE: Final = 2_500
"""Records a second: far below what a worker takes, so that what piles up is the fault's doing and not the machine's."""
STEP_MS: Final = 500
"""Event time from one prediction to the next: a window of ten minutes closes every second."""
USUAL: Final = {"kafka_settings": {"session.timeout.ms": 45_000}}
"""The client's own default: a broker that is restarted is away for seconds, and nobody leaves the group for that."""
SEVERAL: Final = 15
"""Commits of a task: three seconds of work."""
REGIME: Final = 4_800
"""Predictions until the traffic changes: 40 minutes, four windows."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Proxies that the first ``behind`` workers go through; everybody else, the checks too, goes straight."""

    redis: Proxy | None = None
    kafka: Proxy | None = None
    behind: int = 99


def spec(seconds: float, seed: int = 1, **changes: Any) -> Spec:  # noqa: ANN401  # Spec says which
    """Traffic for so long; a prediction comes with 1.07 other records."""
    known: dict[str, Any] = {"rate": RATE, "step_ms": STEP_MS, "regime": REGIME, "seed": seed} | changes
    return Spec(predictions=int(seconds * known["rate"] / 2.07), **known)


@contextlib.contextmanager
def working(
    stage: Stage,
    seconds: float,
    workers: int = 1,
    server: RedisService | None = None,
    *,
    kafka: KafkaService | None = None,
    ways: Ways | None = None,
    choices: dict[str, Any] | None = None,
    **traffic: Any,  # noqa: ANN401  # Spec says which
) -> Iterator[tuple[Deployment, Watch, Load, list[WorkerProcess]]]:
    """A deployment with traffic for so many seconds, and workers that all own tasks.

    ``server``, ``kafka``: a Redis that is not started yet, a broker that runs. ``choices``: more for the deployment.
    """
    with stage.deployment(kafka, redis=server, **(choices or {})) as d, Watch(d) as watch:
        started, straight, ways = [], d.raw["kafka"], ways or Ways()
        if ways.redis is not None:
            ways.redis.target = d.redis.port
        for n in range(workers):
            through = n < ways.behind
            if ways.kafka is not None and through:
                d.raw["kafka"] = straight | {"bootstrap.servers": f"{LOOPBACK}:{ways.kafka.port}"}
            url = f"redis://{LOOPBACK}:{ways.redis.port}/0" if ways.redis is not None and through else ""
            started.append(d.start(f"w{n}", redis_url=url))
            d.raw["kafka"] = straight
        d.wait_ready(*started)
        d.wait_for(lambda: len(watch.owners()) == workers, "every worker to own tasks")
        yield d, watch, d.load(spec(seconds, **traffic)), started


def steady(d: Deployment, watch: Watch) -> None:
    """Return when every shard has had state for longer than what is going to be lost."""
    with redis.from_url(d.redis.url) as client:
        d.wait_for(lambda: redis_faults.begun(client), "every shard to have state")
    begun = {p: watch.now(p).sequence for p in watch.history}
    d.wait_for(
        lambda: all(watch.now(p).sequence >= n + SEVERAL for p, n in begun.items()), "every task to work steadily"
    )
