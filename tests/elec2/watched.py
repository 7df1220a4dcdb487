"""Elec2 through a real worker: its events produced, read to the end, and what it left behind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import yaml

from detectors.reference import Reference
from docs.scripts import elec2
from schemas import config as configuration
from schemas.errors import RetryLater, StateMissing
from streams import logfile
from streams.edges.redis_store import RedisStore
from streams.engine.evaluator import DRIFT_RESULTS, PERFORMANCE_RESULTS
from streams.stored import StoredState, evaluator_shard, read_state
from tests.integration import workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from schemas.config import Config
    from streams.engine.evaluator import Evaluator

INPUTS = ("predictions", "labels", "features")
PARTITIONS = 3
ROWS = 45_312
LAST_LABEL = elec2.BEGIN_MS + (ROWS - 1) * elec2.STEP_MS + elec2.LABEL_DELAY_MS
"""The last time that lies in a window or pane to be decided; only closing records come after it."""


class Row(NamedTuple):
    """One half-hour as its events tell it."""

    time_ms: int
    prediction: str
    label: str


@dataclass(frozen=True, slots=True)
class Watched:
    """What a worker left behind: alert events by id, window records by (model, kind), ledgers by topic, ends of the topics."""

    alerts: dict[str, bytes]
    windows: dict[tuple[str, str], list[dict[str, Any]]]
    ledgers: dict[str, dict[str, int]]
    received: dict[str, int]


def prepare(source: Path, folder: Path) -> Path:
    """Do what docs/elec2.md says before the worker starts; returns the folder."""
    elec2.make(source, folder, PARTITIONS)
    market = Reference.build(folder / "market.csv", task="binary", positive_class="UP")
    market.save(folder / "market.json")
    Reference.build(folder / "half_hours.csv").save(folder / "half_hours.json")
    return folder


def configure(folder: Path, bootstrap: str, redis_url: str, topics: Mapping[str, str]) -> Config:
    """The page's monitor.yaml with the addresses and topics of a test."""
    path = folder / "monitor.yaml"
    raw = yaml.safe_load(path.read_text())
    raw |= {"kafka": {"bootstrap.servers": bootstrap}, "redis": {"url": redis_url}, "topics": dict(topics)}
    raw |= {"http": {"port": 0}, "group": "elec2", "commit_interval": "200ms"}
    path.write_text(yaml.safe_dump(raw))
    return configuration.load(path)


def run(config: Config, folder: Path) -> Watched:
    """Produce the events, run a worker until it has read and decided everything, and look."""
    bootstrap, names = str(config.kafka["bootstrap.servers"]), config.topics.model_dump()
    elec2.send(logfile.read(folder / "events.jsonl.gz"), bootstrap, names)
    received = {half: sum(workers.ends(bootstrap, names[half], PARTITIONS).values()) for half in INPUTS}
    store = RedisStore(config.redis.url)
    with workers.worker(folder):
        state = _at_the_end(config, store, sum(received.values()))
    ledgers: dict[str, dict[str, int]] = {half: {} for half in INPUTS}
    for stored in state.tasks.values():
        for topic, outcomes in stored.task.outcomes().items():
            mine = ledgers[next(half for half in INPUTS if names[half] == topic)]
            for outcome, count in outcomes.items():
                mine[outcome] = mine.get(outcome, 0) + count
        if len(stored.task.topics) > 1:
            ledgers["labels"]["waiting"] = ledgers["labels"].get("waiting", 0) + stored.task.join.waiting
    return Watched(workers.events_by_id(bootstrap, names["alerts"]), _windows(config, store), ledgers, received)


def _at_the_end(config: Config, store: RedisStore, records: int, timeout_s: float = 120) -> StoredState:
    """The state once every record is committed, every window and pane is decided, and every event is acknowledged."""
    shards = [evaluator_shard(config, m) for m in (*config.models, *config.feature_sets)]
    deadline, read = time.monotonic() + timeout_s, 0
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            state = read_state(config, store)
        except (RetryLater, StateMissing):  # the worker is at work, or has not begun
            continue
        read = sum(sum(s.task.offsets.values()) for s in state.tasks.values())
        decided = min(_decided(s.evaluator) for s in state.evaluators.values())
        if read == records and decided > LAST_LABEL and not any(store.outbox(s) for s in shards):
            return state
    message = f"after {timeout_s} s {read} of {records} records were read, or not all windows decided"
    raise AssertionError(message)


def _decided(evaluator: Evaluator) -> int:
    """Up to which time everything is decided that this evaluator decides."""
    cursors = evaluator.head.cursors
    mine: list[int] = [cursors.drift, *((cursors.performance, cursors.sequential) if evaluator.model.labelled else ())]
    return min(mine)


def _windows(config: Config, store: RedisStore) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found = {}
    for model in (*config.models, *config.feature_sets):
        shard = evaluator_shard(config, model)
        for kind, name in ((DRIFT_RESULTS, "drift"), (PERFORMANCE_RESULTS, "performance")):
            cells = store.cells([(shard, (kind, model, at)) for at in store.starts(shard, kind, model, 0, 1 << 62)])
            found[model, name] = [record for data in cells for record in orjson.loads(data or b"[]")]
    return found


def rows(folder: Path) -> list[Row]:
    """Every half-hour that was answered, read naively from the events."""
    answered: dict[str, tuple[int, str]] = {}
    truth: dict[str, str] = {}
    for record in logfile.read(folder / "events.jsonl.gz"):
        event = orjson.loads(record.value or b"null")
        if record.topic == "predictions" and "prediction" in event:
            answered[event["prediction_id"]] = (event["event_time"], event["prediction"])
        elif record.topic == "labels":
            truth[event["prediction_id"]] = event["label"]
    return [Row(time_ms, prediction, truth[name]) for name, (time_ms, prediction) in answered.items()]
