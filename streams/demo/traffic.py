"""What goes into Kafka: predictions, labels as they become known, and the mess that real producers make.

Every record is made together with the outcome that driftline must count it under, which is what P1 is checked against.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from schemas.identifiers import LABELS, PREDICTIONS
from streams.demo.service import MODEL
from streams.demo.world import APPROVE, DECLINE, MINUTE

if TYPE_CHECKING:
    from streams.demo.service import ScoringService
    from streams.demo.world import Application, World

NOBODYS: Final = "orphan or waiting"
"""Labels of no prediction: they wait, and are orphans once their horizon is over."""
_LATE_MS: Final = 45 * MINUTE
"""How far behind a late prediction is: its window was evaluated long ago."""

# One application in so many, beginning with that one. A label is never both repeated and contradicted: the first of the two
# would decide how the second is counted.
_REPEATED, _BROKEN, _UNKNOWN, _LATE = (500, 7), (900, 11), (700, 13), (1000, 17)
_LABEL_REPEATED, _LABEL_CONFLICT, _LABEL_NOBODYS, _LABEL_BROKEN = (600, 19), (800, 23), (1000, 29), (1500, 31)


class Record(NamedTuple):
    """One record to produce. The key is the prediction's id, so that both halves land on the same partition number."""

    topic: str
    key: str
    value: bytes


class Traffic:
    """Turns applications into records, minute by minute. ``sent`` counts them by topic and expected outcome."""

    def __init__(self, world: World, service: ScoringService) -> None:
        """Begin at the world's minute 0."""
        self._world, self._service = world, service
        self._undecided: list[tuple[int, int, Application]] = []
        self.sent: dict[str, Counter[str]] = {PREDICTIONS: Counter(), LABELS: Counter()}

    def minutes(self, first: int, last: int) -> list[Record]:
        """The records from minute ``first`` (in) to ``last`` (out), in the order of event time."""
        records: list[Record] = []
        for application in self._world.minutes(first, last):
            self._decisions(records, application.at_ms)
            self._application(records, application)
            heapq.heappush(self._undecided, (application.decided_ms, application.number, application))
        self._decisions(records, self._world.begin_ms + last * MINUTE)
        return records

    def _put(self, records: list[Record], topic: str, key: str, event: dict[str, object] | bytes, outcome: str) -> None:
        value = event if isinstance(event, bytes) else orjson.dumps(event)
        records.append(Record(topic, key, value))
        self.sent[topic][outcome] += 1

    def _application(self, records: list[Record], application: Application) -> None:
        number = application.number
        key = f"application-{number}"
        prediction, score = self._service.answer(application.features)
        event: dict[str, object] = {
            "prediction_id": key,
            "model": MODEL,
            "model_version": self._service.version,
            "event_time": application.at_ms,
            "features": application.features,
            "prediction": prediction,
            "score": score,
        }
        self._put(records, PREDICTIONS, key, event, "applied")
        if _among(_REPEATED, number):
            self._put(records, PREDICTIONS, key, event, "duplicate")
        if _among(_BROKEN, number):
            self._put(records, PREDICTIONS, f"broken-{number}", b'{"prediction_id": "broken', "dead_letter")
        if _among(_UNKNOWN, number):
            other = event | {"prediction_id": f"card-{number}", "model": "credit-cards"}
            self._put(records, PREDICTIONS, f"card-{number}", other, "unknown_model")
        late_ms = application.at_ms - _LATE_MS
        if _among(_LATE, number) and late_ms >= self._world.begin_ms:
            other = event | {"prediction_id": f"late-{number}", "event_time": late_ms}
            self._put(records, PREDICTIONS, f"late-{number}", other, "late")

    def _decisions(self, records: list[Record], until_ms: int) -> None:
        """The labels that have become known before ``until_ms``."""
        while self._undecided and self._undecided[0][0] < until_ms:
            at_ms, number, application = heapq.heappop(self._undecided)
            key = f"application-{number}"
            event: dict[str, object] = {"prediction_id": key, "label": application.decision, "event_time": at_ms}
            self._put(records, LABELS, key, event, "applied")
            if _among(_LABEL_REPEATED, number):
                self._put(records, LABELS, key, event, "duplicate")
            if _among(_LABEL_CONFLICT, number):
                opposite = DECLINE if application.decision == APPROVE else APPROVE
                self._put(records, LABELS, key, event | {"label": opposite}, "conflict")
            if _among(_LABEL_NOBODYS, number):
                self._put(records, LABELS, f"paper-{number}", event | {"prediction_id": f"paper-{number}"}, NOBODYS)
            if _among(_LABEL_BROKEN, number):
                self._put(records, LABELS, f"broken-{number}", b'{"label": ', "dead_letter")


def _among(every: tuple[int, int], number: int) -> bool:
    period, offset = every
    return number % period == offset
