"""One story for the integration tests, made from a seed: a model whose inputs drift, then its rule, labels late and untidy.

Everything is produced beforehand with record time = event time; the last record of every partition is a closing record far in
the future, so that every window closes by the log alone and no wall clock takes part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
import yaml
from confluent_kafka import Producer

from detectors.reference import Reference
from schemas import config as configuration
from schemas.config import Config
from streams.stored import StoredState

BEGIN = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
STEP = 100
"""One prediction every 100 ms of event time."""
MINUTE = 60_000
CLOSING = 30 * 24 * 60 * MINUTE


@dataclass(slots=True)
class Sent:
    """What was produced: records by topic, and the expected outcomes."""

    predictions: int = 0
    labels: int = 0
    expected: dict[str, dict[str, int]] = field(default_factory=dict)


def rows(rng: np.random.Generator, n: int, shift: float, error: float) -> dict[str, np.ndarray]:
    """Features, truth, answer and score of n cases."""
    a = rng.normal(shift, 1, n)
    truth = a - shift + rng.normal(0, 0.5, n) > 0
    answer = np.where(rng.random(n) < error, ~truth, truth)
    score = np.clip(np.where(answer, 0.8, 0.2) + rng.normal(0, 0.1, n), 0, 1)
    return {
        "a": a,
        "b": rng.exponential(1, n),
        "c": rng.choice(["de", "fr", "uk"], n),
        "prediction": np.where(answer, "yes", "no"),
        "score": score,
        "label": np.where(truth, "yes", "no"),
    }


def reference(folder: Path) -> Path:
    """The reference of the story's model, saved."""
    path = folder / "reference.json"
    Reference.build(rows(np.random.default_rng(1), 20_000, 0, 0.1), task="binary", positive_class="yes").save(path)
    return path


def write_config(folder: Path, bootstrap: str, redis_url: str, topics: dict[str, str], member: str = "") -> Config:
    """A monitor.yaml for the story; returns it loaded."""
    kafka: dict[str, object] = {"bootstrap.servers": bootstrap, "session.timeout.ms": 6000}
    if member:
        kafka["group.instance.id"] = member
    raw = {
        "kafka": kafka,
        "redis": {"url": redis_url},
        "topics": topics,
        "http": {"port": 0},
        "commit_interval": "200ms",
        "models": {
            "loans": {
                "task": "binary",
                "positive_class": "yes",
                "reference": str(reference(folder)),
                "windows": {"size": "10m", "pane": "1m", "lateness": "30s", "idle": "3000d"},
                "labels": {"maturity": "30m", "horizon": "2h"},
                "retrain": {"min_labels": 500, "approval": "none"},
            }
        },
    }
    path = folder / "monitor.yaml"
    path.write_text(yaml.safe_dump(raw))
    return configuration.load(path)


def story(n: int, seed: int = 7) -> list[tuple[str, int, str, bytes]]:
    """The records in the order they are produced: (half, record time, key, value); half is predictions or labels."""
    rng = np.random.default_rng(seed)
    third = n // 3
    parts = [rows(rng, third, shift, error) for shift, error in ((0, 0.1), (0.5, 0.1), (0.5, 0.35))]
    made: list[tuple[int, str, str, bytes]] = []
    delay = rng.integers(10_000, 40 * MINUTE, n)
    for k, part in enumerate(parts):
        for i in range(third):
            j = k * third + i
            at, name = BEGIN + j * STEP, f"p{j}"
            event = {
                "prediction_id": name,
                "model": "loans",
                "model_version": "v1",
                "event_time": at,
                "features": {f: part[f][i].item() for f in ("a", "b", "c")},
                "prediction": str(part["prediction"][i]),
                "score": float(part["score"][i]),
            }
            made.append((at, "predictions", name, orjson.dumps(event)))
            if j % 97 == 0:  # a producer repeats itself
                made.append((at + 500, "predictions", name, orjson.dumps(event)))
            known = at + int(delay[j])
            label = {"prediction_id": name, "label": str(part["label"][i]), "event_time": known}
            made.append((known, "labels", name, orjson.dumps(label)))
            if j % 89 == 0:
                made.append((known + 1000, "labels", name, orjson.dumps(label | {"event_time": known + 1000})))
            if j % 83 == 0:
                other = label | {"label": "no" if label["label"] == "yes" else "yes", "event_time": known + 2000}
                made.append((known + 2000, "labels", name, orjson.dumps(other)))
            if j % 101 == 0:
                made.append((at, "labels", f"ghost{j}", orjson.dumps({"prediction_id": f"ghost{j}", "label": "yes"})))
            if j % 211 == 0:
                made.append((at, "predictions", f"bad{j}", b'{"prediction_id": "bad'))
    made.sort(key=lambda m: m[0])
    return [(half, at, key, value) for at, half, key, value in made]


def expected_ledger(n: int) -> dict[str, dict[str, int]]:
    """What must have become of the story's records, counted from how it is made."""
    third = 3 * (n // 3)

    def every(k: int) -> int:
        return len(range(0, third, k))

    return {
        "predictions": {"applied": third, "duplicate": every(97), "dead_letter": every(211)},
        "labels": {"applied": third, "duplicate": every(89), "conflict": every(83), "orphan": every(101)},
    }


def produce(
    bootstrap: str, topics: dict[str, str], partitions: int, records: list[tuple[str, int, str, bytes]]
) -> None:
    """Send the story and a closing record to every partition of both topics."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "partitioner": "murmur2"})
    for half, at, key, value in records:
        send(producer, topics[half], key, value, at)
    end = max(at for _, at, _, _ in records) + CLOSING
    for partition in range(partitions):
        event = {"prediction_id": f"end{partition}", "model": "loans", "model_version": "v1", "event_time": end}
        label = {"prediction_id": f"nobody{partition}", "label": "no", "event_time": end}
        producer.produce(topics["predictions"], orjson.dumps(event), partition=partition, timestamp=end)
        producer.produce(topics["labels"], orjson.dumps(label), partition=partition, timestamp=end)
    assert producer.flush(30) == 0


def send(producer: Producer, topic: str, key: str, value: bytes, at: int) -> None:
    """Produce one record, waiting for room in the queue."""
    while True:
        try:
            producer.produce(topic, value, key=key, timestamp=at)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def counted(state: StoredState) -> dict[str, dict[str, int]]:
    """The ledgers of all tasks, added up by half (labels also: waiting)."""
    total: dict[str, dict[str, int]] = {"predictions": {}, "labels": {}}
    for owned in state.tasks.values():
        for half, topic in zip(("predictions", "labels"), owned.task.topics, strict=True):
            for outcome, count in owned.task.outcomes()[topic].items():
                total[half][outcome] = total[half].get(outcome, 0) + count
        total["labels"]["waiting"] = total["labels"].get("waiting", 0) + owned.task.join.waiting
    return total
