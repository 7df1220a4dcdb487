"""The story as it was told: everything that the checks and the final table are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from schemas.times import parse_time
from streams.demo.world import MINUTE

if TYPE_CHECKING:
    from collections import Counter

    from streams.demo.trainer import NewVersion


@dataclass(frozen=True, slots=True)
class Event:
    """One published event, once per id: an alert's transition or a retrain request."""

    id: str
    kind: str
    """The last words of the type: ``alert.opened``, ``retrain.requested``."""
    minute: float
    """The event's time, which is the end of what decided it, in minutes of the story."""
    version: str
    family: str
    name: str
    """The feature or the metric; a request has none."""
    alert_id: str
    summary: str
    data: dict[str, Any]


def read_event(value: bytes, begin_ms: int) -> Event:
    """An event of ``driftline.alerts`` or ``driftline.retrain``, from its bytes."""
    raw = orjson.loads(value)
    data = raw["data"]
    kind = raw["type"].removeprefix("dev.driftline.").removesuffix(".v1")
    subject = data.get("subject", {})
    return Event(
        id=raw["id"],
        kind=kind,
        minute=(parse_time(raw["time"]) - begin_ms) / MINUTE,
        version=subject.get("model_version", data.get("model_version")),
        family=data.get("kind", "retrain"),
        name=subject.get("feature") or subject.get("metric") or "",
        alert_id=data.get("alert_id", ""),
        summary=data.get("summary") or data.get("reason", ""),
        data=data,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """The accuracy of one version in one window, measured by driftline on labelled predictions."""

    version: str
    minute: float
    accuracy: float
    labels: int


@dataclass(slots=True)
class Told:
    """What happened. Ledgers are by topic and outcome; ``waiting`` counts labels that have met no prediction."""

    begin_ms: int
    events: list[Event] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    """Ids that were published with two different payloads."""
    new_version: NewVersion | None = None
    deployed_minute: float | None = None
    reference_accuracy: float = 0.0
    accuracy: list[Measured] = field(default_factory=list)
    sent: dict[str, Counter[str]] = field(default_factory=dict)
    counted: dict[str, Counter[str]] = field(default_factory=dict)
    waiting: int = 0
    scraped: dict[str, int] = field(default_factory=dict)
    """Per topic, what the metrics add up to (waiting labels included)."""
    dead_letters: int = 0
    """Records in the topic of dead letters."""
    removed: int = 0
    """Input records that the embedded Kafka no longer keeps."""

    def opened(self, version: str, *families: str) -> list[Event]:
        """The alerts of a version that were opened, in order of time."""
        found = [e for e in self.events if e.kind == "alert.opened" and e.version == version and e.family in families]
        return sorted(found, key=lambda e: (e.minute, e.family, e.name))

    def of_kind(self, kind: str) -> list[Event]:
        """The events of a kind, in order of time."""
        return sorted((e for e in self.events if e.kind == kind), key=lambda e: (e.minute, e.id))

    def mean_accuracy(self, version: str, first: float, last: float) -> float | None:
        """The accuracy of a version over its windows that begin from minute ``first`` to before ``last``, by labels."""
        found = [m for m in self.accuracy if m.version == version and first <= m.minute < last]
        labels = sum(m.labels for m in found)
        return sum(m.accuracy * m.labels for m in found) / labels if labels else None
