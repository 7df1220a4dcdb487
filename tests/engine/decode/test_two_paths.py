"""Two decoding paths, one result; and no bytes that make either of them raise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.decode import LabelDecoder, PredictionDecoder
from tests.engine.watched import TIME, feature_plan, prediction
from tests.engine.watched import plan as plan_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.engine.columns import PredictionColumns
    from streams.engine.plan import Plan

TASKS = {"loans": "binary", "prices": "regression", "words": "multiclass"}
STRANGE = b'"stranger": 1, '
EXTREME = [
    b"1e999",
    b"-1e999",
    b"-0",
    b"-0.0",
    b"1" * 400,
    b"1" * 5000,
    b"1e-999",
    b'"\xff"',
    b"NaN",
    b"[" * 2000,
    b"{}",
    b'"\\ud800"',
]

GROUPS = ["country", "amount", "branch", "known", ["channel", "country"]]
"""Names of segments: each kind of feature, and one that no reference knows."""


def plan(tasks: Mapping[str, str]) -> Plan:
    """The models, with segments."""
    return plan_of(tasks, segments=GROUPS)


SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(allow_nan=True),
    st.text(max_size=4),
    st.sampled_from(["yes", "no", "de", "1", 1, 2.0, "a", 0.5]),
)
ANYTHING = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
FEATURES = st.dictionaries(
    st.sampled_from(["amount", "country", "branch", "known", "new", "channel"]), SCALAR | ANYTHING, max_size=5
)
SEGMENTS = st.dictionaries(st.sampled_from(["country", "channel", "amount", "x"]), st.text(max_size=3), max_size=3)
SOUND = st.fixed_dictionaries(
    {
        "prediction_id": st.text(min_size=1, max_size=5),
        "model": st.sampled_from([*TASKS, "nobody"]),
        "model_version": st.just("v1"),
    }
    | {"event_time": st.integers(0, 2 * TIME) | st.just("2026-01-01T00:00:00Z")},
    optional={"features": FEATURES, "prediction": SCALAR, "score": st.none() | st.floats(), "label": SCALAR}
    | {"segments": SEGMENTS},
)
UNTIDY = st.fixed_dictionaries(
    {},
    optional={
        name: ANYTHING | st.sampled_from([*TASKS, "v1", "p1", TIME, "champion", "ok"])
        for name in (
            *("prediction_id", "model", "model_version", "event_time", "features", "prediction", "score", "scores"),
            *(
                "latency_ms",
                "status",
                "variant",
                "request_id",
                "value",
                "segments",
                "label",
                "feature_set",
                "entity_id",
            ),
        )
    },
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A sound record with a few bytes taken out, doubled, changed, or replaced by something extreme."""
    data = draw(st.just(prediction()) | SOUND.map(lambda e: json.dumps(e).encode()))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        new = draw(st.one_of(st.binary(max_size=3), st.sampled_from(EXTREME), st.just(data[at : at + length] * 2)))
        data = data[:at] + new + data[at + length :]
    return data


RECORD = st.one_of(
    st.none(), st.binary(max_size=60), _mutated(), st.builds(lambda e: json.dumps(e).encode(), st.one_of(SOUND, UNTIDY))
)


@settings(max_examples=300, deadline=None)
@given(st.lists(RECORD, max_size=6))
def test_no_bytes_make_a_decoder_raise_and_every_row_is_one_thing(values: list[bytes | None]) -> None:
    record_time = np.full(len(values), TIME)
    for columns in (
        PredictionDecoder(plan(TASKS), "predictions").decode(values),
        PredictionDecoder(feature_plan(), "features").decode(values),
        LabelDecoder(plan(TASKS)).decode(values, record_time),
    ):
        assert sorted({r.row for r in columns.rejected}) == np.flatnonzero(columns.model == -1).tolist()
        assert len(columns.rejected) == len({r.row for r in columns.rejected})


@settings(max_examples=300, deadline=None)
@given(st.lists(RECORD, min_size=1, max_size=6))
def test_a_batch_decodes_to_what_its_records_decode_to_one_by_one(values: list[bytes | None]) -> None:
    together = _told(PredictionDecoder(plan(TASKS), "predictions").decode(values))
    apart = [_told(PredictionDecoder(plan(TASKS), "predictions").decode([v]))[0] for v in values]
    assert apart == together
    labels = LabelDecoder(plan(TASKS))
    columns = labels.decode(values, np.full(len(values), TIME))
    for i, value in enumerate(values):
        one = labels.decode([value], np.full(1, TIME))
        for name in ("model", "label_time", "key", "truth", "number"):
            assert getattr(one, name)[0] == getattr(columns, name)[i]


