"""What a deployment leaves behind, and whether it is what an undisturbed one leaves behind: the comparison behind every cell.

Two answers that know nothing of each other: the truth that the traffic was made with (ledgers, dead letters), and a second
deployment that reads the same topics in peace (windows, alerts, retrain requests, digests of everything that is kept). The
verifier (``verifier.py``) is the third, in a process of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import Consumer, TopicPartition

from schemas.errors import DriftlineError
from schemas.identifiers import model_tag
from schemas.outbox import payload
from streams import logfile
from streams.digest import parts
from streams.dump import dump
from streams.edges.redis_store import RedisStore
from streams.engine import snapshot
from streams.engine.evaluator import DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS
from streams.engine.evaluator_head import Cursors
from streams.replay import Replay
from streams.status import read_status
from streams.stored import read_state
from tests.faults.deployment import INPUTS, Deployment, NotInTime
from tests.faults.load import MODELS, Truth

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REST_S = 0.5
"""How long nothing may move before everything is decided: two turns of a loop that commits every 200 ms."""
SHOWN = 5
"""Differences that are named."""


@dataclass(slots=True)
class Results:
    """Everything that counts. ``dead_letters`` are half/partition/offset, repeats taken out."""

    ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    dead_letters: set[str] = field(default_factory=set)
    repeated: int = 0
    """Events and dead letters that were published again, which is allowed."""
    events: dict[str, bytes] = field(default_factory=dict)
    """Payloads of alerts and retrain requests by id."""
    clashes: list[str] = field(default_factory=list)
    """Ids with more than one payload, which is not allowed."""
    windows: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)


def repeated(deployment: Deployment, truth: Truth) -> int:
    """How many records the topics have twice; ``truth.records`` is corrected by them. AssertionError when Kafka has lost some."""
    ends = deployment.ends()
    more = {(half, p): n - truth.records[half].get(p, 0) for (half, p), n in ends.items()}
    lost = {where: -n for where, n in more.items() if n < 0}
    assert not lost, f"the topics hold fewer records than were produced and acknowledged: {lost}"
    for (half, p), n in ends.items():
        truth.records[half][p] = n
    return sum(more.values())


def wait_until_done(deployment: Deployment, truth: Truth, timeout_s: float = 120.0) -> None:
    """Return when every record is committed and every decision is made and published. NotInTime after the time."""
    store, config = RedisStore(deployment.redis.url), deployment.config
    shards = [model_tag(config.group, name) for name in config.models]
    wanted = {(deployment.topics[h], p): n for h in INPUTS for p, n in truth.records[h].items()}
    deadline, found, before, since = time.monotonic() + timeout_s, {}, None, time.monotonic()
    while time.monotonic() < deadline:
        try:
            status = read_status(config, store)
            found = {(t, task.partition): n for task in status.tasks for t, n in task.offsets.items()}
            rest = (store.progress(shards), [m.unpublished for m in status.models], [m.windows for m in status.models])
        except DriftlineError:
            before = None
        else:
            if found != wanted or rest != before or any(rest[1]) or not _decided(rest[0], truth.last):
                before, since = rest if found == wanted else None, time.monotonic()
            elif time.monotonic() - since >= REST_S:
                return
        time.sleep(0.1)
    missing = {k: f"{found.get(k)} of {n}" for k, n in wanted.items() if found.get(k) != n}
    stacks = "\n".join(w.stack() for w in deployment.workers.values() if w.alive)
    message = f"not done after {timeout_s:.0f} s: {missing or 'evaluators do not rest'}\n{stacks}"
    raise NotInTime(message)


def _decided(progress: Sequence[bytes | None], last: int) -> bool:
    """Whether every evaluator has decided the window of ``last``; on a busy machine one window alone may take a second."""
    found = [snapshot.unpack(b"curs", data, Cursors, "a test") if data is not None else Cursors() for data in progress]
    return all(min(c.drift, c.performance, c.sequential, c.final) >= last for c in found)


def look(deployment: Deployment) -> Results:
    """Read back what the workers left; none of them may run any more."""
    store, config, found = RedisStore(deployment.redis.url), deployment.config, Results()
    status = read_status(config, store)
    roles = {deployment.topics[h]: h for h in INPUTS}
    found.ledger = {h: {} for h in INPUTS}
    for task in status.tasks:
        for topic, outcomes in task.outcomes.items():
            for outcome, n in outcomes.items():
                mine = found.ledger[roles[topic]]
                mine[outcome] = mine.get(outcome, 0) + n
        found.ledger["labels"]["waiting"] = found.ledger["labels"].get("waiting", 0) + task.waiting
    published = read_topics(deployment, ("alerts", "retrain", "dead_letters"))
    for role in ("alerts", "retrain"):
        for value, _ in published[role]:
            name, what = orjson.loads(value)["id"], _payload(value, config.group)
            if found.events.setdefault(name, what) != what:
                found.clashes.append(name)
            found.repeated += 1
    found.repeated -= len(found.events)
    for _, headers in published["dead_letters"]:
        topic, _, rest = headers["driftline.id"].decode().partition("/")
        found.repeated += f"{roles[topic]}/{rest}" in found.dead_letters
        found.dead_letters.add(f"{roles[topic]}/{rest}")
    for model in MODELS:
        shard = model_tag(config.group, model)
        for kind in (DRIFT_RESULTS, PERFORMANCE_RESULTS, PROXY_RESULTS):
            starts = store.starts(shard, kind, model, 0, 1 << 62)
            cells = store.cells([(shard, (kind, model, at)) for at in starts])
            found.windows |= {f"{model} {kind} {at}": c or b"" for at, c in zip(starts, cells, strict=True)}
    found.parts = parts(store, read_state(config, store))
    return found


def _headers(found: Any) -> dict[str, bytes]:  # noqa: ANN401  # pairs, or a mapping, says the client
    return dict(found or [])


def _payload(value: bytes, group: str) -> bytes:
    """The payload, as a deployment of any other name would have it."""
    return payload(value).replace(f'"source":"driftline/{group}"'.encode(), b'"source":"driftline"')


def read_topics(deployment: Deployment, roles: Sequence[str]) -> dict[str, list[tuple[bytes, dict[str, bytes]]]]:
    """(value, headers) of every record of some output topics."""
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.bootstrap,
            "group.id": "looks-only",
            "enable.auto.commit": False,
            "log_level": 2,
        }
    )
    found: dict[str, list[tuple[bytes, dict[str, bytes]]]] = {role: [] for role in roles}
    by_topic = {deployment.topics[role]: role for role in roles}
    try:
        left, places = 0, []
        for topic in by_topic:
            for partition in range(deployment.partitions):
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                left += high - low
                places.append(TopicPartition(topic, partition, low))
        consumer.assign(places)
        while left > 0:
            for message in consumer.consume(1_000, 0.1):
                if message.error() is None:
                    found[by_topic[message.topic() or ""]].append((message.value() or b"", _headers(message.headers())))
                    left -= 1
    finally:
        consumer.close()
    return found


def undisturbed(deployment: Deployment, truth: Truth, folder: Path, timeout_s: float) -> Results:
    """The results of one worker that reads the same topics in peace; the deployment's own workers must have ended."""
    calm = Deployment(
        deployment.kafka,
        folder,
        partitions=deployment.partitions,
        inputs={h: deployment.topics[h] for h in INPUTS},
        settings={k: v for k, v in deployment.raw.items() if k not in {"redis", "topics", "kafka", "group"}},
    )
    with calm:
        calm.start("calm")
        try:
            wait_until_done(calm, truth, timeout_s)
        except NotInTime as error:
            message = f"the undisturbed run failed: {error}"
            raise NotInTime(message) from error
        calm.end_workers()
        return look(calm)


