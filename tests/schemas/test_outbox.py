"""Output events as bytes: CloudEvents 1.0, canonical, never over 64 KiB."""

import json
import re
from itertools import pairwise

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.alerts import (
    AlertData,
    AlertEvent,
    Bin,
    Evidence,
    RankedFeature,
    RetrainData,
    RetrainEvent,
    Span,
    Subject,
    TrainingRange,
    sequence_text,
)
from schemas.outbox import MAX_BYTES, encode, payload
from schemas.times import rfc3339

WINDOW = Span.of(1_714_564_800_000, 1_714_565_400_000)
EVIDENCE = Evidence(statistic="psi", value=0.31, threshold=0.1, p_value=1e-9, n=4000, bins=[Bin("[1, 2)", 0.1, 0.4)])
ALERT = AlertEvent(
    id="0" * 32,
    source="driftline/driftline",
    type="dev.driftline.alert.opened.v1",
    subject="fraud/7/champion/amount",
    time=WINDOW.end,
    sequence=sequence_text(1),
    recordedtime=rfc3339(1_714_565_401_234),
    data=AlertData(
        alert_id="a" * 32,
        model="fraud",
        severity="critical",
        kind="drift",
        subject=Subject(model_version="7", variant="champion", feature="amount"),
        window=WINDOW,
        evidence=EVIDENCE,
        incident="i",
        summary="amount of fraud has moved",
    ),
)
RETRAIN = RetrainEvent(
    id="1" * 32,
    source="driftline/driftline",
    type="dev.driftline.retrain.proposed.v1",
    subject="fraud/7/champion",
    time=WINDOW.end,
    sequence=sequence_text(1),
    recordedtime=rfc3339(1_714_565_401_234),
    expirytime=rfc3339(1_714_587_000_000),
    data=RetrainData(
        idempotency_key="k" * 32,
        model="fraud",
        model_version="7",
        variant="champion",
        reason="accuracy fell from 0.9 to 0.7",
        evidence=EVIDENCE,
        alerts=["a" * 32],
        training_range=TrainingRange(event_time=WINDOW, offsets={"predictions": {"0": (10, 99)}}),
        labels_available=6000,
    ),
)


@pytest.mark.parametrize("event", [ALERT, RETRAIN])
def test_an_event_comes_back_as_it_was_sent(event: AlertEvent | RetrainEvent) -> None:
    assert event == msgspec.json.decode(encode(event).value, type=type(event))


@pytest.mark.parametrize("event", [ALERT, RETRAIN])
def test_the_envelope_has_what_cloudevents_requires_and_only_names_it_allows(event: AlertEvent | RetrainEvent) -> None:
    envelope = orjson.loads(encode(event).value)
    assert {"specversion", "id", "source", "type"} <= set(envelope)
    assert envelope["specversion"] == "1.0"
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in envelope)
    assert all(isinstance(value, str) and value for name, value in envelope.items() if name != "data")


@pytest.mark.parametrize("event", [ALERT, RETRAIN])
def test_the_headers_repeat_the_envelope(event: AlertEvent | RetrainEvent) -> None:
    record = encode(event)
    headers = dict(record.headers)
    assert headers.pop("content-type") == b"application/cloudevents+json; charset=UTF-8"
    envelope = orjson.loads(record.value)
    expected = {f"ce_{k}": v.encode() for k, v in envelope.items() if k not in {"data", "datacontenttype"}}
    assert expected == headers


def test_the_record_is_keyed_by_model_and_goes_to_the_topic_of_its_kind() -> None:
    assert (encode(ALERT).key, encode(ALERT).topic) == (b"fraud", "driftline.alerts")
    assert (encode(RETRAIN).key, encode(RETRAIN).topic) == (b"fraud", "driftline.retrain")
    assert encode(ALERT, "other").topic == "other"


def test_an_alert_has_at_most_ten_keys() -> None:
    assert len(AlertData.__struct_fields__) <= 10


def test_a_record_survives_the_outbox_in_redis() -> None:
    record = encode(ALERT)
    assert record == msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record))


