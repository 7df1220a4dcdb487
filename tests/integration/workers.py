"""Workers as real processes: started, killed, waited for, and read back."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.config import Config
from schemas.errors import RetryLater
from schemas.identifiers import model_tag, task_tag
from schemas.outbox import payload
from streams.edges.redis_store import RedisStore
from streams.engine import snapshot
from streams.engine.task_head import Progress, TaskHead
from streams.stored import StoredState, read_state


@contextlib.contextmanager
def worker(folder: Path, name: str = "worker") -> Iterator[subprocess.Popen[bytes]]:
    """One ``driftline run`` on the folder's monitor.yaml; ended at the latest with the block."""
    command = [sys.executable, "-m", "streams.cli.main", "run", "--config", str(folder / "monitor.yaml")]
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(5)


def forget_group(bootstrap: str, group: str) -> None:
    """Let Kafka forget a group's offsets, so that a run with an empty Redis is a first run and no lost state."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + 60  # a member that was killed is in its group for 45 s, unless it asked for less
    while True:
        try:
            admin.delete_consumer_groups([group])[group].result(timeout=10)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            # somebody who was killed is still a member; a new broker looks for its groups
            passing = {KafkaError.NON_EMPTY_GROUP, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR}
            if error.args[0].code() not in passing or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def make_anew(bootstrap: str, topics: Iterable[str], partitions: int, config: dict[str, str]) -> None:
    """Delete topics and make them again, empty, under the same names."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for name, done in admin.delete_topics(list(topics)).items():
        done.result(timeout=20)
        deadline = time.monotonic() + 20
        while True:
            try:
                new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
                admin.create_topics([new])[name].result(timeout=20)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # the deletion is on its way
            else:
                break


def owners(config: Config, partitions: int) -> set[str]:
    """The tokens of the workers that own the tasks of the predictions group."""
    store = RedisStore(config.redis.url)
    tokens = (store.peek(task_tag(f"{config.group}.predictions", p)).token for p in range(partitions))
    return {token.partition(".")[0] for token in tokens} - {""}


def wait_until_shared(config: Config, partitions: int, members: int, timeout_s: float = 60) -> None:
    """Return when that many workers own tasks."""
    deadline = time.monotonic() + timeout_s
    while len(owners(config, partitions)) < members:
        assert time.monotonic() < deadline, "the workers never shared the partitions"
        time.sleep(0.1)


def read(bootstrap: str, topic: str) -> list[tuple[bytes, bytes]]:
    """All records of a topic as (key, value)."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    found = []
    for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        if high > low:
            consumer.assign([TopicPartition(topic, partition, low)])
            while low < high:
                for message in consumer.consume(500, 5):
                    if message.error() is None:
                        found.append((message.key() or b"", message.value() or b""))
                        low = (message.offset() or 0) + 1
    consumer.close()
    return found


def events_by_id(bootstrap: str, topic: str) -> dict[str, bytes]:
    """The payloads of a topic's events by id; equal ids must have equal payloads (P3)."""
    found: dict[str, bytes] = {}
    for _, value in read(bootstrap, topic):
        name = orjson.loads(value)["id"]
        assert found.setdefault(name, payload(value)) == payload(value), f"two payloads under {name}"
    return found


def ends(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    """The end offset of every partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    found = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(partitions)}
    consumer.close()
    return found


def committed(config: Config, partitions: int) -> dict[tuple[str, int], int]:
    """The offsets that stand in Redis, by topic and partition."""
    store = RedisStore(config.redis.url)
    found = {}
    for p in range(partitions):
        body = store.peek(task_tag(f"{config.group}.predictions", p)).body
        if body is not None:
            head = snapshot.unpack(b"task", body, TaskHead, "a test")
            found.update({(topic, p): offset for topic, offset in head.offsets.items()})
    return found


def at_rest(config: Config) -> bool:
    """Whether nothing is left to decide or to publish; on a busy machine a decision may take seconds."""
    store = RedisStore(config.redis.url)
    try:
        state = read_state(config, store)
    except RetryLater:
        return False
    for (group, name), stored in state.evaluators.items():
        shards = [task_tag(f"{config.group}.{group}", p) for p in range(len(stored.evaluator.shards))]
        found = [
            None if data is None else snapshot.unpack(b"prog", data, Progress, "a test")
            for data in store.progress(shards)
        ]
        if (
            store.outbox(model_tag(config.group, name))
            or stored.evaluator.run(store, found)
            or stored.evaluator.changed
        ):
            return False
    return True


def wait_until_read(config: Config, partitions: int, timeout_s: float = 240) -> None:
    """Return when every record is committed, decided and published; the time is for a machine that also compiles and tests."""
    bootstrap = str(config.kafka["bootstrap.servers"])
    topics = (config.topics.predictions, config.topics.labels)
    wanted = {(t, p): o for t in topics for p, o in ends(bootstrap, t, partitions).items()}
    store, deadline = RedisStore(config.redis.url), time.monotonic() + timeout_s
    shards = [model_tag(config.group, name) for name in config.models]
    before: object = None
    while time.monotonic() < deadline:
        now = store.progress(shards)
        # Looking whether all is decided means deciding it once more, so it is done only when the worker seems to have.
        if now == before and committed(config, partitions) == wanted and at_rest(config):
            return
        before = now
        time.sleep(1.0)
    message = f"not read after {timeout_s} s: {committed(config, partitions)} of {wanted}"
    raise AssertionError(message)


def left(config: Config) -> tuple[RedisStore, StoredState]:
    """What the workers left behind."""
    store = RedisStore(config.redis.url)
    return store, read_state(config, store)
