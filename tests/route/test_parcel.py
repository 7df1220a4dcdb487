"""What the router reads from a record, and what it remembers of what it delivered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.routes.parcel import Delivered, Parcel, unpack
from tests.route.harness import alert, retrain


def _parcel(thread: str, sequence: int) -> Parcel:
    return Parcel("id", "type", thread, f"{sequence:010d}", {}, b"")


def test_an_alert_is_known_by_its_alert_id_and_a_request_by_its_idempotency_key() -> None:
    event = alert("a", alert_id="the-alert", sequence=3)
    parcel = unpack(event.value)
    assert isinstance(parcel, Parcel)
    assert (parcel.event_id, parcel.thread, parcel.sequence) == (event.event_id, "the-alert", "0000000003")
    assert parcel.body is event.value
    request = unpack(retrain("r").value)
    assert isinstance(request, Parcel)
    assert request.thread == "request-r"
    assert "expirytime" in request.attributes


def test_the_attributes_are_those_of_the_kafka_headers() -> None:
    event = alert("a")
    parcel = unpack(event.value)
    assert isinstance(parcel, Parcel)
    expected = {name[3:]: value.decode() for name, value in event.headers if name.startswith("ce_")}
    assert parcel.attributes == expected


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"id":"","type":"t","source":"s","specversion":"1.0"}',
        b'{"id":1,"type":"t","source":"s","specversion":"1.0"}',
        b'{"id":"1","type":"t","source":"s","specversion":"1.0","x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_event_is_a_sentence(body: bytes | None) -> None:
    assert isinstance(unpack(body), str)


@given(st.binary(max_size=200))
def test_unpacking_never_raises(body: bytes) -> None:
    assert isinstance(unpack(body), str | Parcel)


def test_only_a_lower_sequence_of_the_same_alert_is_stale() -> None:
    delivered = Delivered()
    delivered.add(_parcel("a", 2))
    assert delivered.stale(_parcel("a", 1))
    assert not delivered.stale(_parcel("a", 2))  # the same event again: the subscriber knows its id
    assert not delivered.stale(_parcel("a", 10))
    assert not delivered.stale(_parcel("b", 1))


def test_an_older_one_that_was_delivered_does_not_lower_the_mark() -> None:
    delivered = Delivered()
    for sequence in (5, 3):
        delivered.add(_parcel("a", sequence))
    assert delivered.stale(_parcel("a", 4))


def test_events_without_a_thread_stand_for_themselves() -> None:
    delivered = Delivered()
    delivered.add(_parcel("", 2))
    assert not delivered.stale(_parcel("", 1))


def test_memory_is_bounded_and_what_was_delivered_last_stays() -> None:
    delivered = Delivered(capacity=2)
    for thread in ("a", "b", "a", "c"):
        delivered.add(_parcel(thread, 2))
    assert [delivered.stale(_parcel(thread, 1)) for thread in "abc"] == [True, False, True]
