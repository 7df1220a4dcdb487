"""What the tests of `driftline route` share: events, an HTTP endpoint that answers as told, the program itself."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson
from aiohttp import web
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.alerts import AlertData, AlertEvent, Evidence, RetrainData, RetrainEvent, Span, Subject, TrainingRange
from schemas.alerts import sequence_text as sequence_of
from schemas.identifiers import event_id
from schemas.outbox import OutboxEvent, encode
from schemas.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WINDOW = Span.of(1_714_564_800_000, 1_714_565_400_000)
EVIDENCE = Evidence(statistic="psi", value=0.31, n=4000)
ROUTE = "from streams.cli.main import main; main()"


def alert(name: str, *, model: str = "fraud", sequence: int = 1, alert_id: str | None = None) -> OutboxEvent:
    """Return an alert event as the outbox encodes it; its id follows from all that is said here."""
    event = AlertEvent(
        id=event_id(name, model, sequence),
        source="driftline/test",
        type="dev.driftline.alert.opened.v1",
        subject=f"{model}/7/champion/größe",
        time=WINDOW.end,
        sequence=sequence_of(sequence),
        recordedtime=rfc3339(WINDOW.end_ms),
        data=AlertData(
            alert_id=alert_id or f"alert-{name}",
            model=model,
            severity="critical",
            kind="drift",
            subject=Subject(model_version="7", variant="champion", feature="größe"),
            window=WINDOW,
            evidence=EVIDENCE,
            incident="i",
            summary="größe has moved",
        ),
    )
    return encode(event)


def retrain(name: str, *, model: str = "fraud") -> OutboxEvent:
    """Return a retrain request as the outbox encodes it."""
    event = RetrainEvent(
        id=event_id("retrain", name, model),
        source="driftline/test",
        type="dev.driftline.retrain.requested.v1",
        subject=f"{model}/7/champion",
        time=WINDOW.end,
        sequence=sequence_of(1),
        recordedtime=rfc3339(WINDOW.end_ms),
        expirytime=rfc3339(WINDOW.end_ms + 1000),
        data=RetrainData(
            idempotency_key=f"request-{name}",
            model=model,
            model_version="7",
            variant="champion",
            reason="größe has moved",
            evidence=EVIDENCE,
            alerts=[],
            training_range=TrainingRange(event_time=WINDOW),
            labels_available=5000,
        ),
    )
    return encode(event)


def publish(bootstrap: str, topic: str, events: Sequence[OutboxEvent]) -> None:
    """Put `events` on `topic`, in order, with the key and the headers of the outbox."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for event in events:
        producer.produce(topic, value=event.value, key=event.key, headers=list(event.headers))
    assert producer.flush(20) == 0


def records(bootstrap: str, topic: str, count: int, partitions: int = 4) -> list[Any]:
    """Return the first `count` records of `topic`, as the client has them."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    try:
        return consumer.consume(count, timeout=10)
    finally:
        consumer.close()


def committed(bootstrap: str, group: str, topic: str, partitions: int = 4) -> int:
    """Return the sum of the committed offsets of `topic`."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        places = consumer.committed([TopicPartition(topic, partition) for partition in range(partitions)], timeout=10)
        return sum(max(0, place.offset) for place in places)
    finally:
        consumer.close()


def eventually(what: Callable[[], bool], within_s: float = 25.0) -> None:
    """Return when `what` is true, which it must be in time."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Request:
    """One request as it came in."""

    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The idempotency key."""
        return self.headers["Idempotency-Key"]

    @property
    def event_id(self) -> str:
        """The id inside the body."""
        return str(orjson.loads(self.body)["id"])


@dataclass
class Answer:
    """What to answer: a status, headers, and after how long."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0


class Endpoint:
    """A real HTTP server on the loopback interface in a thread; `answer` decides from all requests so far."""

    def __init__(self, answer: Callable[[list[Request]], Answer], port: int = 0) -> None:
        """Nothing listens yet."""
        self._answer, self._port = answer, port
        self.requests: list[Request] = []
        self.delivered: list[str] = []
        """Idempotency keys that were answered with 2xx, in the order of the answers."""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def url(self) -> str:
        """Address with a token, as a secret that must not show up."""
        return f"http://127.0.0.1:{self._port}/hook?token=s3cret"

    async def _handle(self, request: web.Request) -> web.Response:
        self.requests.append(Request(dict(request.headers), await request.read()))
        key = self.requests[-1].key
        answer = self._answer(self.requests)
        await asyncio.sleep(answer.after_s)
        if answer.status < 300:
            self.delivered.append(key)
        return web.Response(status=answer.status, headers=answer.headers)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application()
        application.router.add_post("/hook", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        self._loop.run_until_complete(site.start())
        self._port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@dataclass
class Deployment:
    """Where one test's router reads, and what it is called."""

    bootstrap: str
    alerts: str
    retrain: str
    dead_letters: str
    group: str
    folder: Path

    def configure(self, url: str, webhook: str = "") -> Path:
        """Write monitor.yaml for the endpoint `url`; `webhook` is more of the section."""
        path = self.folder / "monitor.yaml"
        path.write_text(f"""
group: {self.group}
kafka: {{bootstrap.servers: "{self.bootstrap}", session.timeout.ms: 3000, heartbeat.interval.ms: 500}}
topics: {{alerts: {self.alerts}, retrain: {self.retrain}, dead_letters: {self.dead_letters}}}
models: {{fraud: {{task: regression, reference: r.json}}}}
route:
  webhook:
    url: "{url}"
    headers: {{Authorization: "Bearer t0ken"}}
    first_wait: 20ms
    longest_wait: 200ms
    {webhook}
""")
        return path


class RouteProgram:
    """`driftline route` in a process of its own; killed at the end of the block if it still runs."""

    def __init__(self, config: Path, program: str = ROUTE, name: str = "route") -> None:
        """Start it; `program` is what Python runs, `name` is for its log."""
        self.log = config.with_name(f"{name}.log")
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, "route", "--config", str(config)], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it as a crash would; it must still run."""
        assert self._process.poll() is None, self.log.read_text()
        self._process.kill()
        assert self._process.wait(10) == -signal.SIGKILL

    def stop(self) -> None:
        """Ask it to end; it must do so, with exit status 0."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(15) == 0, self.log.read_text()

    def __enter__(self) -> Self:
        """Return the running program."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
