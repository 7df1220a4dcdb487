"""Input events: what is read, what is refused and for which reason."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Approve, Command, RetrainFailed, RetrainStarted, RetrainSucceeded
from schemas.errors import DeadLetterReason
from schemas.events import FeatureEvent, Label, Prediction, category_text, reason_of

PREDICTIONS = msgspec.json.Decoder(Prediction)
LEAST = b'{"prediction_id": "p", "model": "m", "model_version": "1", "event_time": 5}'


def _prediction(extra: bytes) -> bytes:
    return LEAST[:-1] + b", " + extra + b"}"


def test_four_fields_make_a_prediction() -> None:
    event = PREDICTIONS.decode(LEAST)
    assert (event.features, event.status, event.variant, event.score) == ({}, "ok", "champion", None)


def test_unknown_fields_are_ignored() -> None:
    assert PREDICTIONS.decode(LEAST) == PREDICTIONS.decode(_prediction(b'"trace": {"deep": [1, 2]}'))


def test_features_keep_the_type_that_they_came_with() -> None:
    features = PREDICTIONS.decode(
        _prediction(b'"features": {"a": 1, "b": 1.0, "c": "1", "d": true, "e": null}')
    ).features
    assert [int, float, str, bool, type(None)] == [type(value) for value in features.values()]


def test_a_class_number_beyond_the_floats_stays_exact() -> None:
    assert PREDICTIONS.decode(_prediction(b'"prediction": 9007199254740993')).prediction == 9007199254740993
    label = msgspec.json.decode(b'{"prediction_id": "p", "label": 9007199254740993}', type=Label)
    assert label.label == 9007199254740993


def test_a_feature_event_needs_its_features() -> None:
    with pytest.raises(msgspec.ValidationError, match="missing required field `features`"):
        msgspec.json.decode(b'{"feature_set": "s", "entity_id": "e", "event_time": 5}', type=FeatureEvent)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", DeadLetterReason.INVALID_JSON),
        (b"{", DeadLetterReason.INVALID_JSON),
        (b"null", DeadLetterReason.INVALID_JSON),
        (b"[]", DeadLetterReason.INVALID_JSON),
        (LEAST + b"x", DeadLetterReason.INVALID_JSON),
        (b"\xff" + LEAST, DeadLetterReason.INVALID_JSON),
        (LEAST.replace(b'"m"', b'"m\xff"'), DeadLetterReason.INVALID_JSON),
        (_prediction(b'"u": ' + b"[" * 100_000), DeadLetterReason.INVALID_JSON),
        (_prediction(b'"score": NaN'), DeadLetterReason.INVALID_JSON),
        (LEAST.replace(b"event_time", b"time"), DeadLetterReason.MISSING_FIELD),
        (LEAST.replace(b'"p"', b'""'), DeadLetterReason.EMPTY_ID),
        (LEAST.replace(b'"1"', b'""'), DeadLetterReason.EMPTY_ID),
        (LEAST.replace(b'"p"', b"7"), DeadLetterReason.WRONG_TYPE),
        (LEAST.replace(b'"p"', b"null"), DeadLetterReason.WRONG_TYPE),
        (LEAST.replace(b"5", b"5.5"), DeadLetterReason.WRONG_TYPE),
        (_prediction(b'"score": 1e999'), DeadLetterReason.WRONG_TYPE),
        (_prediction(b'"features": []'), DeadLetterReason.WRONG_TYPE),
        (_prediction(b'"features": {"a": {}}'), DeadLetterReason.WRONG_TYPE),
        (_prediction(b'"status": "maybe"'), DeadLetterReason.WRONG_TYPE),
        (_prediction(b'"scores": {"a": {}}'), DeadLetterReason.WRONG_TYPE),
    ],
)
def test_what_cannot_be_read_has_one_reason(value: bytes, reason: DeadLetterReason) -> None:
    with pytest.raises((ValueError, RecursionError)) as caught:
        PREDICTIONS.decode(value)
    assert reason is reason_of(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("1.0", "1.0"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-0.0, "0"),
        (7.0, "7"),
        (0.1, "0.1"),
        (1e22, "10000000000000000000000"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float64(0.1), "0.1"),
        (np.float64(7), "7"),
        (np.int64(7), "7"),
        (np.True_, "true"),
        (np.str_("a"), "a"),
    ],
)
def test_a_category_has_one_text(value: str | float | np.generic, expected: str) -> None:
    assert expected == category_text(value)


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_is_one_category_however_it_is_written(number: int) -> None:
    assert str(number) == category_text(number) == category_text(float(number)) == category_text(str(number))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_can_be_read_back_from_its_text(number: float) -> None:
    assert number == float(category_text(number))


@given(st.one_of(st.text(), st.booleans(), st.integers(), st.floats()))
def test_every_value_has_a_text(value: str | float) -> None:
    assert isinstance(category_text(value), str)


@pytest.mark.parametrize(
    "command",
    [
        Approve(model="m", request="r", by="ada", note="fine"),
        RetrainStarted(model="m", request="r"),
        RetrainSucceeded(model="m", request="r", model_version="2"),
        RetrainFailed(model="m", request="r", reason="no data"),
    ],
)
def test_a_command_comes_back_as_it_was_sent(command: Command) -> None:
    assert command == msgspec.json.decode(msgspec.json.encode(command), type=Command)


def test_the_field_command_tells_the_commands_apart() -> None:
    value = b'{"command": "retrain_succeeded", "model": "m", "request": "r", "model_version": "2"}'
    assert RetrainSucceeded(model="m", request="r", model_version="2") == msgspec.json.decode(value, type=Command)


def test_a_command_of_a_later_version_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'mute'"):
        msgspec.json.decode(b'{"command": "mute", "model": "m", "request": "r"}', type=Command)
