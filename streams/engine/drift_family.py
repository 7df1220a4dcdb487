"""Drift: every closed window of a stream against its reference, cell by cell, at the level that the budget leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detectors.decisions import Budget, level, severity
from detectors.drift import CellResult, cell_test
from schemas.alerts import Bin, Evidence, RankedFeature
from schemas.config import Confirmation, ModelConfig
from streams.engine.families import Book, decide

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from schemas.identifiers import StreamKey
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.shape import Shape
    from streams.engine.windows import Window


@dataclass(frozen=True, slots=True)
class Judged:
    """One cell of one window: the test's result, whether it rejects at ``level``, and how many windows must agree.

    Where the reference is too small beside the window, windows are not independent of each other (they share the reference's
    own error), so that confirming proves nothing: one window then decides alone, at the level of one window.
    """

    subject: str
    result: CellResult
    level: float
    rejected: bool
    confirm: Confirmation


def watched(model: Model, shape: Shape) -> list[int]:
    """The subjects of a shape that the configuration wants compared."""
    if not isinstance(model.config, ModelConfig):
        return list(range(len(shape.subjects)))
    reference = model.references[shape.hash]
    wanted = model.config.drift
    features = len(reference.features)
    return [
        i
        for i, subject in enumerate(shape.subjects)
        if ("features" in wanted if i < features else subject.name in wanted)
    ]


def judge_window(model: Model, shape: Shape, vector: NDArray[np.int64]) -> list[Judged]:
    """Test every watched cell of one stream's window."""
    alerts = model.config.alerts
    subjects = watched(model, shape)
    budget, cells = Budget.parse(alerts.false_alarms), max(1, len(subjects))
    judged = []
    for i in subjects:
        result = cell_test(shape.subjects[i], shape.counts(vector, i))
        confirm = Confirmation(1, 1) if result.decides_alone else alerts.confirmation
        at = level(budget, "drift", model.window, cells, confirm)
        rejected = result.p_value is not None and not result.insufficient and result.p_value < at
        judged.append(Judged(shape.subjects[i].name, result, at, rejected, confirm))
    return judged


def step(book: Book, model: Model, window: Window) -> tuple[list[Change], list[dict[str, Any]]]:
    """Judge one window of all streams; returns the changes of alerts, and a record of the window to keep."""
    changes, records = [], []
    for stream, (shape_hash, vector) in window.streams.items():
        if stream.version in book.superseded:
            continue
        shape = model.shapes[shape_hash]
        judged = judge_window(model, shape, vector)
        records.append(_record(stream, window, int(vector[0]), judged))
        ranked = sorted((j for j in judged if j.rejected), key=lambda j: (-j.result.effect_size, j.subject))
        features = [RankedFeature(j.subject, j.result.effect_size, j.result.p_value) for j in ranked]
        for j in [*ranked, *(j for j in judged if not j.rejected)]:
            if j.result.insufficient:
                continue
            size = j.result.effect_size
            evidence = Evidence(
                statistic="psi",
                value=size,
                p_value=j.result.p_value,
                level=j.level,
                effect_size=size,
                n=j.result.n,
                reference_hash=model.references[shape_hash].content_hash,
                config_hash=model.decision,
                bins=[Bin(*top) for top in j.result.top],
                features=features,
            )
            change = decide(
                book,
                model,
                stream,
                "drift",
                j.subject,
                rejected=j.rejected,
                severity=severity(size, _tier(model)),
                window=(window.start, window.end),
                time=window.end,
                confirm=j.confirm,
                evidence=evidence,
                summary=_sentence(stream, j),
            )
            if change is not None:
                changes.append(change)
    return changes, records


def _tier(model: Model) -> str:
    return model.config.tier if isinstance(model.config, ModelConfig) else "normal"


def _sentence(stream: StreamKey, judged: Judged) -> str:
    who = f"{stream.model} {stream.version}".strip()
    size = f"PSI {judged.result.effect_size:.2f} over {judged.result.n:,} events"
    if not judged.rejected:
        return f"{who}: {judged.subject} looks like the reference again ({size})"
    most = max(judged.result.top, key=lambda t: abs(t[2] - t[1]), default=None)
    where = f", most in {most[0]} ({most[1]:.1%} in the reference, {most[2]:.1%} now)" if most else ""
    return f"{who}: {judged.subject} has drifted from the reference ({size}{where})"


def _record(stream: StreamKey, window: Window, rows: int, judged: list[Judged]) -> dict[str, Any]:
    """What is kept of a window."""
    return {
        "version": stream.version,
        "variant": stream.variant,
        "window": [window.start, window.end],
        "rows": rows,
        "cells": {
            j.subject: {
                "n": j.result.n,
                "psi": j.result.psi,
                "p_value": j.result.p_value,
                "level": j.level,
                "rejected": j.rejected,
                "method": j.result.method,
            }
            for j in judged
        },
    }
