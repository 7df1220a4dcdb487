"""Performance: the labelled outcomes of a window at maturity, against the performance in the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detectors.decisions import Budget, level
from detectors.performance import Metric, compare, metrics, reclassify
from schemas.alerts import Evidence
from schemas.config import ModelConfig
from schemas.errors import StateMismatch
from streams.engine.families import Book, decide
from streams.engine.shape import HEADER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from schemas.alerts import Severity
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.windows import Window

_WARNING, _CRITICAL = 0.05, 0.10
"""Drop of a rate (or growth of an error, relative: `detectors.performance.Comparison`) that makes an alert a warning, and a
critical one."""


def of_vector(model: Model, vector: NDArray[np.int64]) -> dict[str, Metric]:
    """All metrics of one outcome vector."""
    config = model.config
    return metrics(vector, config.task, model.classes) if isinstance(config, ModelConfig) else {}


def step(book: Book, model: Model, window: Window) -> tuple[list[Change], list[dict[str, Any]]]:
    """Judge the outcomes up to maturity of one window; returns changes of alerts and records to keep."""
    changes: list[Change] = []
    records: list[dict[str, Any]] = []
    config = model.config
    if not isinstance(config, ModelConfig):
        return changes, records
    confirm = config.alerts.confirmation
    for stream, (_, vector) in window.streams.items():
        if len(vector) != model.performance_width:
            what = f"a stored window of {model.name!r} has {len(vector)} counters, this driftline needs {model.performance_width}"
            raise StateMismatch(what, "run the driftline that wrote it, or monitor under a new model name or group")
        outcomes = vector[HEADER : HEADER + model.outcome_width]
        found = of_vector(model, outcomes)
        records.append(
            {
                "version": stream.version,
                "variant": stream.variant,
                "window": [window.start, window.end],
                "labels": int(outcomes[0]),
                "metrics": {
                    k: {"value": m.value, "standard_error": m.standard_error, "n": m.n, "bin_error": m.bin_error}
                    for k, m in found.items()
                },
            }
        )
        reference = window.references[stream]
        if stream.version in book.superseded or reference.outcomes is None:
            continue
        known = reference.outcomes
        if reference.classes != model.classes:  # a version's own reference may have met other classes
            known = reclassify(known, reference.classes, model.classes)
        watched = compare(known, outcomes, config.task, model.classes, config.performance)
        at = level(Budget.parse(config.alerts.false_alarms), "performance", model.window, model.outcome_cells, confirm)
        for metric, both in watched.items():
            now, was, size = both.current, both.reference, both.worse_by
            if now.value is None or was.value is None or size is None or now.standard_error is None:
                continue
            rejected = both.p_value < at
            evidence = Evidence(
                statistic=metric,
                value=now.value,
                reference_value=was.value,
                p_value=both.p_value,
                level=at,
                effect_size=size,
                n=now.n,
                reference_hash=reference.content_hash,
                config_hash=model.decision,
            )
            who = f"{stream.model} {stream.version}"
            figures = f"{now.value:.3f} on {int(outcomes[0]):,} labels, {was.value:.3f} in the reference"
            verb = "is worse than in the reference" if rejected else "is as good as in the reference"
            change = decide(
                book,
                model,
                stream,
                "performance",
                metric,
                rejected=rejected,
                severity=_severity(size),
                window=(window.start, window.end),
                time=window.end + model.maturity,
                confirm=confirm,
                evidence=evidence,
                summary=f"{who}: {metric} {verb} ({figures})",
            )
            if change is not None:
                changes.append(change)
    return changes, records


def _severity(size: float) -> Severity:
    return "critical" if size >= _CRITICAL else "warning" if size >= _WARNING else "info"
