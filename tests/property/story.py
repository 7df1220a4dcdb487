"""A story for whole hosts: two partitions, two models and a feature set; drift, late labels, a repeat here and there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from detectors.reference import Reference
from schemas.config import Alerts, Config, FeatureSetConfig, Labels, ModelConfig, Retrain, Windows
from streams.logfile import Record

if TYPE_CHECKING:
    from pathlib import Path

Family = Literal["drift", "performance", "sequential"]

BEGIN = 1_767_225_600_000
STEP = 50
"""Between two predictions, ms."""
SECOND = 1000
PARTITIONS = 2


def config(folder: Path, families: tuple[Family, ...] = ("drift", "performance", "sequential")) -> Config:
    """The configuration, with its reference written to ``folder``; alerts of ``families`` cause a request."""
    path = folder / "reference.json"
    Reference.build(_rows(np.random.default_rng(1), 4000, 0.0, 0.1), task="binary", positive_class="yes").save(path)
    windows = Windows(pane=2 * SECOND, size=10 * SECOND, lateness=SECOND, idle=5 * SECOND)
    model = ModelConfig(
        task="binary",
        positive_class="yes",
        reference=path,
        windows=windows,
        labels=Labels(maturity=20 * SECOND, horizon=60 * SECOND),
        alerts=Alerts(false_alarms="1 per 1h", cooldown=0),
        retrain=Retrain(
            on=families, min_labels=100, approval="none", cooldown=40 * SECOND, expires=60 * SECOND, max_per_day=50
        ),
    )
    features = FeatureSetConfig(reference=path, windows=windows, alerts=Alerts(false_alarms="1 per 1h", cooldown=0))
    return Config(
        commit_interval=1,
        models={"loans": model, "late-comer": model},
        feature_sets={"customers": features},
        future=SECOND,
    )


def _rows(rng: np.random.Generator, n: int, shift: float, error: float) -> dict[str, Any]:
    a = rng.normal(shift, 1, n)
    truth = a - shift > 0
    answer = np.where(rng.random(n) < error, ~truth, truth)
    return {
        "a": a,
        "c": rng.choice(["de", "fr", "uk"], n),
        "prediction": np.where(answer, "yes", "no"),
        "score": np.where(answer, 0.8, 0.2),
        "label": np.where(truth, "yes", "no"),
    }


def records(seed: int, n: int = 4000) -> dict[tuple[str, int], list[Record]]:
    """The three input topics: drift of ``a`` in the second third, a worse error rate in the last."""
    rng = np.random.default_rng(seed)
    parts: dict[tuple[str, int], list[tuple[int, dict[str, Any]]]] = {
        (topic, p): [] for topic in ("predictions", "labels", "features") for p in range(PARTITIONS)
    }
    for third in range(3):
        rows = _rows(rng, n // 3, 1.5 if third else 0.0, 0.45 if third == 2 else 0.1)
        for i in range(n // 3):
            k = third * (n // 3) + i
            time = BEGIN + k * STEP
            # One partition falls silent for a while, and the other model is seen on one partition only, and late.
            partition = 0 if n // 2 < k < n // 2 + 400 else k % PARTITIONS
            model = "late-comer" if third and partition and k % 5 == 0 else "loans"
            event = {
                "prediction_id": f"p{k}",
                "model": model,
                "model_version": "v2" if third == 2 and k % 3 == 0 else "v1",
                "event_time": time - int(rng.integers(0, 1500)),
                "features": {"a": float(rows["a"][i]), "c": str(rows["c"][i])},
                "prediction": str(rows["prediction"][i]),
                "score": float(rows["score"][i]),
            }
            label = {"prediction_id": f"p{k}", "label": str(rows["label"][i])}
            for _ in range(2 if k % 50 == 0 else 1):
                parts["predictions", partition].append((time, event))
                parts["labels", partition].append((time + int(rng.integers(0, 30)) * SECOND, label))
            if k % 4 == 0:
                seen = {
                    "feature_set": "customers",
                    "entity_id": f"e{k}",
                    "event_time": time,
                    "features": event["features"],
                }
                parts["features", partition].append((time, seen))
    out: dict[tuple[str, int], list[Record]] = {}
    for (topic, p), rows_of in parts.items():
        rows_of.sort(key=lambda row: row[0])
        out[topic, p] = [
            Record(topic, p, offset, time, value=json.dumps(said).encode())
            for offset, (time, said) in enumerate(rows_of)
        ]
    return out
