"""`driftline route`: a Faust application that takes alerts and retrain requests from Kafka to a webhook.

One agent per topic, one event at a time, in offset order: the events of a model share a key, hence a partition, hence
their order is kept. An event that cannot be delivered holds up those behind it until `give_up_after`; then it goes to
the dead letters.

At least once. The offset of an event is committed when, and only when, the endpoint has answered 2xx, or the dead
letter is acknowledged, or the event is stale. Faust's own acknowledgement is switched off (``acks=False``), because it
also acknowledges what was merely begun: an event under way when the process is told to stop or an agent raises (issues
189 and 315 of faust-streaming), and one that is dropped from a buffer during a rebalance; and its search for gaps lets
one unacknowledged event pass. Not promised: exactly once. A crash between the answer and the commit delivers the one
event of each topic that was under way a second time, with the same Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import tempfile
from typing import TYPE_CHECKING, Any, Final

import aiokafka.errors  # type: ignore[import-untyped]  # it ships no annotations
import faust
import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import ConfigError, ConnectionProblem, TopicMissing
from streams.edges.kafka_log import REQUEST_S, client_settings
from streams.edges.webhook import UndeliveredError, Webhook
from streams.routes.broker import faust_settings
from streams.routes.parcel import Delivered, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.config import Config

log = structlog.get_logger()

# A killed router's partitions are handed on after this. Faust's default is a minute; heartbeats come from a thread of
# their own, so no slow endpoint can make a living one look dead.
_SESSION_S: Final = 10.0
# aiokafka leaves the group when nobody fetched for this long; behind a blocked endpoint a full buffer must not do that.
_SPARE_S: Final = 300.0
# An orderly end takes a tenth of a second. Without a broker Faust's never comes, and there is nothing left to lose:
# what was delivered is committed, or will be delivered again. Below the 10 s that Docker waits before SIGKILL.
_STOP_S: Final = 5.0
_CONNECT: Final = "__connect.errors."


class Router:
    """What happens to one record; `app` calls `handle` for each, one at a time per topic."""

    def __init__(self, config: Config, webhook: Webhook, app: faust.App) -> None:
        """Subscribe the application to both topics."""
        self._config, self._webhook, self._app = config, webhook, app
        self._delivered = Delivered()
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        for name in (config.topics.alerts, config.topics.retrain):
            # raw: a value that is no event must come to us, and not raise while the stream decodes it.
            topic = app.topic(name, key_serializer="raw", value_serializer="raw", acks=False)
            app.agent(topic, name=f"route-{name}")(self._consume)

    async def _consume(self, stream: Any) -> None:  # noqa: ANN401  # Faust's stream is generic over untyped values
        try:
            async for event in stream.events():
                await self.handle(event.message)
        except Exception as error:  # noqa: BLE001  # whatever it is: an agent that raised would go on behind the record
            if not self.failed.done():
                self.failed.set_result(error)
            # The process ends now, and the record stays uncommitted. Nothing behind it may be handled before.
            await asyncio.get_running_loop().create_future()

    async def handle(self, record: Any) -> None:  # noqa: ANN401  # Faust's Message, or any record with its fields
        """Deliver one record, give it up, or skip it; then commit its offset."""
        parcel = unpack(record.value)
        if isinstance(parcel, str):
            await self._dead_letter(record, "invalid_event", parcel)
        elif self._delivered.stale(parcel):
            log.info("skipped", event_id=parcel.event_id, reason="a newer one was delivered", thread=parcel.thread)
        else:
            try:
                attempts = await self._webhook.deliver(parcel.event_id, parcel.body, parcel.attributes)
            except UndeliveredError as error:
                await self._dead_letter(record, error.reason, str(error))
            else:
                self._delivered.add(parcel)
                host = self._webhook.host
                log.info("delivered", event_id=parcel.event_id, type=parcel.type, host=host, attempts=attempts)
        await self._commit(record)

    async def _commit(self, record: Any) -> None:  # noqa: ANN401  # see handle
        consumer: Any = self._app.consumer
        # A partition that went to another router meanwhile is committed by that one, after its own delivery.
        if record.tp in consumer.assignment():
            await consumer._commit({record.tp: record.offset + 1})  # noqa: SLF001  # the public one commits acks only

    async def _dead_letter(self, record: Any, reason: str, message: str) -> None:  # noqa: ANN401  # see handle
        """Write the record to the dead letters and return when Kafka has it (Connect's header names)."""
        where = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
        value = record.value or b""
        given = record.headers or ()
        headers = list(given.items() if hasattr(given, "items") else given)
        headers += [(f"{_CONNECT}{name}", text.encode()) for name, text in where.items()]
        headers += [
            (f"{_CONNECT}stage", b"TASK_PUT"),
            (f"{_CONNECT}exception.class.name", reason.encode()),
            (f"{_CONNECT}exception.message", message.encode("utf-8", "replace")[:1000]),
            ("driftline.id", "/".join(where.values()).encode()),
            ("driftline.sha256", hashlib.sha256(value).hexdigest().encode()),
            ("driftline.bytes", str(len(value)).encode()),
        ]
        rules = self._config.dead_letters
        kept = b"" if rules.payload == "hash" else value[: rules.max_bytes]
        topic = self._config.topics.dead_letters
        await self._app.producer.send_and_wait(topic, record.key, kept, None, None, headers)
        log.error("given_up", reason=reason, problem=message, written_to=topic, **where)


def check_topics(config: Config) -> None:
    """Ask the broker for the topics that are read and written.

    Raises:
        ConnectionProblem: it does not answer.
        TopicMissing: one does not exist.
    """
    try:
        found = AdminClient(client_settings(config.kafka) | {"log_level": 0}).list_topics(timeout=REQUEST_S).topics
    except KafkaException as error:
        reason = error.args[0].str() if isinstance(error.args[0], KafkaError) else "a setting is wrong"
        what = f"Kafka at {config.kafka['bootstrap.servers']} does not answer ({reason})"
        remedy = "Start it, or correct kafka.bootstrap.servers and the security settings"
        raise ConnectionProblem(what, remedy) from None
    wanted = (config.topics.alerts, config.topics.retrain, config.topics.dead_letters)
    if lacking := [name for name in wanted if name not in found]:
        what = f"Kafka has no topic {', '.join(lacking)}"
        raise TopicMissing(what, "Make it with `driftline topics create`, or correct `topics` in the configuration")


async def _run(app: faust.App) -> None:
    await app.start()
    log.info("routing")
    await app.wait()


async def _route(config: Config, folder: Path | str) -> None:
    assert config.route is not None  # noqa: S101 - for the type checker: run_route has looked
    webhook_config = config.route.webhook
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings = {"broker_session_timeout": _SESSION_S, "broker_heartbeat_interval": _SESSION_S / 4}
    app = faust.App(
        f"{config.group}-route",
        **(settings | faust_settings(config.kafka)),
        datadir=str(folder),
        # Faust keeps a topic of its own to elect a leader, and declares topics: neither is needed, and both want rights
        # that a subscriber need not have (and an admin interface, which the embedded Kafka lacks).
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        broker_max_poll_interval=(webhook_config.give_up_after + webhook_config.timeout) / 1000 + _SPARE_S,
        # Only the level of log lines about events that take long, which ours may.
        stream_processing_timeout=webhook_config.give_up_after / 1000 + _SPARE_S,
        loop=loop,
    )
    async with Webhook(webhook_config) as webhook:
        router = Router(config, webhook, app)
        app.finalize()
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait()), asyncio.create_task(_run(app))]
        await asyncio.wait({*tasks, router.failed}, return_when=asyncio.FIRST_COMPLETED)
        ended = tasks[1].exception() if tasks[1].done() else None
        for task in tasks:
            task.cancel()
        await asyncio.wait({asyncio.create_task(app.stop())}, timeout=_STOP_S)
    problem = router.failed.result() if router.failed.done() else ended or app.crash_reason
    if problem is not None and not stop.is_set():
        if not isinstance(problem, aiokafka.errors.KafkaError | OSError) and problem is not app.crash_reason:
            raise problem  # a defect of ours: its traceback is wanted
        # Errors of the Kafka client name brokers and topics, and no credentials.
        what = f"Routing ended because Kafka cannot be used any more ({type(problem).__name__}: {problem})"
        raise ConnectionProblem(what, "Start it again: no event is lost, the last one may come twice") from problem
    log.info("stopped")


def run_route(config: Config) -> None:
    """Route until SIGTERM or SIGINT.

    Raises:
        ConfigError: there is no `route` in the configuration, or its Kafka settings cannot be used.
        ConnectionProblem: Kafka cannot be reached, or failed for good while routing.
        TopicMissing: a topic does not exist.
    """
    if config.route is None:
        what = "The configuration has no `route`"
        raise ConfigError(what, "Add `route: {webhook: {url: https://host/path}}` to say where events go")
    faust_settings(config.kafka)
    check_topics(config)
    # Faust wants a folder although nothing of ours is kept in it.
    with tempfile.TemporaryDirectory(prefix="driftline-route-") as folder:
        asyncio.run(_route(config, folder))
