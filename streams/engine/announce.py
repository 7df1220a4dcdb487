"""From decisions to events: the CloudEvents that leave, with deterministic ids. One id, one payload (P3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.alerts import (
    AlertData,
    AlertEvent,
    Evidence,
    RetrainData,
    RetrainEvent,
    Span,
    Subject,
    TrainingRange,
    sequence_text,
)
from schemas.identifiers import event_id, segment_values, transition_id
from schemas.outbox import OutboxEvent, encode
from schemas.times import rfc3339
from streams.engine import quality_family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.settings import Topics
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.retrain import Request, Verb


def alert(change: Change, group: str, topics: Topics, recorded: str) -> OutboxEvent:
    """The event of one transition of one alert."""
    condition, stream = change.condition, change.stream
    is_metric = change.family in {"performance", "sequential", "proxy", "service", "labels"}
    # A quality alert is about a check of a feature: both have a field of their own.
    feature, metric = (None, change.subject) if is_metric else (change.subject, None)
    if change.family == "quality":
        feature, metric = quality_family.split(change.subject)
    subject = Subject(
        model_version=stream.version,
        variant=stream.variant,
        feature=feature,
        metric=metric,
        segment=segment_values(stream.segment),
    )
    event = AlertEvent(
        id=transition_id(condition.alert_id, change.transition, window_end_ms=change.time, revision=condition.sequence),
        source=f"driftline/{group}",
        type=f"dev.driftline.alert.{change.transition}.v1",  # type: ignore[arg-type]  # one of the three by construction
        subject="/".join([*stream[:3], *([stream.segment] if stream.segment else []), change.subject]),
        time=rfc3339(change.time),
        sequence=sequence_text(condition.sequence),
        recordedtime=recorded,
        data=AlertData(
            alert_id=condition.alert_id,
            model=stream.model,
            severity=condition.severity,
            kind=change.family,
            subject=subject,
            window=Span.of(*change.window),
            evidence=change.evidence,
            incident=condition.incident,
            summary=change.summary,
        ),
    )
    return encode(event, topics.alerts)


def retrain(
    model: Model,
    verb: Verb,
    request: Request,
    time: int,
    offsets: Mapping[str, Mapping[str, tuple[int, int]]],
    group: str,
    topics: Topics,
    recorded: str,
) -> OutboxEvent:
    """The event of a request: proposed, requested or cancelled. The training range ends where it was decided."""
    first = request.causes[0]
    what = "; ".join(dict.fromkeys(c.summary for c in request.causes))
    reason = {
        "proposed": f"Approve to train a new version of {model.name}: {what}",
        "requested": f"Train a new version of {model.name}: {what}",
        "cancelled": f"Nobody took it up, or finished it, before it expired: {what}",
    }[verb]
    event = RetrainEvent(
        id=event_id("retrain-event", request.key, verb),
        source=f"driftline/{group}",
        type=f"dev.driftline.retrain.{verb}.v1",  # type: ignore[arg-type]  # one of the three by construction
        subject=f"{model.name}/{first.version}/{first.variant}",
        time=rfc3339(time),
        sequence=sequence_text(request.sequence),
        recordedtime=recorded,
        expirytime=rfc3339(request.expires),
        data=RetrainData(
            idempotency_key=request.key,
            model=model.name,
            model_version=first.version,
            variant=first.variant,
            reason=reason,
            evidence=Evidence(
                statistic=first.statistic,
                value=first.value,
                n=first.n,
                reference_hash=first.reference_hash,
                config_hash=model.decision,
            ),
            alerts=[c.alert_id for c in request.causes],
            training_range=TrainingRange(
                event_time=Span.of(request.since, request.decided),
                offsets={topic: dict(by_partition) for topic, by_partition in offsets.items()},
            ),
            labels_available=request.labels,
            incident=first.incident,
        ),
    )
    return encode(event, topics.retrain)
