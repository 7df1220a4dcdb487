"""Looking at the newest predictions and labels: how their producers place them, and what that means for a start (R10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from schemas.errors import DriftlineError, NotCoPartitioned
from schemas.times import parse_time
from streams.edges.kafka_sample import newest
from streams.placement import Placement, Sighting, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.config import Config
    from schemas.settings import Topics
    from streams.edges.kafka_sample import Sampled

log = structlog.get_logger()
Sightings = dict[str, list[Sighting]]
"""By topic."""


class _Named(msgspec.Struct):
    """What a prediction and a label have in common, and nothing else of them."""

    prediction_id: str
    model: str | None = None
    event_time: int | str | None = None


_decoder = msgspec.json.Decoder(_Named)


def sight(record: Sampled) -> Sighting:
    """What a sampled record tells; one that cannot be read has no id."""
    try:
        named = _decoder.decode(record.value or b"")
        event_ms = None if named.event_time is None else parse_time(named.event_time)
    except (msgspec.MsgspecError, RecursionError, ValueError):  # bytes that are no UTF-8, a bad time: ValueErrors
        return Sighting(record.partition, record.key, "", "", record.timestamp_ms)
    return Sighting(record.partition, record.key, named.prediction_id, named.model or "", record.timestamp_ms, event_ms)


def look(kafka: Mapping[str, str | int | bool], topics: Iterable[str], counts: Mapping[str, int]) -> Sightings:
    """Sample ``topics``; takes some seconds at most. Raises TopicMissing, PermissionMissing or ConnectionProblem."""
    found = newest(kafka, {topic: counts[topic] for topic in topics})
    return {topic: [sight(record) for record in records] for topic, records in found.items()}


def verdict(topics: Topics, counts: Mapping[str, int], seen: Sightings) -> Verdict:
    """Whether labels come to where their predictions are; the two topics have one number of partitions."""
    both = (Placement(t, counts[t], seen[t]) for t in (topics.predictions, topics.labels))
    return judge(*both)


def refuse_apart(config: Config, counts: Mapping[str, int]) -> None:
    """Raise NotCoPartitioned when labels provably cannot meet their predictions; warn when there is a doubt.

    What keeps us from looking is only said: it is no reason not to start.
    """
    t = config.topics
    if counts[t.predictions] == 1:
        return
    try:
        found = verdict(t, counts, look(config.kafka, (t.predictions, t.labels), counts))
    except DriftlineError as error:
        log.warning("not checked whether labels meet their predictions", reason=str(error))
        return
    if found.refuse:
        remedy = f"{found.remedy}. Where older records alone are to blame, start with --no-partition-check"
        raise NotCoPartitioned(found.what, remedy)
    if found.state in {"apart", "partly"}:
        log.warning("labels may miss their predictions", reason=found.what, remedy=found.remedy)


def same_number(topics: Topics, counts: Mapping[str, int]) -> NotCoPartitioned | None:
    """The error to raise when predictions and labels have different numbers of partitions."""
    predictions, labels = counts[topics.predictions], counts[topics.labels]
    if predictions == labels:
        return None
    what = f"{topics.predictions} has {predictions} partitions and {topics.labels} has {labels}"
    small = topics.labels if labels < predictions else topics.predictions
    more = max(predictions, labels)
    # Partitions can be added and never taken away.
    remedy = (
        f"give both the same number, so that a label lands on its prediction's partition number: "
        f"kafka-topics.sh --bootstrap-server SERVER --alter --topic {small} --partitions {more}"
    )
    return NotCoPartitioned(what, remedy)
