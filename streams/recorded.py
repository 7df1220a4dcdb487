"""A reference from recorded events: the first predictions of a model in its topic, with the labels that have come for them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from detectors.reference import Reference
from schemas.errors import ReferenceMismatch
from schemas.events import Label, Prediction
from schemas.times import parse_time
from streams.edges.kafka_range import KafkaRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from schemas.config import Config


def reference_from_topic(
    config: Config,
    model: str,
    rows: int,
    *,
    ignore: Sequence[str] = (),
    types: Mapping[str, str] | None = None,
    watch: Callable[[Iterable[Any], int], Iterable[Any]] = lambda found, _: found,
) -> Reference:
    """Build a reference from the first ``rows`` predictions of a model, by record time, then partition and offset.

    The first label of a prediction counts, as it does live; predictions without one take part without. ``watch`` wraps the
    records read, for a progress bar.

    Raises ReferenceMismatch (also when the topic holds fewer events), TopicMissing or ConnectionProblem.
    """
    events = _first_predictions(config, model, rows, watch)
    if len(events) < rows:
        what = f"topic {config.topics.predictions!r} holds {len(events)} predictions of model {model!r}, {rows} were asked for"
        raise ReferenceMismatch(what, "wait for more, ask for fewer, or check the model's name")
    labels = _labels(config, model, {e.prediction_id for e in events}, watch)
    settings = config.models[model]
    table = {
        "features": [e.features for e in events],
        "prediction": [e.prediction for e in events],
        "score": [e.score for e in events],
        "label": [labels.get(e.prediction_id) for e in events],
        "event_time": [parse_time(e.event_time) for e in events],
    }
    return Reference.build(
        table,
        task=settings.task,
        positive_class=settings.positive_class,
        ignore=ignore,
        types=types,
        window_ms=settings.windows.size,
    )


def _first_predictions(
    config: Config, model: str, rows: int, watch: Callable[[Iterable[Any], int], Iterable[Any]]
) -> list[Prediction]:
    """The earliest of the first ``rows`` of each partition: no later record of a partition can be among them."""
    decode = msgspec.json.Decoder(Prediction).decode
    found: dict[int, list[tuple[int, int, int, Prediction]]] = defaultdict(list)
    log = KafkaRange(config.kafka, [config.topics.predictions])
    for m in watch(log, log.total):
        mine = found[m.partition()]
        if len(mine) >= rows or m.value() is None:
            continue
        try:
            event = decode(m.value())
            parse_time(event.event_time)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue  # the worker dead-letters it; it was never part of what the model saw
        if event.model == model:
            mine.append((m.timestamp()[1], m.partition(), m.offset(), event))
    merged = sorted((row for part in found.values() for row in part), key=lambda row: row[:3])
    return [event for *_, event in merged[:rows]]


def _labels(
    config: Config, model: str, wanted: set[str], watch: Callable[[Iterable[Any], int], Iterable[Any]]
) -> dict[str, Any]:
    """The first label of each wanted prediction in offset order, which is what counts live (R5)."""
    decode = msgspec.json.Decoder(Label).decode
    first: dict[str, tuple[int, int, Any]] = {}
    log = KafkaRange(config.kafka, [config.topics.labels])
    for m in watch(log, log.total):
        try:
            label = decode(m.value() or b"")
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if label.prediction_id in wanted and label.model in {None, model}:
            # Labels of one id lie in one partition; should they not, the result must still not depend on who came first.
            place = (m.partition(), m.offset(), label.label)
            first[label.prediction_id] = min(first.get(label.prediction_id, place), place, key=lambda p: p[:2])
    return {name: label for name, (_, _, label) in first.items()}
