"""What is wrong with a record has a name, in both topics; what is only unusual is none of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from schemas.errors import DeadLetterReason as Reason
from schemas.events import MAX_VERSION
from streams.engine.columns import NO_MODEL, UNKNOWN_MODEL
from streams.engine.decode import LabelDecoder, PredictionDecoder
from tests.engine.watched import TIME, feature_plan, label, plan, prediction

DEEP = b"[" * 100_000
BROKEN = [
    (None, Reason.TOMBSTONE),
    (b"", Reason.INVALID_JSON),
    (b"{", Reason.INVALID_JSON),
    (b"[]", Reason.INVALID_JSON),
    (b"null", Reason.INVALID_JSON),
    (b"\xff\xfe", Reason.INVALID_JSON),
    (DEEP, Reason.INVALID_JSON),
    (b'{"x": ' + DEEP, Reason.INVALID_JSON),
]

PREDICTIONS = [
    *BROKEN,
    (prediction(model=...), Reason.MISSING_FIELD),
    (prediction(prediction_id=...), Reason.MISSING_FIELD),
    (prediction(model_version=...), Reason.MISSING_FIELD),
    (prediction(event_time=...), Reason.MISSING_FIELD),
    (prediction(prediction_id=7), Reason.WRONG_TYPE),
    (prediction(event_time=1.5), Reason.WRONG_TYPE),
    (prediction(event_time=True), Reason.WRONG_TYPE),
    (prediction(features=None), Reason.WRONG_TYPE),
    (prediction(features=[1]), Reason.WRONG_TYPE),
    (prediction(score="high"), Reason.WRONG_TYPE),
    (prediction(prediction=["yes"]), Reason.WRONG_TYPE),
    (prediction(status="late"), Reason.WRONG_TYPE),
    (prediction(variant="understudy"), Reason.WRONG_TYPE),
    (prediction(score=float("nan")), Reason.INVALID_JSON),
    (prediction(features={"amount": float("inf")}), Reason.INVALID_JSON),
    (prediction().replace(b"2.5", b"1e999"), Reason.WRONG_TYPE),
    (prediction(prediction_id=""), Reason.EMPTY_ID),
    (prediction(model=""), Reason.EMPTY_ID),
    (prediction(model_version=""), Reason.EMPTY_ID),
    (prediction(event_time=-1), Reason.BAD_EVENT_TIME),
    (prediction(event_time=TIME * 1000), Reason.BAD_EVENT_TIME),
    (prediction(event_time=10**30), Reason.BAD_EVENT_TIME),
    (prediction(event_time="yesterday"), Reason.BAD_EVENT_TIME),
    (prediction(event_time="2026-01-01T00:00:00"), Reason.BAD_EVENT_TIME),
    (prediction(event_time="0001-01-01T00:00:00+23:59"), Reason.BAD_EVENT_TIME),
    (prediction(event_time="9999-12-31T23:59:59-23:59"), Reason.BAD_EVENT_TIME),
]
LABELS = [
    *BROKEN,
    (label(label=...), Reason.MISSING_FIELD),
    (label(prediction_id=...), Reason.MISSING_FIELD),
    (label(label=None), Reason.WRONG_TYPE),
    (label(label=["yes"]), Reason.WRONG_TYPE),
    (label(label=float("nan")), Reason.INVALID_JSON),
    (label().replace(b'"label": "yes"', b'"label": 1e999'), Reason.WRONG_TYPE),
    (label(label=10**400), Reason.WRONG_TYPE),
    (label(label=2**1024 - 1), Reason.WRONG_TYPE),
    (label(prediction_id=""), Reason.EMPTY_ID),
    (label(model=""), Reason.EMPTY_ID),
    (label(event_time="soon"), Reason.BAD_EVENT_TIME),
    (label(event_time=-5), Reason.BAD_EVENT_TIME),
    (label(event_time=10**30), Reason.BAD_EVENT_TIME),
    (label(model="prices", label="much"), Reason.WRONG_TYPE),
]


@pytest.mark.parametrize(("value", "reason"), PREDICTIONS)
@pytest.mark.parametrize("tasks", [{"loans": "binary"}, {"loans": "binary", "prices": "regression"}])
def test_a_prediction_that_cannot_be_read_is_refused_for_its_reason_and_its_neighbours_are_not(
    value: bytes | None, reason: Reason, tasks: dict[str, str]
) -> None:
    columns = PredictionDecoder(plan(tasks), "predictions").decode(
        [prediction(), value, prediction(prediction_id="p2")]
    )
    assert [(1, reason)] == [(r.row, r.reason) for r in columns.rejected]
    assert columns.model.tolist() == [0, NO_MODEL, 0]
    assert columns.features[0].rows.tolist() == [0, 2]


@pytest.mark.parametrize(("value", "reason"), LABELS)
def test_a_label_that_cannot_be_read_is_refused_for_its_reason_and_its_neighbours_are_not(
    value: bytes | None, reason: Reason
) -> None:
    decoder = LabelDecoder(plan({"loans": "binary", "prices": "regression"}))
    columns = decoder.decode([label(), value, label()], np.full(3, TIME))
    assert [(1, reason)] == [(r.row, r.reason) for r in columns.rejected]
    assert columns.model.tolist() == [0, NO_MODEL, 0]


def test_a_feature_event_that_cannot_be_read_is_refused_for_its_reason() -> None:
    good = {"feature_set": "customers", "entity_id": "e", "event_time": TIME, "features": {"amount": 1}}
    bad = [{k: v for k, v in good.items() if k != left_out} for left_out in good]
    bad += [good | {"entity_id": ""}, good | {"features": 3}, good | {"event_time": "never"}]
    values = [json.dumps(e).encode() for e in [good, *bad, good | {"feature_set": "strangers"}]]
    columns = PredictionDecoder(feature_plan(), "features").decode(values)
    expected = [*[Reason.MISSING_FIELD] * 4, Reason.EMPTY_ID, Reason.WRONG_TYPE, Reason.BAD_EVENT_TIME]
    assert expected == [r.reason for r in columns.rejected]
    assert [0, *[NO_MODEL] * 7, UNKNOWN_MODEL] == columns.model.tolist()


def test_a_model_that_nobody_configured_is_no_dead_letter() -> None:
    plans = plan({"loans": "binary"})
    columns = PredictionDecoder(plans, "predictions").decode([prediction(model="weather")])
    labels = LabelDecoder(plans).decode([label(model="weather")], np.array([TIME]))
    assert (columns.model.tolist(), columns.rejected) == ([UNKNOWN_MODEL], [])
    assert (labels.model.tolist(), labels.rejected) == ([UNKNOWN_MODEL], [])


@pytest.mark.parametrize(
    "event_time", ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01t00:00:00.0009z", TIME]
)
def test_every_spelling_of_a_time_is_the_same_time(event_time: int | str) -> None:
    plans = plan({"loans": "binary"})
    mixed = [prediction(event_time=event_time), prediction(event_time=TIME)]
    assert PredictionDecoder(plans, "predictions").decode(mixed).event_time.tolist() == [TIME, TIME]
    labels = LabelDecoder(plans).decode([label(event_time=event_time), label(event_time=...)], np.array([1, TIME]))
    assert labels.label_time.tolist() == [TIME, TIME]


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, "1"), (True, "true"), (-0.0, 0), (0.5, "0.5"), (1e22, "1" + "0" * 22)]
)
def test_labels_of_one_category_text_are_one_label(one: object, other: object) -> None:
    columns = LabelDecoder(plan({"loans": "binary"})).decode([label(label=one), label(label=other)], np.full(2, TIME))
    assert columns.truth[0] == columns.truth[1]
    assert columns.number[0] == columns.number[1]


@pytest.mark.parametrize(
    ("one", "other"), [("1", "01"), ("1", "1.0"), ("yes", "Yes"), ("true", 1), ("nan", "inf"), ("1_0", 10)]
)
def test_labels_of_different_text_are_different_labels(one: object, other: object) -> None:
    columns = LabelDecoder(plan({"loans": "binary"})).decode([label(label=one), label(label=other)], np.full(2, TIME))
    assert (columns.truth[0], columns.number[0]) != (columns.truth[1], columns.number[1])


def test_a_version_with_an_endless_name_is_refused_on_both_paths() -> None:
    decoder = PredictionDecoder(plan({"loans": "binary"}), "predictions")
    for length, refused in ((MAX_VERSION, []), (MAX_VERSION + 1, [Reason.WRONG_TYPE])):
        columns = decoder.decode([prediction(model_version="v" * length)])
        assert [r.reason for r in columns.rejected] == refused
