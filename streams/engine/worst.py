"""Where a model is worst in a window: its segments against the rest of the same traffic (`detectors.performance.worst`).

It needs no reference, so it also covers segments that the reference does not hold. A name in the list is evidence beside the
window's figures, not an alert: one window in 100 names a segment that is no worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detectors.performance.worst import WorseSegment, worst_segments
from schemas.alerts import RankedSegment
from schemas.config import ModelConfig
from schemas.identifiers import segment_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from schemas.identifiers import StreamKey
    from streams.engine.plan import Model

__all__ = ["WorseSegment", "Worst", "ranked", "record", "worst"]

MOST = 20
"""Segments that are named of one metric: the surest losses stand first."""

Worst = dict[str, list[WorseSegment[str]]]
"""By metric, the segments (canonical texts) that are worse than the rest, surest loss first."""


def worst(model: Model, counts: Mapping[StreamKey, NDArray[np.int64]], whole: StreamKey) -> Worst:
    """Rank the segments of one version and variant; ``counts`` are the outcome vectors of all streams of a window."""
    config = model.config
    if not isinstance(config, ModelConfig) or whole.segment:
        return {}
    segments = {s.segment: vector for s, vector in counts.items() if s.segment and s[:3] == whole[:3]}
    if not segments:
        return {}
    found = {
        metric: worst_segments(segments, counts[whole], config.task, model.classes, metric)[:MOST]
        for metric in config.performance
    }
    return {metric: listed for metric, listed in found.items() if listed}


def ranked(listed: list[WorseSegment[str]]) -> list[RankedSegment]:
    """The list as an alert's evidence has it."""
    return [
        RankedSegment(segment_values(w.segment), w.labels, w.current.value, w.rest.value, w.worse_by, w.corrected)
        for w in listed
    ]


def record(found: Worst) -> dict[str, list[dict[str, Any]]]:
    """The lists as a window's record keeps them."""
    return {
        metric: [
            {
                "segment": w.segment,
                "labels": w.labels,
                "value": w.current.value,
                "rest": w.rest.value,
                "worse_by": w.worse_by,
                "at_least": w.lower,
                "p_value": w.corrected,
                "judged": w.judged,
            }
            for w in listed
        ]
        for metric, listed in found.items()
    }
