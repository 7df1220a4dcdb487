"""Output events (DESIGN §3): CloudEvents 1.0 around alerts and retrain requests. `schemas.outbox` makes bytes of them.

The envelope's attributes are CloudEvents' own, and three of its documented extensions: `sequence` (counts the events
of one alert upwards, padded so that texts compare like numbers), `recordedtime` (wall clock; no part of what makes
two payloads equal) and `expirytime`.

`time` is the end of the window that decided, so that it is the same whenever and wherever the decision is made.
"""

from typing import Annotated, Literal, NamedTuple, Self

import msgspec
from msgspec import Meta

from schemas.times import rfc3339

AlertType = Literal[
    "dev.driftline.alert.opened.v1",
    "dev.driftline.alert.escalated.v1",
    "dev.driftline.alert.resolved.v1",
]
RetrainType = Literal[
    "dev.driftline.retrain.requested.v1",
    "dev.driftline.retrain.proposed.v1",
    "dev.driftline.retrain.cancelled.v1",
]
Severity = Literal["info", "warning", "critical"]
Family = Literal["drift", "quality", "performance", "sequential", "proxy", "service", "labels"]
"""The families of monitors; each has its share of the false-alarm budget."""

SEQUENCE_DIGITS = 10
"""Wide enough for 2^32; CloudEvents wants values that compare as texts."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A half-open interval of event time, in both spellings."""

    start_ms: int
    end_ms: int
    start: str
    end: str

    @classmethod
    def of(cls, start_ms: int, end_ms: int) -> Self:
        """Return the span from `start_ms` (in) to `end_ms` (out), ms since the epoch."""
        return cls(start_ms=start_ms, end_ms=end_ms, start=rfc3339(start_ms), end=rfc3339(end_ms))


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A feature (drift), a metric (performance, sequential) or both (quality: a feature and a check), of a stream or a segment."""

    model_version: str
    variant: str
    feature: str | None = None
    metric: str | None = None
    segment: dict[str, str] = msgspec.field(default_factory=dict)


class Bin(NamedTuple):
    """One bin that contributes to a drift: its text, and its share of the reference and of the window.

    A share that is no finite number is null, because JSON has no other word for it.
    """

    label: str
    reference_share: float | None
    current_share: float | None


class RankedFeature(NamedTuple):
    """One feature of an incident, with the size and the p-value of its drift."""

    feature: str
    effect_size: float | None
    p_value: float | None


class RankedSegment(NamedTuple):
    """One segment that is worse than the rest of its window, by the metric of the alert.

    ``worse_by`` is absolute for rates and relative for errors; ``p_value`` is corrected for how many segments were looked at.
    """

    segment: dict[str, str]
    labels: int
    value: float | None
    rest: float | None
    worse_by: float
    p_value: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an event was decided. Lists stand in order of importance, because they are cut from the end."""

    statistic: Annotated[str, Meta(description="What was computed, for example psi or adwin.")]
    value: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    level: Annotated[float | None, Meta(description="The level that the p-value was judged at.")] = None
    effect_size: float | None = None
    reference_value: Annotated[float | None, Meta(description="The same statistic in the reference.")] = None
    n: Annotated[int, Meta(description="How many events of the window it rests on.")]
    standard_error: Annotated[float | None, Meta(description="Of the value, from the sampling of events alone.")] = None
    revision: Annotated[
        int | None, Meta(description="Which evaluation of the window: 1 at maturity, 2 at the horizon of the labels.")
    ] = None
    labels: Annotated[int | None, Meta(description="Labelled predictions that it rests on.")] = None
    proxy: Annotated[
        bool, Meta(description="It stands in for performance, which it does not measure: the labels are not in yet.")
    ] = False
    coverage: Annotated[
        float | None, Meta(description="Share of the window's predictions whose label had come; unknown by arrival.")
    ] = None
    sample: Annotated[float | None, Meta(description="Share of predictions that wait for a label at all.")] = None
    delay_p50_ms: Annotated[
        int | None, Meta(description="Half of these labels came within this time of their prediction.")
    ] = None
    delay_p90_ms: int | None = None
    delay_p99_ms: int | None = None
    reference_hash: str = ""
    config_hash: Annotated[str, Meta(description="Hash of the thresholds and the policy in force.")] = ""
    bins: list[Bin] = msgspec.field(default_factory=list)
    features: list[RankedFeature] = msgspec.field(default_factory=list)
    segments: Annotated[
        list[RankedSegment], Meta(description="Of all traffic: segments that are worse than the rest of the window.")
    ] = msgspec.field(default_factory=list)
    windows: Annotated[list[Span], Meta(description="The disjoint windows that confirmed it.")] = msgspec.field(
        default_factory=list
    )
    trimmed: Annotated[bool, Meta(description="Something was cut to fit the size limit of an event.")] = False