def test_the_time_of_writing_makes_no_other_payload_and_everything_else_does() -> None:
    later = replace(ALERT, recordedtime=rfc3339(1_800_000_000_000))
    assert payload(encode(ALERT).value) == payload(encode(later).value)
    assert encode(ALERT).value != encode(later).value
    assert payload(encode(ALERT).value) != payload(encode(replace(ALERT, sequence=sequence_text(2))).value)


@pytest.mark.parametrize("event", [ALERT, RETRAIN])
def test_the_bytes_are_canonical_json_with_sorted_keys(event: AlertEvent | RetrainEvent) -> None:
    value = encode(event).value
    assert (
        json.dumps(json.loads(value), sort_keys=True, separators=(",", ":")).replace("1e-09", "1e-9").encode() == value
    )


def test_the_order_in_which_maps_were_filled_is_no_part_of_the_bytes() -> None:
    data = ALERT.data
    one, other = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    values = {encode(replace(ALERT, data=replace(data, links=links))).value for links in (one, other)}
    assert len(values) == 1


def _alert(evidence: Evidence, **changes: object) -> AlertEvent:
    return replace(ALERT, data=replace(ALERT.data, evidence=evidence, **changes))


def test_what_fits_is_not_trimmed() -> None:
    evidence = replace(EVIDENCE, features=[RankedFeature(f"f{i}", 0.5, 0.01) for i in range(200)])
    decoded = msgspec.json.decode(encode(_alert(evidence)).value, type=AlertEvent).data.evidence
    assert (len(decoded.features), decoded.trimmed) == (200, False)


def test_a_list_that_does_not_fit_keeps_its_most_important_items() -> None:
    evidence = replace(EVIDENCE, features=[RankedFeature("feature" * 20 + str(i), 0.5, 0.01) for i in range(5000)])
    record = encode(_alert(evidence))
    decoded = msgspec.json.decode(record.value, type=AlertEvent).data.evidence
    assert (evidence.features[:200], True) == (decoded.features, decoded.trimmed)
    assert len(record.value) <= MAX_BYTES


def test_offsets_are_named_all_or_not_at_all() -> None:
    offsets = {topic: {str(p): (10**12, 2 * 10**12) for p in range(3000)} for topic in ("predictions", "labels")}
    data = replace(RETRAIN.data, training_range=TrainingRange(event_time=WINDOW, offsets=offsets))
    decoded = msgspec.json.decode(encode(replace(RETRAIN, data=data)).value, type=RetrainEvent).data
    assert (
        decoded.training_range.offsets,
        decoded.training_range.event_time,
        decoded.evidence.trimmed,
    ) == ({}, WINDOW, True)


HUGE = st.sampled_from(["\x01", "é", "x", "\ud800", '"']).flatmap(
    lambda character: st.sampled_from([1, 300, 70_000]).map(lambda length: character * length),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(HUGE, HUGE, HUGE, st.integers(0, 3000), st.integers(0, 300))
def test_no_content_makes_an_event_too_large_or_fails(
    version: str, feature: str, summary: str, items: int, entries: int
) -> None:
    evidence = Evidence(
        statistic=summary,
        value=float("nan"),
        n=1,
        bins=[Bin(f"{i}{feature[:500]}", 0.1, float("inf")) for i in range(items)],
        windows=[WINDOW] * items,
    )
    segment = {f"{i}{feature[:500]}": summary[:5000] for i in range(entries)}
    subject = Subject(model_version=version, variant="champion", feature=feature, segment=segment)
    event = replace(_alert(evidence, subject=subject, summary=summary, links=segment), subject=f"fraud/{version}")
    record = encode(event)
    assert len(record.value) <= MAX_BYTES
    assert sum(len(value) for _, value in record.headers) < 8192
    assert record == encode(event)
    decoded = msgspec.json.decode(record.value, type=AlertEvent)
    assert (event.id, event.data.alert_id, event.data.model) == (decoded.id, decoded.data.alert_id, decoded.data.model)


def test_sequences_compare_as_texts_like_the_numbers_they_are() -> None:
    texts = [sequence_text(number) for number in (1, 2, 9, 10, 99, 100, 10**10 - 1)]
    assert all(lower < higher for lower, higher in pairwise(texts))


@pytest.mark.parametrize("number", [0, -1, 10**10])
def test_a_sequence_number_that_would_not_compare_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="sequence number"):
        sequence_text(number)
