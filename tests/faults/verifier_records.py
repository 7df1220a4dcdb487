"""What one record of the inputs is, from docs/reference/events.md and with a JSON parser of its own: sound, or a dead letter."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from detectors.reference import Reference
from tests.faults.verifier_log import Raw
from tests.oracle.join_oracle import Label, Prediction
from tests.oracle.slots import slot

FIRST_TIME, LAST_TIME = 0, 7_289_654_400_000
"""1970 and 2201: what lies outside is no event time."""
VARIANTS = {"champion", "challenger", "canary", "shadow"}
LONGEST_VERSION = 256

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_NUMBER = (int, float)
_SCALAR = (int, float, str, bool, type(None))


class BadError(Exception):
    """The record is a dead letter."""


@dataclass(frozen=True)
class Seen(Prediction):
    """A prediction with the slots of its values, one 16-bit number for each subject, in place of the values."""

    slots: bytes = b""


class Slots:
    """The slot of every value of a reference's subjects, in one long vector: subject after subject."""

    def __init__(self, reference: Reference) -> None:
        self.width = sum(s.width for s in reference.subjects)
        self._known: dict[tuple[int, type, Any], int] = {}
        self._subjects: list[tuple[int, Any, list[float] | None, str, bool]] = []
        base = 0
        for i, s in enumerate(reference.subjects):
            edges = s.edges.tolist() if s.numeric else None
            self._subjects.append((base, s, edges, s.name, i < len(reference.features)))
            base += s.width

    def of(self, event: Mapping[str, Any]) -> bytes:
        """The slots of one event."""
        features = event.get("features") or {}
        found = bytearray()
        for at, (base, subject, edges, name, feature) in enumerate(self._subjects):
            value = features.get(name) if feature else event.get(name)
            if edges is not None and type(value) is float:
                place = bisect_right(edges, value)  # how many edges are not above it
            else:
                key = (at, type(value), value if isinstance(value, _SCALAR) else None)
                place = self._known.get(key, -1)
                if place < 0:
                    odd = isinstance(value, (list, dict))
                    place = self._known[key] = subject.width - 1 if odd else slot(subject, value)
            found += (base + place).to_bytes(2, "little")
        return bytes(found)


def prediction(raw: Raw, slots: Mapping[str, Slots]) -> Seen:
    """A record of the predictions topic."""
    try:
        return _prediction(raw, slots)
    except BadError:
        return Seen(raw.offset, raw.time, readable=False)


def _prediction(raw: Raw, slots: Mapping[str, Slots]) -> Seen:
    event = _object(raw.value)
    name, model, version = (_text(event, key) for key in ("prediction_id", "model", "model_version"))
    if len(version) > LONGEST_VERSION:
        raise BadError
    _kinds(event)
    at = event.get("event_time")
    if isinstance(at, bool) or not isinstance(at, (int, str)):
        raise BadError
    if model not in slots:
        return Seen(raw.offset, raw.time, id=name, model=model, version=version)
    score = event.get("score")
    return Seen(
        raw.offset,
        raw.time,
        id=name,
        model=model,
        version=version,
        variant=event.get("variant", "champion"),
        event_time=_time(at),
        prediction=event.get("prediction"),
        score=None if score is None else float(score),
        slots=slots[model].of(event),
    )


def label(raw: Raw, models: set[str]) -> Label:
    """A record of the labels topic."""
    try:
        return _label(raw, models)
    except BadError:
        return Label(raw.offset, raw.time, readable=False)


def _label(raw: Raw, models: set[str]) -> Label:
    event = _object(raw.value)
    name = _text(event, "prediction_id")
    truth, about, at = (event.get(key) for key in ("label", "model", "event_time"))
    if not isinstance(truth, (str, int, float)) or isinstance(at, (bool, float, list, dict)):
        raise BadError
    if about is not None:
        _text(event, "model")
    _optional(event, "value", _NUMBER)
    if about is not None and about not in models:
        return Label(raw.offset, raw.time, id=name, model=about)
    time = None if at is None else _time(at)
    return Label(raw.offset, raw.time, id=name, label=truth, event_time=time, model=about)


def _object(value: bytes | None) -> dict[str, Any]:
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        raise BadError from None
    if not isinstance(found, dict):
        raise BadError
    return found


def _text(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str) or not value:
        raise BadError
    return value


def _optional(event: Mapping[str, Any], key: str, kinds: tuple[type, ...]) -> None:
    value = event.get(key)
    if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        raise BadError


def _kinds(event: Mapping[str, Any]) -> None:
    """The types of what need not be there."""
    for key in ("score", "latency_ms", "value"):
        _optional(event, key, _NUMBER)
    _optional(event, "prediction", _SCALAR)
    _optional(event, "request_id", (str,))
    for key, values in (("features", None), ("scores", _NUMBER), ("segments", (str,))):
        found = event.get(key)
        if found is None and (key not in event or key == "scores"):
            continue
        if not isinstance(found, dict):
            raise BadError
        for name in found if values else ():
            _optional(found, name, values or ())
    if event.get("status", "ok") not in {"ok", "error"} or event.get("variant", "champion") not in VARIANTS:
        raise BadError


def _time(value: int | str) -> int:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            raise BadError from None
        if moment.tzinfo is None:
            raise BadError
        value = (moment - _EPOCH) // _MILLISECOND
    if not FIRST_TIME <= value < LAST_TIME:
        raise BadError
    return value
