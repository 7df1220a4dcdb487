"""Payments that a made-up model checks for fraud: something to try driftline with.

- `python payments.py history` writes history.csv: 20,000 payments with answer, score and label, for the reference.
- `python payments.py traffic` sends three hours of payments up to now; in the last hour the amounts are twice as high.
"""  # noqa: INP001  # a script beside the product, not a package

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

HISTORY = 20_000
STEP_MS = 2_000
HOUR_MS = 3_600_000
LABEL_DELAY_MS = 300_000
"""The truth about a payment is known after five minutes here, to keep the example short; in life it takes weeks."""


def payment(rng: np.random.Generator, factor: float) -> dict[str, object]:
    """Return what the model saw, answered and should have answered; amounts are `factor` times the usual ones."""
    amount = factor * rng.lognormal(3.5, 0.6)
    account_days = rng.exponential(400)
    country = str(rng.choice(["de", "fr", "uk"], p=[0.6, 0.3, 0.1]))
    score = 1 / (1 + np.exp(2.0 - amount / 40 + account_days / 400))
    answer, truth = ("fraud" if yes else "fine" for yes in (score >= 0.5, rng.random() < score))  # noqa: PLR2004
    features = {"amount": round(amount, 2), "account_days": round(account_days, 1), "country": country}
    return {**features, "prediction": answer, "score": round(float(score), 4), "label": truth}


def history(path: Path) -> None:
    """Write the payments that the model was tested on."""
    rng = np.random.default_rng(1)
    rows = [payment(rng, 1.0) for _ in range(HISTORY)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def traffic(bootstrap: str, predictions: str, labels: str) -> None:
    """Send predictions and labels, each with the time when it would have been sent."""
    rng, producer = np.random.default_rng(2), Producer({"bootstrap.servers": bootstrap, "linger.ms": 50})
    now = time.time_ns() // 1_000_000
    for at in range(now - 3 * HOUR_MS, now, STEP_MS):
        row = payment(rng, 2.0 if at >= now - HOUR_MS else 1.0)
        label, answer, score = row.pop("label"), row.pop("prediction"), row.pop("score")
        event = {"prediction_id": f"example-{at}", "model": "fraud", "model_version": "v1", "event_time": at}
        event |= {"features": row, "prediction": answer, "score": score}
        producer.produce(predictions, json.dumps(event), key=f"example-{at}", timestamp=at)
        known = at + LABEL_DELAY_MS
        if known <= now:
            truth = {"prediction_id": f"example-{at}", "label": label, "event_time": known}
            producer.produce(labels, json.dumps(truth), key=f"example-{at}", timestamp=known)
    producer.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["history", "traffic"])
    parser.add_argument("--bootstrap", default="localhost:9092")
    parser.add_argument("--predictions", default="predictions")
    parser.add_argument("--labels", default="labels")
    given = parser.parse_args()
    if given.what == "history":
        history(Path("history.csv"))
    else:
        traffic(given.bootstrap, given.predictions, given.labels)