def _slowly(value: bytes) -> bytes | None:
    """The record with one more feature, whose name nobody has learnt: the fast path refuses it. None if it has no features."""
    at = value.find(b'"features": {')
    if at < 0 or value.count(b'"features"') != 1:
        return None
    at += len(b'"features": {')
    comma = STRANGE if value[at : at + 1] != b"}" else STRANGE.rstrip(b", ")
    return value[:at] + comma + value[at:]


@settings(max_examples=400, deadline=None)
@given(_mutated())
def test_the_fast_path_and_the_slow_path_give_the_same_columns(value: bytes) -> None:
    twin = _slowly(value)
    if twin is None:
        return
    slow = _told(PredictionDecoder(plan(TASKS), "predictions").decode([twin]))
    fast = _told(PredictionDecoder(plan(TASKS), "predictions").decode([value]))
    assert _without_unknown(slow) == _without_unknown(fast)


@settings(max_examples=400, deadline=None)
@given(st.lists(_mutated().map(lambda v: _slowly(v) or v), min_size=1, max_size=4))
def test_what_a_decoder_has_learnt_changes_nothing_about_a_record(values: list[bytes]) -> None:
    learnt = PredictionDecoder(plan(TASKS), "predictions")
    learnt.decode([prediction(model=m, prediction=None, features={"stranger": 1, "new": 2}) for m in TASKS])
    fresh = PredictionDecoder(plan(TASKS), "predictions")
    assert _told(fresh.decode(values)) == _told(learnt.decode(values))


@pytest.mark.parametrize("extreme", EXTREME)
@pytest.mark.parametrize("where", [b'"amount": 2.5', b'"score": 0.75', b'"prediction": "yes"', b'"country": "de"'])
def test_an_extreme_value_is_the_same_on_both_paths(extreme: bytes, where: bytes) -> None:
    value = prediction().replace(where, where.split(b":")[0] + b": " + extreme)
    twin = _slowly(value)
    assert twin is not None
    fast = _told(PredictionDecoder(plan(TASKS), "predictions").decode([value]))
    assert _without_unknown(_told(PredictionDecoder(plan(TASKS), "predictions").decode([twin]))) == _without_unknown(
        fast
    )


@pytest.mark.parametrize("junk", EXTREME[:8])
def test_what_nobody_asked_for_is_not_read_on_either_path(junk: bytes) -> None:
    for value in (
        prediction()[:-1] + b', "comment": ' + junk + b"}",
        prediction().replace(b'"features": {', b'"features": {"stranger": ' + junk + b", "),
    ):
        decoder = PredictionDecoder(plan(TASKS), "predictions")
        first = _without_unknown(_told(decoder.decode([value, prediction()])))
        assert first == _without_unknown(_told(decoder.decode([value, prediction()])))
        assert first[0] == first[1]


def _told(columns: PredictionColumns) -> list[tuple[Any, ...]]:
    """Each row as plain values; text of NaN, so that it equals itself. The stream counts only where there is a model."""
    rejected = {r.row: r.reason for r in columns.rejected}
    told: list[tuple[Any, ...]] = []
    for i, model in enumerate(columns.model.tolist()):
        if model < 0:
            told.append((model, rejected.get(i), None))
            continue
        group = columns.features[model]
        values = [repr(v) for v in group.values[np.flatnonzero(group.rows == i)[0]].tolist()]
        unknown = int(columns.unknown[model][i]) if model in columns.unknown else 0
        answer = repr(columns.answer.view(np.float64)[i])
        groups = columns.segments[model]
        at = np.flatnonzero(groups.rows == i)[0]
        values += [groups.texts[code] for code in groups.codes[:, at].tolist()]
        row = (int(columns.event_time[i]), int(columns.key[i]), int(columns.klass[i]), answer, values)
        told.append((model, unknown, row))
    return told


def _without_unknown(told: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(model, row if model >= 0 else reason) for model, reason, row in told]
