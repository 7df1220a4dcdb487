"""One record at a time: what a record is that the typed struct refused. Here every refusal gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import DeadLetterReason
from schemas.events import FeatureEvent, Prediction, category_text, parse_time, reason_of
from streams.engine.dictionary import TYPE_ERROR

if TYPE_CHECKING:
    from streams.engine.dictionary import Column
    from streams.engine.plan import Model, Plan

_MISSING = float("nan")


@dataclass(frozen=True, slots=True)
class Bad:
    """A dead letter: the reason and a sentence."""

    reason: DeadLetterReason
    message: str


@dataclass(frozen=True, slots=True)
class UnknownModel:
    """A sound record of a model (or feature set) that nobody configured."""

    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """A sound record, with whatever feature values it has."""

    model: Model
    id: str
    version: str
    variant: str
    event_time: int
    features: dict[str, Any]
    prediction: Any
    score: Any
    unknown: list[str]


class _Loose(msgspec.Struct):
    """Any features object, before its values are looked at."""

    features: dict[str, Any] = msgspec.field(default_factory=dict)
    prediction: Any = None
    score: Any = None


def read(value: bytes | None, plan: Plan, kind: str) -> Row | UnknownModel | Bad:
    """Say what a record is; never raises for what is in it."""
    if value is None:
        return Bad(DeadLetterReason.TOMBSTONE, "the record has no value (null)")
    try:
        raw = msgspec.json.decode(value)
        if not isinstance(raw, dict):
            return Bad(DeadLetterReason.INVALID_JSON, f"the value is a JSON {type(raw).__name__}, not an object")
        features = raw.get("features")
        if isinstance(features, dict):
            raw = raw | {"features": {}}  # a wrong value of one feature is a type error of that feature, not of the record
        event: Any = msgspec.convert(raw, FeatureEvent if kind == "features" else Prediction)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        return Bad(reason_of(error), str(error))
    name = event.feature_set if kind == "features" else event.model
    model = plan.by_name.get(name)
    if model is None:
        return UnknownModel(name)
    try:
        time = parse_time(event.event_time)
    except ValueError as error:
        return Bad(DeadLetterReason.BAD_EVENT_TIME, f"event_time: {error}")
    features = features if isinstance(features, dict) else {}
    unknown = [f for f in features if model.columns.find("feature", f) is None]
    if kind == "features":
        return Row(model, event.entity_id, "", "", time, features, None, None, unknown)
    return Row(
        model,
        event.prediction_id,
        event.model_version,
        event.variant,
        time,
        features,
        event.prediction,
        event.score,
        unknown,
    )


def cells(row: Row) -> list[float]:
    """The row's values in the order of the model's columns."""
    source = {"prediction": row.prediction, "score": row.score}
    return [
        _cell(row.features.get(column.name) if column.source == "feature" else source[column.source], column)
        for column in row.model.columns.all
    ]


def _cell(value: Any, column: Column) -> float:  # noqa: ANN401  # any JSON value
    if value is None:
        return _MISSING
    if column.kind == "numeric":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return TYPE_ERROR
        try:
            return float(value)
        except OverflowError:
            return TYPE_ERROR
    if isinstance(value, str | int | float):
        if column.kind == "boolean" and not isinstance(value, bool):
            return TYPE_ERROR
        return float(column.categories.codes.get(category_text(value), -1))
    return TYPE_ERROR
