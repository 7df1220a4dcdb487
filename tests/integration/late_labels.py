"""Traffic whose truth comes one to thirty days late: predictions of forty days, labels of seventy, made from a seed.

Every record goes to the partition that crc32 of its key names, and its time stamp is the moment it was sent at. Ids are
chosen so that the last partition stays empty: until it is heard of nobody may evaluate a window, so that whatever was
counted can still be looked at.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from confluent_kafka import Producer

from detectors.reference import Reference
from schemas import config as configuration
from schemas.config import Config
from tests.oracle.late_labels import SCORE_UNITS, Label, Prediction, Rules

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
BEGIN = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
SPAN = 40 * DAY
END = BEGIN + 300 * DAY
"""Of the closing records: more than two horizons after the last label, so that all that can age out has."""
PARTITIONS = 4
BUSY = PARTITIONS - 1
RULES = Rules(frozenset({"loans", "cards"}), HOUR, 6 * HOUR, 60 * SECOND, 10 * DAY, 28 * DAY)
_IN_FLIGHT = 200_000
"""Records that the producer holds at most: some 100 MB."""
BATCH = 10_000


@dataclass(slots=True)
class Traffic:
    """All records by partition, each list in the order in which it is sent."""

    predictions: list[list[Prediction]]
    labels: list[list[Label]]

    def __len__(self) -> int:
        """How many records there are."""
        return sum(map(len, self.predictions)) + sum(map(len, self.labels))


def partition_of(key: str) -> int:
    """Where librdkafka's partitioner ``consistent`` puts a key."""
    return zlib.crc32(key.encode()) % PARTITIONS


def traffic(cases: int, seed: int = 5) -> Traffic:
    """``cases`` ids, most of them one prediction and one label, and every way in which they may be untidy."""
    rng = np.random.default_rng(seed)
    names = _names(cases)
    base = BEGIN + np.arange(cases, dtype=np.int64) * SPAN // cases
    truth, score = _answers(rng, cases)
    cards = rng.random(cases) < 0.3
    jitter = np.where(rng.random(cases) < 0.1, rng.integers(0, 20 * SECOND, cases), 0)
    lot = rng.random(cases)  # of the prediction
    # Of 1,000 ids 20 are answered by a shadow too, 20 by both models, 20 predictions come twice, 2 are late, 1 is from the
    # future, 1 of an unknown model, 1 broken.
    made = Traffic([[] for _ in range(PARTITIONS)], [[] for _ in range(PARTITIONS)])
    rows = zip(names, base.tolist(), jitter.tolist(), score.tolist(), cards.tolist(), lot.tolist(), strict=True)
    for key, at, behind, s, is_card, chance in rows:
        out = made.predictions[partition_of(key)]
        model = "cards" if is_card else "loans"
        p = Prediction(key, model, "v1", "champion", at - behind, at, int(2 * s >= SCORE_UNITS), s)
        if chance < 0.005:
            if chance < 0.002:
                p = p._replace(event_time=at - 2 * DAY)
            elif chance < 0.003:
                p = p._replace(event_time=at + HOUR)
            elif chance < 0.004:
                p = p._replace(model="nobody")
            else:
                p = p._replace(model=None)
            out.append(p)
            continue
        out.append(p)
        if chance < 0.025:
            other = SCORE_UNITS - s
            out.append(p._replace(version="v2", variant="shadow", answer=int(2 * other >= SCORE_UNITS), score=other))
        elif chance < 0.045:
            out.append(p._replace(model="loans" if is_card else "cards", answer=1 - p.answer))
        elif chance < 0.065:
            out.append(p)
    _add_labels(made, rng, names, base, truth, np.where(cards, "cards", "loans"))
    for partition in range(PARTITIONS):
        predictions, labels = closing(partition)
        made.predictions[partition] += predictions
        made.labels[partition] += labels
    return made


def _names(cases: int) -> list[str]:
    """Ids, none of which belongs to the last partition."""
    found: list[str] = []
    number = 0
    while len(found) < cases:
        candidates = [f"{i:x}" for i in range(number, number + 2 * cases)]
        found += [c for c in candidates if partition_of(c) < BUSY]
        number += 2 * cases
    return found[:cases]


