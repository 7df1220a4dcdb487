"""One record at a time: what a record is that the typed struct refused. Here every refusal gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from schemas.errors import DeadLetterReason
from schemas.events import FeatureEvent, Prediction, category_text, parse_time, reason_of
from streams.engine.dictionary import TYPE_ERROR
from streams.engine.segments import MISSING, value_text

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
    segments: list[str]


class _Prediction(Prediction, frozen=True, kw_only=True):
    """A prediction whose features are not looked at yet: a wrong value is an error of that feature, not of the record."""

    features: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)  # type: ignore[assignment]


class _FeatureEvent(FeatureEvent, frozen=True, kw_only=True):
    """The same for feature events."""

    features: dict[str, msgspec.Raw]  # type: ignore[assignment]


_DECODE = {
    "predictions": msgspec.json.Decoder(_Prediction).decode,
    "features": msgspec.json.Decoder(_FeatureEvent).decode,
}


def read(value: bytes | None, plan: Plan, kind: str) -> Row | UnknownModel | Bad:  # noqa: PLR0911  # one return per kind of record
    """Say what a record is; never raises for what is in it.

    As the fast path does, it passes over what nobody asked for without reading it: an unknown field, or the value of an
    unknown feature, may hold anything that msgspec can skip. So both paths agree on every record, and learning a name
    changes no outcome.
    """
    if value is None:
        return Bad(DeadLetterReason.TOMBSTONE, "the record has no value (null)")
    try:
        event: Any = _DECODE[kind](value)
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
    known = {f: raw for f, raw in event.features.items() if model.columns.find("feature", f) is not None}
    asked = [f for f in model.segments.names if f not in known and f in event.features]
    unknown = [f for f in event.features if f not in known and f not in asked]
    try:
        features = {f: msgspec.json.decode(raw) for f, raw in known.items()}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        return Bad(reason_of(error), str(error))
    if kind == "features":
        return Row(model, event.entity_id, "", "", time, features, None, None, unknown, [])
    said = {f: value_of(features[f], model.columns.all[at]) for f in features if (at := _at(model, f)) is not None}
    said |= {f: value_text(_lenient(event.features[f])) for f in asked} | {
        f: value_text(v) for f, v in event.segments.items()
    }
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
        [said.get(name, MISSING) for name in model.segments.names],
    )


def _at(model: Model, name: str) -> int | None:
    return model.columns.find("feature", name) if name in model.segments.names else None


def _lenient(raw: msgspec.Raw) -> Any:  # noqa: ANN401  # any JSON value
    """A value that no reference asks for may be anything, also what cannot be read."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def value_of(value: Any, column: Column) -> str:  # noqa: ANN401  # any JSON value
    """The segment value of a feature that the reference knows: what its column would make of it, as text."""
    if column.kind == "numeric":
        number = _cell(value, column)
        return value_text(number) if np.isfinite(number) else MISSING
    if column.kind == "boolean":
        code = _cell(value, column)
        return next((t for t, c in column.categories.codes.items() if c == code), MISSING)
    return value_text(value)


def cells(row: Row) -> list[float]:
    """The row's values in the order of the model's columns."""
    source = {"prediction": row.prediction, "score": row.score}
    return [
        _cell(row.features.get(column.name) if column.source == "feature" else source[column.source], column)
        for column in row.model.columns.all
    ]


def _cell(value: Any, column: Column) -> float:  # noqa: ANN401, PLR0911  # any JSON value; one return per kind
    if value is None:
        return _MISSING
    if column.kind == "numeric":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return TYPE_ERROR
        try:
            return float(value)
        except OverflowError:
            return TYPE_ERROR
    if column.kind == "boolean":
        text = category_text(value) if isinstance(value, str | int | float) else ""
        return float(column.categories.codes.get({"1": "true", "0": "false"}.get(text, text), TYPE_ERROR))
    if isinstance(value, str | int | float):
        return float(column.categories.codes.get(category_text(value), -1))
    return TYPE_ERROR
