"""The pipeline that subscribes to retrain requests: reads the suggested range, trains, publishes, acknowledges.

The steps, in an order that survives being repeated: (1) say that it has begun; (2) read predictions and labels at the
suggested offsets and keep those in the suggested event time; (3) train on the older part, make the reference from the newer
part; (4) publish the reference, before the first prediction of the new version; (5) say that it has succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from confluent_kafka import Producer

from schemas.alerts import RetrainEvent
from schemas.control import RetrainStarted, RetrainSucceeded
from schemas.errors import BehindLogStart
from schemas.identifiers import CONTROL, LABELS, PREDICTIONS
from streams.demo.service import MODEL, make_reference, train
from streams.demo.subscriber import QUIET, Subscriber

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.demo.world import Features
    from streams.edges.redis_store import RedisStore

REQUESTED = "dev.driftline.retrain.requested.v1"
_TRAINED_SHARE = 0.6
"""The older part of the rows is learned from; the newer part makes the reference, on answers to rows not learned from."""
_FLUSH_S = 20.0


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What came of a request: a classifier that may be deployed."""

    version: str
    classifier: Any
    rows: int
    accuracy: float
    request: RetrainEvent


class Trainer:
    """Acts once per idempotency key."""

    def __init__(self, bootstrap: str, store: RedisStore) -> None:
        """Connect; ``store`` is where references are published."""
        self._bootstrap, self._store = bootstrap, store
        self._producer: Any = Producer({"bootstrap.servers": bootstrap, "log_level": QUIET, "enable.idempotence": True})
        self._done: set[str] = set()

    def act(self, event: bytes) -> NewVersion | None:
        """Train what an event of the retrain topic asks for; None when it asks for nothing, or for what is done.

        Raises BehindLogStart when Kafka no longer has the training range.
        """
        if orjson.loads(event)["type"] != REQUESTED:
            return None
        request = msgspec.json.decode(event, type=RetrainEvent)
        key = request.data.idempotency_key
        if key in self._done:
            return None
        self._done.add(key)
        self._tell(RetrainStarted(model=MODEL, request=key, by="demo"))
        rows = self.rows(request)
        cut = round(len(rows) * _TRAINED_SHARE)
        classifier = train(rows[:cut])
        reference = make_reference(classifier, rows[cut:])
        version = f"v{len(self._done) + 1}"
        self._store.publish_reference(reference.content_hash, reference.to_json(), MODEL, version)
        self._tell(RetrainSucceeded(model=MODEL, request=key, by="demo", model_version=version))
        good = sum(classifier.predict_one(features) == decision for features, decision in rows[cut:])
        return NewVersion(version, classifier, len(rows), good / len(rows[cut:]), request)

    def rows(self, request: RetrainEvent) -> list[tuple[Features, str]]:
        """The labelled applications of the suggested range, in the order of event time."""
        span = request.data.training_range.event_time
        found: dict[str, tuple[int, Features]] = {}
        for event in self._events(request, PREDICTIONS):
            if event.get("model") == MODEL and span.start_ms <= event["event_time"] < span.end_ms:
                found.setdefault(event["prediction_id"], (event["event_time"], event["features"]))
        labels: dict[str, str] = {}
        for event in self._events(request, LABELS):
            labels.setdefault(event["prediction_id"], event["label"])
        rows = sorted((at, name) for name, (at, _) in found.items() if name in labels)
        if not rows:
            what = f"the suggested range {span.start} to {span.end} holds no labelled prediction any more"
            raise BehindLogStart(what, "retrain earlier, or raise the topics' retention")
        return [(found[name][1], labels[name]) for _, name in rows]

    def _events(self, request: RetrainEvent, topic: str) -> Iterable[dict[str, Any]]:
        subscriber = Subscriber(self._bootstrap, topic)
        try:
            offsets = request.data.training_range.offsets[topic]
            for value in subscriber.between({int(p): span for p, span in offsets.items()}):
                try:
                    event = orjson.loads(value)
                except orjson.JSONDecodeError:  # what driftline sends to the dead letters is no training data either
                    continue
                yield event
        finally:
            subscriber.close()

    def _tell(self, command: RetrainStarted | RetrainSucceeded) -> None:
        self._producer.produce(CONTROL, msgspec.json.encode(command), key=MODEL)
        self._producer.flush(_FLUSH_S)
