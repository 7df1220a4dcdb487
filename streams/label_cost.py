"""What waiting for labels costs: rate x horizon predictions are remembered, so many bytes each (R12).

Remembered at once, for each model: predictions a second x ``labels.sample`` x the time that a prediction is kept. That is the
horizon and two slots more, because whole slots are forgotten. A label that came is remembered for one horizon of its own, to
recognise a second one; when its prediction goes before, it takes a line of its own.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.engine.join_log import BYTES_IN_STORE, BYTES_OF_LABEL, BYTES_OF_LINE
from streams.engine.remembered import BYTES_IN_MEMORY, BYTES_OF_NUMBER, LONGEST_SPAN, SLOTS_PER_HORIZON

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.config import ModelConfig
    from streams.placement import Sighting

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_QUANTILE = 20
"""The rate of a sample leaves out the earliest and the latest twentieth: one stray event time must not stretch it."""
_FEW = 20
"""Fewer events of a partition have no rate."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Predictions a second, and over what they were counted."""

    per_second: float
    over: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What one model needs: predictions at once, bytes in all workers together, bytes in Redis when all are labelled.

    ``outliving_bytes``: what labels that outlive their prediction add in Redis at most, when each comes at the end of the horizon.
    """

    remembered: int
    memory_bytes: int
    store_bytes: int
    outliving_bytes: int


def live(sightings: Sequence[Sighting]) -> bool:
    """Whether event times follow record times: else history is being sent, and its rate is that of its event times."""
    behind = [abs(s.record_ms - s.event_ms) for s in sightings if s.event_ms is not None]
    return bool(behind) and statistics.median(behind) <= _HOUR_MS


def counted(day: tuple[int, bool] | None, hour: tuple[int, bool] | None, horizon_ms: int) -> Rate | None:
    """The rate from counts of the last day and hour; each is (records, whether there are older ones), or None.

    A topic that is younger than the day, or of which a day is not kept, has no rate over a day.
    """
    spans = [(day, _DAY_MS, "the last day"), (hour, _HOUR_MS, "the last hour")]
    if horizon_ms < _DAY_MS:
        spans.reverse()
    for found, span_ms, name in spans:
        if found is not None and found[0] and found[1]:
            return Rate(found[0] * 1000 / span_ms, name)
    return None


def sampled(sightings: Iterable[Sighting]) -> Rate | None:
    """The rate at which the newest events follow each other in event time, summed over partitions."""
    times: dict[int, list[int]] = {}
    for s in sightings:
        if s.event_ms is not None:
            times.setdefault(s.partition, []).append(s.event_ms)
    total = 0.0
    for found in times.values():
        cut = len(found) // _QUANTILE
        inner = sorted(found)[cut : len(found) - cut]
        if len(found) >= _FEW and inner[-1] > inner[0]:
            total += (len(inner) - 1) * 1000 / (inner[-1] - inner[0])
    return Rate(total, "the event times of the newest") if total else None


def cost(model: ModelConfig, per_second: float, *, numbers: bool = False) -> Cost:
    """What a model costs whose predictions come ``per_second``; ``numbers``: some model beside it is a regression."""
    horizon = model.labels.horizon
    slot = min(max(1, horizon // SLOTS_PER_HORIZON), LONGEST_SPAN)
    kept_s = slot * (horizon // slot + 2) / 1000
    remembered = round(per_second * model.labels.sample * kept_s)
    number = BYTES_OF_NUMBER if model.task == "regression" else 0
    each = BYTES_IN_STORE + BYTES_OF_LABEL + number
    in_memory = BYTES_IN_MEMORY + (BYTES_OF_NUMBER if numbers else number)
    outliving = round(per_second * model.labels.sample * horizon / 1000) * BYTES_OF_LINE
    return Cost(remembered, remembered * in_memory, remembered * each, outliving)


def in_words(size: float) -> str:
    """Bytes for people, in decimal units: "3.2 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004  # the decimal unit
            return f"{size:,.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
