"""Drift: every closed window of a stream against its reference, by the rule that the budget leaves (`detectors.decisions`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detectors.decisions import severity
from schemas.alerts import Bin, Evidence, RankedFeature
from schemas.config import Confirmation, ModelConfig
from streams.engine.families import Book, decide, who

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detectors.decisions import Judged
    from schemas.identifiers import StreamKey
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.windows import Window

    Scaled = Callable[[StreamKey, Sequence[int]], dict[int, NDArray[np.int64]]]


def step(book: Book, model: Model, window: Window, scaled: Scaled) -> tuple[list[Change], list[dict[str, Any]]]:
    """Judge one window of all streams; returns the changes of alerts, and a record of the window to keep.

    ``scaled`` gives a stream's vectors over the last 1, 2, 4, ... windows, as far as its rule asks for them.
    """
    changes, records = [], []
    for stream, (shape_hash, vector) in window.streams.items():
        if stream.version in book.superseded:
            continue
        shape, reference = model.shapes[shape_hash], window.references[stream]
        rule, watched = model.rule(reference, stream), model.watched(reference)
        vectors = {
            scale: [shape.counts(total, i) for i in watched] for scale, total in scaled(stream, rule.scales).items()
        }
        judged = rule.judge(vectors, window.start)
        partial = {"partial": True} if model.segments.partial(stream.segment) else {}
        records.append(_record(stream, window, int(vector[0]), judged) | partial)
        answers = {s.name for s in (reference.prediction, reference.score) if s is not None}
        ranked = sorted((j for j in judged if j.rejected), key=lambda j: (-j.result.effect_size, j.subject))
        features = [RankedFeature(j.subject, j.result.effect_size, j.p_value) for j in ranked]
        for j in [*ranked, *(j for j in judged if not j.rejected)]:
            if j.result.insufficient:
                continue
            size = j.result.effect_size
            evidence = Evidence(
                statistic="psi",
                value=size,
                p_value=j.p_value,
                level=j.level,
                effect_size=size,
                n=j.result.n,
                proxy=j.subject in answers,
                reference_hash=reference.content_hash,
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
                window=(window.start - (j.scale - 1) * model.window, window.end),
                time=window.end,
                confirm=Confirmation(*j.confirm),
                evidence=evidence,
                summary=_sentence(stream, j, proxy=j.subject in answers),
            )
            if change is not None:
                changes.append(change)
    return changes, records


def _tier(model: Model) -> str:
    return model.config.tier if isinstance(model.config, ModelConfig) else "normal"


def _sentence(stream: StreamKey, judged: Judged, *, proxy: bool) -> str:
    name = who(stream)
    size = f"PSI {judged.result.effect_size:.2f} over {judged.result.n:,} events"
    if not judged.rejected:
        return f"{name}: {judged.subject} looks like the reference again ({size})"
    most = max(judged.result.top, key=lambda t: abs(t[2] - t[1]), default=None)
    where = f", most in {most[0]} ({most[1]:.1%} in the reference, {most[2]:.1%} now)" if most else ""
    only = "; a proxy for performance: no label is in it" if proxy else ""
    return f"{name}: {judged.subject} has drifted from the reference ({size}{where}{only})"


def _record(stream: StreamKey, window: Window, rows: int, judged: list[Judged]) -> dict[str, Any]:
    """What is kept of a window."""
    return {
        "version": stream.version,
        "variant": stream.variant,
        "segment": stream.segment,
        "window": [window.start, window.end],
        "rows": rows,
        "cells": {
            j.subject: {
                "n": j.result.n,
                "psi": j.result.psi,
                "p_value": j.p_value,
                "level": j.level,
                "scale": j.scale,
                "rejected": j.rejected,
                "method": j.result.method,
            }
            for j in judged
        },
    }
