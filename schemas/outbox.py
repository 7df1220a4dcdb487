"""From an output event to the bytes that Kafka gets: canonical JSON, at most 64 KiB, and CloudEvents headers.

The same event gives the same bytes (P3): keys are sorted, floats are written in their shortest form, and what does
not fit is cut by fixed rules. `encode` never fails for want of room; it goes through the steps of `_STEPS` until the
value fits, and sets `evidence.trimmed`:

1. lists in `data` keep their first 1,000, 200, 50, 10 items, texts in `data` their first 8,192, 4,096, 2,048, 1,024
   characters (lists stand in order of importance);
2. the offsets of the training range are left out as a whole, because half of them would name half of the data: the
   span of event time still names it all;
3. lists are emptied, texts cut to 256 and then 64 characters, maps to their first 32 keys.

Ids and the model's name are never cut: `schemas.identifiers` and `schemas.config` keep them short. The attributes of
the envelope always keep at most 1,024 characters.
"""

from typing import Final

import msgspec
import orjson

from schemas.alerts import AlertEvent, RetrainEvent
from schemas.identifiers import ALERTS, RETRAIN

MAX_BYTES: Final = 64 * 1024
"""What DESIGN §3 promises to subscribers; CloudEvents asks intermediaries to forward at least this much."""

CONTENT_TYPE: Final = b"application/cloudevents+json; charset=UTF-8"
"""Says structured mode, by the Kafka protocol binding of CloudEvents."""

# datacontenttype is not repeated: in headers it is called content-type, and that one tells the mode.
_HEADER_ATTRIBUTES: Final = (
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "sequence",
    "recordedtime",
    "expirytime",
)

_UNCUT: Final = frozenset({"alert_id", "idempotency_key", "incident", "model"})

# Never below the fields of the widest struct (Evidence), whose names must all stay.
_MIN_KEYS: Final = 32

_NO_LIMIT: Final = 1 << 62


class _Step(msgspec.Struct, frozen=True):
    """One rung of the ladder: how many items of a list, characters of a text, keys of a map stay."""

    items: int
    characters: int
    keys: int = _NO_LIMIT
    offsets: bool = True


_NO_CUT: Final = _Step(_NO_LIMIT, _NO_LIMIT)

_STEPS: Final = (
    _Step(1000, 8192),
    _Step(200, 4096),
    _Step(50, 2048),
    _Step(10, 1024),
    _Step(10, 1024, offsets=False),
    _Step(0, 256, _MIN_KEYS, offsets=False),
    _Step(0, 64, _MIN_KEYS, offsets=False),
)


# The subject holds a version and a feature name, which producers choose; headers should stay readable.
_ENVELOPE: Final = _Step(_NO_LIMIT, 1024)


class OutboxEvent(msgspec.Struct, frozen=True):
    """One record that waits to be published: everything the producer needs."""

    event_id: str
    """The CloudEvents id; equal ids mean the same event."""
    topic: str
    key: bytes
    """The model's name, UTF-8."""
    value: bytes
    headers: list[tuple[str, bytes]]


def encode(event: AlertEvent | RetrainEvent, topic: str | None = None) -> OutboxEvent:
    """Return the record for `event`; `topic` is the configured name, else the default one of its kind.

    Integers must lie within 64 bits; NaN and infinity become null; lone surrogates become "?".
    """
    default_topic = ALERTS if isinstance(event, AlertEvent) else RETRAIN
    whole: dict[str, object] = msgspec.to_builtins(event)
    envelope = {name: _cut(value, _ENVELOPE) for name, value in whole.items() if name != "data"}
    headers = [("content-type", CONTENT_TYPE)]
    headers += [(f"ce_{name}", str(envelope[name]).encode()) for name in _HEADER_ATTRIBUTES if name in envelope]
    return OutboxEvent(
        event_id=event.id,
        topic=default_topic if topic is None else topic,
        key=event.data.model.encode("utf-8", "replace"),
        value=_fitting(envelope, whole["data"]),
        headers=headers,
    )


def payload(value: bytes) -> bytes:
    """Return the canonical bytes of an encoded event without `recordedtime`.

    Two events with one id must be equal in this (P3).

    Raises:
        orjson.JSONDecodeError: `value` is not JSON.
    """
    event = orjson.loads(value)
    event.pop("recordedtime", None)
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def _fitting(envelope: dict[str, object], data: object) -> bytes:
    value = orjson.dumps({**envelope, "data": _cut(data, _NO_CUT)}, option=orjson.OPT_SORT_KEYS)
    for step in _STEPS:
        if len(value) <= MAX_BYTES:
            break
        value = orjson.dumps({**envelope, "data": _marked(_cut(data, step))}, option=orjson.OPT_SORT_KEYS)
    return value


def _marked(data: object) -> object:
    """Say in the evidence that something was cut."""
    if isinstance(data, dict) and isinstance(data.get("evidence"), dict):
        data["evidence"]["trimmed"] = True
    return data


def _cut(value: object, step: _Step) -> object:
    if isinstance(value, str):
        return _text(value)[: step.characters]
    if isinstance(value, list | tuple):
        return [_cut(item, step) for item in value[: step.items]]
    if isinstance(value, dict):
        return {
            _text(name)[: step.characters]: _cut(value[name], _NO_CUT if name in _UNCUT else step)
            for name in sorted(value)[: step.keys]
            if step.offsets or name != "offsets"
        }
    return value


def _text(text: str) -> str:
    """Replace what UTF-8 cannot hold, so that encoding never fails."""
    return text.encode("utf-8", "replace").decode("utf-8")
