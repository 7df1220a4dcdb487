"""Alert and retrain events as plain values: what the oracle expects, and what was published, by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.outbox import payload
from schemas.times import rfc3339
from tests.faults.verifier_log import Raw
from tests.oracle.monitor_alerts import Event
from tests.oracle.monitor_retrain import Request

FAMILIES = ("drift", "quality", "performance", "sequential")
"""Those that the oracle decides itself."""
_KNOWN = {
    "performance": ("p_value", "level", "labels", "coverage", "revision"),
    "sequential": ("reference_value", "threshold"),
}
"""What the oracle knows of the evidence, beside n and value."""


@dataclass
class Payloads:
    """Events by id, and what is wrong: two payloads under one id, or no event at all."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _first: dict[str, bytes] = field(default_factory=dict)

    def add(self, raw: Raw, topic: str) -> None:
        """One more record of a topic."""
        try:
            event = orjson.loads(raw.value or b"")
            name, said = event["id"], payload(raw.value or b"")
        except (orjson.JSONDecodeError, KeyError, TypeError):
            self.wrong.append(f"{topic}: offset {raw.offset} holds no event")
            return
        if self._first.setdefault(name, said) != said:
            self.wrong.append(f"{topic}: two payloads under id {name} ({_about(self.events[name])})")
        self.events.setdefault(name, event)


def by_id(records: Iterable[Raw], topic: str) -> Payloads:
    """The events of a topic."""
    found = Payloads()
    for raw in records:
        found.add(raw, topic)
    return found


def _about(event: Mapping[str, Any]) -> str:
    data = event["data"]
    parts = (
        event["type"].split(".", 2)[-1],
        data.get("model"),
        data.get("kind"),
        event.get("subject"),
        event.get("time"),
    )
    return " ".join(str(p) for p in parts if p)


def expected_alert(e: Event) -> dict[str, Any]:
    """What the oracle knows of an alert's event."""
    d = e.decision
    return {
        "type": f"dev.driftline.alert.{e.transition}.v1",
        "time": rfc3339(d.time),
        "sequence": e.sequence,
        "alert": e.alert_id,
        "kind": d.family,
        "stream": (d.stream.model, d.stream.version, d.stream.variant),
        "subject": d.subject,
        "severity": e.severity,
        "incident": e.incident,
        "window": d.window,
        "windows": e.confirmed_by,
        **{name: value for name, value in d.evidence.items() if value is not None},
    }


def told_alert(event: Mapping[str, Any]) -> dict[str, Any]:
    """The same of what was published."""
    data = event["data"]
    subject, evidence = data["subject"], data["evidence"]
    named = [subject[part] for part in ("feature", "metric") if subject.get(part)]
    known = ["n", "value", *_KNOWN.get(data["kind"], ("p_value", "level"))]
    return {
        "type": event["type"],
        "time": event["time"],
        "sequence": int(event["sequence"]),
        "alert": data["alert_id"],
        "kind": data["kind"],
        "stream": (data["model"], subject["model_version"], subject["variant"]),
        "subject": ":".join(named),
        "severity": data["severity"],
        "incident": data["incident"],
        "window": (data["window"]["start_ms"], data["window"]["end_ms"]),
        "windows": tuple((w["start_ms"], w["end_ms"]) for w in evidence.get("windows", ())),
        **{name: evidence[name] for name in known if evidence.get(name) is not None},
    }


def expected_request(r: Request, offsets: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, Any]:
    """What the oracle knows of a retrain event; ``offsets`` by topic and partition."""
    return {
        "type": f"dev.driftline.retrain.{r.verb}.v1",
        "time": rfc3339(r.time),
        "expires": rfc3339(r.expires),
        "sequence": r.sequence,
        "key": r.key,
        "alerts": r.alerts,
        "range": (r.since, r.decided),
        "offsets": {t: dict(by) for t, by in offsets.items()},
        "labels": r.labels,
        "incident": r.incident,
    }


def told_request(event: Mapping[str, Any]) -> dict[str, Any]:
    """The same of what was published."""
    data = event["data"]
    span = data["training_range"]["event_time"]
    offsets = data["training_range"].get("offsets", {})
    return {
        "type": event["type"],
        "time": event["time"],
        "expires": event["expirytime"],
        "sequence": int(event["sequence"]),
        "key": data["idempotency_key"],
        "alerts": tuple(data["alerts"]),
        "range": (span["start_ms"], span["end_ms"]),
        "offsets": {t: {p: tuple(o) for p, o in by.items()} for t, by in offsets.items()},
        "labels": data["labels_available"],
        "incident": data["incident"],
    }
