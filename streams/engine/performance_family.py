"""Performance: the labelled outcomes of a window at maturity, against the performance in the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detectors.decisions import Budget, level
from detectors.performance import Metric, drop_p_value, metrics
from schemas.alerts import Evidence
from schemas.config import ModelConfig
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
"""Drop of a rate (or growth of an error, relative) that makes an alert a warning, and a critical one."""
_HIGHER_IS_WORSE = frozenset({"mae", "rmse"})


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
    for stream, (shape_hash, vector) in window.streams.items():
        outcomes = vector[HEADER : HEADER + model.outcome_width]
        found = of_vector(model, outcomes)
        records.append(
            {
                "version": stream.version,
                "variant": stream.variant,
                "window": [window.start, window.end],
                "labels": int(outcomes[0]),
                "metrics": {
                    k: {"value": m.value, "standard_error": m.standard_error, "n": m.n} for k, m in found.items()
                },
            }
        )
        reference = model.references[shape_hash]
        if stream.version in book.superseded or reference.outcomes is None:
            continue
        baseline = of_vector(model, reference.outcomes)
        watched = [m for m in config.performance if m in found and m in baseline]
        at = level(Budget.parse(config.alerts.false_alarms), "performance", model.window, max(1, len(watched)), confirm)
        for metric in watched:
            now, was = found[metric], baseline[metric]
            if now.value is None or was.value is None or now.standard_error is None:
                continue
            p_value = drop_p_value(was, now, "higher" if metric in _HIGHER_IS_WORSE else "lower")
            worse = now.value - was.value if metric in _HIGHER_IS_WORSE else was.value - now.value
            rejected = p_value < at
            size = worse / abs(was.value) if metric in _HIGHER_IS_WORSE and was.value else worse
            evidence = Evidence(
                statistic=metric,
                value=now.value,
                reference_value=was.value,
                p_value=p_value,
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
