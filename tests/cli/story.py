"""A small model with events for the tests of the command line: a thousand answers in eleven minutes, labels a minute late."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml
from confluent_kafka import Producer

from detectors.reference import Reference

BEGIN = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
EVENTS = 1_000
STEP = 650
"""Milliseconds between two events: the last lies in the second window of ten minutes."""
MINUTE = 60_000


def columns(n: int, seed: int, shift: float = 0.0) -> dict[str, Any]:
    """A table as a reference is built from."""
    rng = np.random.default_rng(seed)
    amount = rng.normal(shift, 1, n)
    truth = amount - shift + rng.normal(0, 0.5, n) > 0
    return {
        "amount": amount,
        "country": rng.choice(["de", "fr", "uk"], n),
        "prediction": np.where(amount - shift > 0, "yes", "no"),
        "label": np.where(truth, "yes", "no"),
    }


def predictions(n: int = EVENTS, shift: float = 0.0) -> list[dict[str, Any]]:
    """Prediction events in the order they happen."""
    table = columns(n, 2, shift)
    return [
        {
            "prediction_id": f"p{i}",
            "model": "loans",
            "model_version": "v1",
            "event_time": BEGIN + i * STEP,
            "features": {"amount": float(table["amount"][i]), "country": str(table["country"][i])},
            "prediction": str(table["prediction"][i]),
        }
        for i in range(n)
    ]


def labels(n: int = EVENTS, shift: float = 0.0) -> list[dict[str, Any]]:
    """Their labels, a minute late."""
    table = columns(n, 2, shift)
    return [
        {"prediction_id": f"p{i}", "label": str(table["label"][i]), "event_time": BEGIN + i * STEP + MINUTE}
        for i in range(n)
    ]


@dataclass
class Setting:
    """What a test changes of monitor.yaml."""

    bootstrap: str = "127.0.0.1:1"
    redis: str = "redis://127.0.0.1:1/0"
    topics: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)


def write_config(folder: Path, setting: Setting | None = None) -> Path:
    """Write monitor.yaml and its reference; returns the path. Without a setting, nobody listens where it points to."""
    setting = setting or Setting()
    reference = folder / "reference.json"
    if not reference.exists():
        Reference.build(columns(2_000, 1), task="binary", positive_class="yes").save(reference)
    model = {
        "task": "binary",
        "positive_class": "yes",
        "reference": "reference.json",
        "windows": {"size": "10m", "pane": "1m", "lateness": "30s", "idle": "60s"},
        "labels": {"maturity": "5m", "horizon": "30m"},
        **setting.model,
    }
    raw = {
        "kafka": {"bootstrap.servers": setting.bootstrap},
        "redis": {"url": setting.redis},
        "topics": setting.topics,
        "http": {"port": 0},
        "commit_interval": "200ms",
        "models": {"loans": model},
    }
    path = folder / "monitor.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def produce(bootstrap: str, topic: str, events: list[dict[str, Any]], partitions: int) -> None:
    """Send events with their event time as record time; one id goes to one partition."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for event in events:
        producer.produce(
            topic,
            orjson.dumps(event),
            key=event["prediction_id"],
            partition=zlib.crc32(event["prediction_id"].encode()) % partitions,
            timestamp=event["event_time"],
        )
    assert producer.flush(20) == 0