def against_truth(found: Results, truth: Truth) -> list[str]:
    """What is not as the traffic was made."""
    wrong = []
    for half in INPUTS:
        mine = {k: n for k, n in found.ledger[half].items() if n}
        mine["orphan"] = mine.get("orphan", 0) + mine.pop("waiting", 0)
        expected = {k: n for k, n in truth.outcomes[half].items() if n}
        mine = {k: n for k, n in mine.items() if n}
        if mine != expected:
            wrong.append(f"ledger of {half}: {_apart(mine, expected)}")
    lost, made_up = set(truth.dead_letters) - found.dead_letters, found.dead_letters - set(truth.dead_letters)
    if lost or made_up:
        wrong.append(
            f"dead letters: {len(lost)} missing {sorted(lost)[:SHOWN]}, {len(made_up)} too many {sorted(made_up)[:SHOWN]}"
        )
    wrong += [f"two payloads under {name}" for name in found.clashes[:SHOWN]]
    return wrong


def against_replay(deployment: Deployment, found: Results, folder: Path) -> list[str]:
    """What a replay of the inputs and the journal has otherwise (P2, R3)."""
    folder.mkdir(parents=True, exist_ok=True)
    dump(deployment.config, folder / "dump.jsonl.gz")
    replay = Replay(deployment.config, logfile.read(folder / "dump.jsonl.gz"))
    replay.run()
    group = deployment.config.group
    events = {e.event_id: _payload(e.value, group) for e in replay.events}
    wrong = [f"events of a replay: {_apart(found.events, events)}"] if events != found.events else []
    expected = parts(replay.store, replay.host)
    if expected != found.parts:
        wrong.append(f"state of a replay: {_apart(found.parts, expected)}")
    return wrong


def against_calm(found: Results, calm: Results) -> list[str]:
    """What an undisturbed run has otherwise."""
    wrong = []
    for what, mine, expected in (
        ("events", found.events, calm.events),
        ("windows", found.windows, calm.windows),
        ("state", found.parts, calm.parts),
        ("ledgers", found.ledger, calm.ledger),
    ):
        if mine != expected:
            wrong.append(f"{what}: {_apart(mine, expected)}")
    return wrong


def _apart(mine: dict[str, Any], expected: dict[str, Any]) -> str:
    keys = [k for k in sorted(mine.keys() | expected.keys()) if mine.get(k) != expected.get(k)]
    shown = "; ".join(f"{k}: {_short(mine.get(k))} instead of {_short(expected.get(k))}" for k in keys[:SHOWN])
    return f"{len(keys)} differ: {shown}"


def _short(value: object) -> str:
    return "nothing" if value is None else str(value)[:200]


def offsets(deployment: Deployment) -> dict[tuple[str, int], int]:
    """The committed offsets by (topic, partition)."""
    status = read_status(deployment.config, RedisStore(deployment.redis.url))
    return {(t, task.partition): n for task in status.tasks for t, n in task.offsets.items()}