class AlertData(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert event says. Ten keys at most: it is read on telephones."""

    alert_id: Annotated[str, Meta(description="The same over the alert's life.")]
    model: str
    severity: Severity
    kind: Family
    subject: Subject
    window: Span
    evidence: Evidence
    incident: Annotated[str, Meta(description="Related alerts share it.")]
    summary: Annotated[str, Meta(description="One sentence that a person can act on.")]
    links: dict[str, str] = msgspec.field(default_factory=dict)


class TrainingRange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the data for a new version lie: a span of event time, and the offsets that contain it (a superset)."""

    event_time: Span
    offsets: Annotated[
        dict[str, dict[str, tuple[int, int]]],
        Meta(description="Lowest and highest offset by topic and partition; filter what lies there by event time."),
    ] = msgspec.field(default_factory=dict)


class RetrainData(msgspec.Struct, frozen=True, kw_only=True):
    """What a retrain event says: why, on what, and the key that makes acting on it twice harmless."""

    idempotency_key: Annotated[str, Meta(description="The same for proposal, request and cancellation.")]
    model: str
    model_version: str
    variant: str
    reason: Annotated[str, Meta(description="One sentence that a person can act on.")]
    evidence: Evidence
    alerts: Annotated[list[str], Meta(description="Ids of the alerts that caused it.")]
    training_range: TrainingRange
    labels_available: Annotated[int, Meta(description="Labelled predictions in the training range.")]
    incident: str = ""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The envelope of CloudEvents 1.0, structured mode, without its `data`."""

    id: Annotated[str, Meta(description="Deterministic: equal ids mean the same event.")]
    source: Annotated[str, Meta(description="driftline/<group>")]
    subject: Annotated[str, Meta(description="model/version/variant, then the feature or metric.")]
    time: Annotated[str, Meta(description="End of the window that decided, RFC 3339, UTC.")]
    sequence: Annotated[str, Meta(description="Counts the events of one alert or request; ignore a lower one.")]
    recordedtime: Annotated[str, Meta(description="When it was written, by the wall clock.")]
    specversion: Literal["1.0"] = "1.0"
    datacontenttype: Literal["application/json"] = "application/json"


class AlertEvent(CloudEvent, frozen=True, kw_only=True):
    """One event in the life of an alert: topic `driftline.alerts`, key = model."""

    type: AlertType
    data: AlertData


class RetrainEvent(CloudEvent, frozen=True, kw_only=True):
    """A request to train, its proposal or its cancellation: topic `driftline.retrain`, key = model."""

    type: RetrainType
    expirytime: Annotated[str, Meta(description="From then on nobody should act on it, RFC 3339, UTC.")]
    data: RetrainData


def sequence_text(number: int) -> str:
    """Return the `sequence` attribute for the `number`-th event (from 1), padded to `SEQUENCE_DIGITS`.

    Raises:
        ValueError: `number` is below 1 or has more digits than that.
    """
    if not 1 <= number < 10**SEQUENCE_DIGITS:
        message = f"a sequence number lies in 1 to {10**SEQUENCE_DIGITS - 1}, not {number}"
        raise ValueError(message)
    return f"{number:0{SEQUENCE_DIGITS}d}"