def _answers(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth (0 or 1) and score (128ths)."""
    truth = (rng.random(n) < 0.3).astype(np.int64)
    score = np.clip(np.rint(SCORE_UNITS * (0.3 + 0.4 * truth + rng.normal(0, 0.2, n))), 0, SCORE_UNITS)
    return truth, score.astype(np.int64)


def _add_labels(
    made: Traffic, rng: np.random.Generator, names: list[str], base: np.ndarray, truth: np.ndarray, model: np.ndarray
) -> None:
    """Labels in the order in which they are sent, which is nearly that of their times."""
    n = len(names)
    delay = rng.integers(DAY, 30 * DAY, n)
    delay = np.where(rng.random(n) < 0.02, -rng.integers(0, 2 * DAY, n), delay)  # known before it was predicted
    known = base + delay
    lot = rng.random(n)  # of the label
    scope = np.where(rng.random(n) < 0.5, model, "")
    held_up = np.where(rng.random(n) < 0.02, rng.integers(HOUR, 3 * DAY, n), 0)
    timed = rng.random(n) < 0.9
    again = rng.random(n)
    later = known + held_up + rng.integers(HOUR, 2 * DAY, n)
    records: list[Label] = []
    columns = (known, held_up, truth, scope, timed, lot, again, later)
    for i, (at, behind, actual, named, has_time, chance, repeat, then) in enumerate(
        zip(*(c.tolist() for c in columns), strict=True)
    ):
        if chance < 0.15:  # never comes
            continue
        label = Label(names[i], named, at if has_time or behind else None, at + behind, actual)
        if chance < 0.154:
            if chance < 0.151:
                label = label._replace(event_time=at + behind + HOUR)
            elif chance < 0.152:
                label = label._replace(model="nobody")
            elif chance < 0.153:
                label = label._replace(model=None)
            else:
                label = label._replace(key=_stranger(label.key))
            records.append(label)
            continue
        records.append(label)
        if repeat < 0.06:  # the same again, or another truth; the second may name the model where the first did not
            wrong = actual if repeat < 0.03 else 1 - actual
            who = str(model[i]) if repeat < 0.01 else named
            records.append(Label(label.key, who, None, then, wrong))
        elif repeat < 0.08:
            records.append(label._replace(key=_stranger(label.key)))
    records.sort(key=lambda r: r.record_time)
    for label in records:
        made.labels[partition_of(label.key)].append(label)


def _stranger(key: str) -> str:
    """An id that nobody predicted, of a partition that is not empty."""
    number = 0
    while partition_of(f"{key}-{number}") >= BUSY:
        number += 1
    return f"{key}-{number}"


def closing(partition: int) -> tuple[list[Prediction], list[Label]]:
    """The last records of a partition: every clock that there is moves to `END`."""
    models = sorted(RULES.models)
    predictions = [Prediction(f"end{partition}", m, "v1", "champion", END, END, 0, 0) for m in models]
    return predictions, [Label(f"last{partition}{m}", m, END, END, 0) for m in ("", *models)]


# -- as records of Kafka ----------------------------------------------------------------------------------------------


def prediction_json(p: Prediction) -> str:
    """The event; scores are exact in a float32 too."""
    if p.model is None:
        return '{"prediction_id":'
    answer = "yes" if p.answer else "no"
    return (
        f'{{"prediction_id":"{p.key}","model":"{p.model}","model_version":"{p.version}","variant":"{p.variant}",'
        f'"event_time":{p.event_time},"prediction":"{answer}","score":{p.score / SCORE_UNITS},'
        f'"features":{{"amount":{p.score % 10}}}}}'
    )


def label_json(label: Label) -> str:
    """The event."""
    if label.model is None:
        return '{"label":'
    named = f'"model":"{label.model}",' if label.model else ""
    timed = "" if label.event_time is None else f'"event_time":{label.event_time},'
    return f'{{{named}{timed}"prediction_id":"{label.key}","label":"{"yes" if label.truth else "no"}"}}'


Batch = tuple[str, int, list[tuple[str, str, int]]]
"""(topic, partition, records as key, value, record time)."""


def batches(made: Traffic, topics: dict[str, str], partitions: Iterable[int]) -> Iterator[Batch]:
    """All records of some partitions: topics and partitions in turn, so that none is far ahead of the others."""
    most = max(len(records) for half in (made.predictions, made.labels) for records in half)
    for first in range(0, most, BATCH):
        part = slice(first, first + BATCH)
        for p in partitions:
            predictions, labels = made.predictions[p][part], made.labels[p][part]
            yield topics["predictions"], p, [(r.key, prediction_json(r), r.record_time) for r in predictions]
            yield topics["labels"], p, [(r.key, label_json(r), r.record_time) for r in labels]


def produce(bootstrap: str, records: Iterable[Batch]) -> None:
    """Send batches and wait until the broker has them."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 2 * _IN_FLIGHT}
    )
    for topic, partition, batch in records:
        while len(producer) > _IN_FLIGHT:
            producer.poll(0.05)
        for key, value, at in batch:
            producer.produce(topic, value, key, partition, timestamp=at)
        producer.poll(0)
    assert producer.flush(60) == 0, "the broker did not take all records within a minute"


def write_config(folder: Path, bootstrap: str, redis_url: str, topics: dict[str, str], member: str) -> Config:
    """A monitor.yaml for a worker with a static membership, which may return at once after a kill; returns it loaded."""
    rng = np.random.default_rng(1)
    truth, score = _answers(rng, 5_000)
    words = np.array(["no", "yes"])
    answers = words[(2 * score >= SCORE_UNITS).astype(int)]
    table = {"amount": score % 10, "score": score / SCORE_UNITS, "prediction": answers, "label": words[truth]}
    folder.mkdir(exist_ok=True)
    Reference.build(table, task="binary", positive_class="yes").save(folder / "reference.json")
    model = {
        "task": "binary",
        "positive_class": "yes",
        "reference": "reference.json",
        # The records are old by the wall clock, which must not move anything on.
        "windows": {"size": "6h", "pane": "1h", "lateness": "60s", "idle": "3000d"},
        "labels": {"maturity": "10d", "horizon": "28d"},
    }
    kafka = {"bootstrap.servers": bootstrap, "session.timeout.ms": 6000, "group.instance.id": member}
    raw = {
        "group": "late-labels",  # of its own: other tests let Kafka forget theirs
        "kafka": kafka,
        "redis": {"url": redis_url},
        "topics": topics,
        "http": {"port": 0},
        "models": {name: dict(model) for name in sorted(RULES.models)},
    }
    path = folder / "monitor.yaml"
    path.write_text(yaml.safe_dump(raw))
    return configuration.load(path)
