"""Input events as they stand on the wire (DESIGN §3): JSON, one object per record, unknown fields ignored.

The structs are decoded with `msgspec.json.Decoder`, strictly: a number is not taken for a string nor the other way.
Times stay as they came (`int | str`); `parse_time` reads them, so that a bad time is its own dead letter reason.
"""

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from schemas.errors import DeadLetterReason
from schemas.times import parse_time, rfc3339

__all__ = [
    "FeatureEvent",
    "Label",
    "Prediction",
    "Scalar",
    "Variant",
    "category_text",
    "parse_time",
    "reason_of",
    "rfc3339",
]

Scalar = float | int | str | bool | None
"""What a feature's value may be; `None` (null) is a missing value."""

Variant = Literal["champion", "challenger", "canary", "shadow"]
"""The part that a model version plays beside the others."""

_Id = Annotated[str, Meta(min_length=1)]
MAX_VERSION = 256
"""Characters of a version's name: it stands in every commit and in every event about it."""
_Time = Annotated[int | str, Meta(description="Milliseconds since 1970-01-01T00:00:00Z, or RFC 3339 with an offset.")]


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a model: topic `predictions`, key = `prediction_id`."""

    prediction_id: Annotated[_Id, Meta(description="Names this answer; its label will carry the same. Record key.")]
    model: Annotated[_Id, Meta(description="The model's name in monitor.yaml.")]
    model_version: Annotated[
        str, Meta(min_length=1, max_length=MAX_VERSION, description="Which version of the model answered.")
    ]
    event_time: _Time
    features: Annotated[dict[str, Scalar], Meta(description="What the model saw; null is a missing value.")] = (
        msgspec.field(default_factory=dict)
    )
    prediction: Annotated[Scalar, Meta(description="The answer: a class, or a number.")] = None
    score: Annotated[float | None, Meta(description="Probability of the positive class.")] = None
    scores: Annotated[dict[str, float] | None, Meta(description="Probability of each class.")] = None
    latency_ms: Annotated[float | None, Meta(description="How long the answer took, in milliseconds.")] = None
    status: Annotated[Literal["ok", "error"], Meta(description="Whether the model answered.")] = "ok"
    variant: Annotated[Variant, Meta(description="The part this version plays.")] = "champion"
    request_id: Annotated[str | None, Meta(description="Pairs variants that answered the same request.")] = None
    value: Annotated[float | None, Meta(description="The amount at stake.")] = None
    segments: Annotated[dict[str, str], Meta(description="Groups that this answer belongs to.")] = msgspec.field(
        default_factory=dict
    )


class FeatureEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Features without a prediction, from a pipeline or an online store: topic `features`, key = `entity_id`."""

    feature_set: Annotated[_Id, Meta(description="The feature set's name in monitor.yaml.")]
    entity_id: Annotated[_Id, Meta(description="Whose features these are. Record key.")]
    event_time: _Time
    features: Annotated[dict[str, Scalar], Meta(description="The values; null is a missing value.")]
    computed_at: Annotated[int | str | None, Meta(description="When the values were computed; a time as above.")] = None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The truth about one prediction, whenever it becomes known: topic `labels`, key = `prediction_id`."""

    prediction_id: Annotated[_Id, Meta(description="The prediction that this is the truth about. Record key.")]
    label: Annotated[str | int | float | bool, Meta(description="The true class or number.")]
    event_time: Annotated[
        int | str | None,
        Meta(description="When the truth became known (a time as in `predictions`); else the record's time stamp."),
    ] = None
    model: Annotated[_Id | None, Meta(description="Joins this model's prediction only; else every one of this id.")] = (
        None
    )
    value: Annotated[float | None, Meta(description="The amount at stake, as it turned out.")] = None


def category_text(value: str | float | np.generic) -> str:
    """Return the one text that stands for `value` wherever values are compared as categories.

    Strings stay as they are, booleans (an `int` to the type checker) become "true" and "false", whole numbers their
    decimal digits whether they came as 3 or 3.0, other numbers the shortest digits that read back the same (`repr`).
    numpy's scalars count as the Python values they hold. So the producer's choice between 1, 1.0 and "1" makes no new
    category.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, str):
        return plain
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, float) and plain.is_integer():
        return str(int(plain))
    return repr(plain)


def reason_of(error: Exception) -> DeadLetterReason:
    """Return the dead letter reason for what decoding one of the structs above raised.

    msgspec tells what is wrong only in words; this is the one place that reads them. Anything unknown, among it
    `UnicodeDecodeError` and the `RecursionError` of a value nested too deeply, is `INVALID_JSON`.
    """
    if not isinstance(error, msgspec.ValidationError):
        return DeadLetterReason.INVALID_JSON
    text = str(error)
    at_top_level = " - at `$" not in text
    if text.startswith("Object missing required field"):
        return DeadLetterReason.MISSING_FIELD
    if text.startswith("Expected `object`") and at_top_level:
        return DeadLetterReason.INVALID_JSON
    if "of length >= 1" in text:
        return DeadLetterReason.EMPTY_ID
    return DeadLetterReason.WRONG_TYPE
