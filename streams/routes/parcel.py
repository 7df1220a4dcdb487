"""What a router has to know of a record on `driftline.alerts` or `driftline.retrain`: identity, thread, place in it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

# datacontenttype becomes content-type in headers, and in structured mode that one says cloudevents+json.
_NO_HEADER: Final = frozenset({"data", "data_base64", "datacontenttype"})

THREADS: Final = 10_000
"""Alerts and requests whose newest sequence is remembered: about 2 MB."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One event on its way: `body` is the record's value, unchanged."""

    event_id: str
    type: str
    thread: str
    """The alert's id or the request's idempotency key; "" if the event has neither and stands for itself."""
    sequence: str
    """Compares like a number (padded with zeros)."""
    attributes: Mapping[str, str]
    """CloudEvents attributes for headers, extensions included."""
    body: bytes


class _Data(msgspec.Struct):
    alert_id: str = ""
    idempotency_key: str = ""


class _Event(msgspec.Struct):
    id: str
    type: str
    source: str
    specversion: str
    sequence: str = ""
    data: _Data | None = None


def unpack(body: bytes | None) -> Parcel | str:
    """Return the parcel, or one sentence that says why `body` is no event; never raises."""
    if body is None:
        return "The record has no value"
    try:
        event = msgspec.json.decode(body, type=_Event)
        whole = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"The value is not a CloudEvent: {error}"
    if not event.id:
        return "The value is not a CloudEvent: its id is empty"
    data = event.data or _Data()
    return Parcel(
        event_id=event.id,
        type=event.type,
        thread=data.alert_id or data.idempotency_key,
        sequence=event.sequence,
        # Names that HTTP could not carry are no CloudEvents attributes either.
        attributes={
            name: value
            for name, value in whole.items()
            if name not in _NO_HEADER and isinstance(value, str) and name.isascii() and name.isalnum()
        },
        body=body,
    )


class Delivered:
    """The newest delivered sequence of each alert or request, of the `capacity` that were delivered last.

    A worker that lost its partition may publish an old event after the new owner has published a newer one. It is
    recognised here; after a restart, or beyond `capacity`, it is delivered, and the subscriber sees its sequence.
    """

    def __init__(self, capacity: int = THREADS) -> None:
        """Remember nothing yet."""
        self._capacity = capacity
        self._newest: OrderedDict[str, str] = OrderedDict()

    def stale(self, parcel: Parcel) -> bool:
        """Whether something newer of the same alert or request has been delivered."""
        return bool(parcel.thread) and parcel.sequence < self._newest.get(parcel.thread, "")

    def add(self, parcel: Parcel) -> None:
        """Note that `parcel` was delivered."""
        if not parcel.thread:
            return
        self._newest[parcel.thread] = max(parcel.sequence, self._newest.get(parcel.thread, ""))
        self._newest.move_to_end(parcel.thread)
        if len(self._newest) > self._capacity:
            self._newest.popitem(last=False)
