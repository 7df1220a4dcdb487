"""The error rate by arrival of the labels: ADWIN fed with one pane at a time, so that it reacts before windows mature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detectors.sequential.adwin import Adwin
from schemas.alerts import Evidence
from schemas.config import Confirmation
from streams.engine.families import Book, decide, stream_text
from streams.engine.shape import HEADER

if TYPE_CHECKING:
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.windows import Window

SUBJECT = "error_rate"
_AT_ONCE = Confirmation(1, 1)
_WARNING, _CRITICAL = 0.05, 0.10
MAX_PANES = 4096
"""Starts of panes that are remembered to date a change; ADWIN's window may reach further back."""


class Series(msgspec.Struct):
    """One stream's detector: its state, the starts of the panes in its window, and its error rate before the last change."""

    adwin: dict[str, object] = msgspec.field(default_factory=lambda: Adwin().to_state())
    panes: list[int] = msgspec.field(default_factory=list)
    before: float = 0.0


def step(book: Book, series: dict[str, Series], model: Model, pane: Window) -> list[Change]:
    """Feed one arrival pane of all streams; an alert opens when the error rate rose, and resolves when it fell again."""
    changes = []
    for stream, (shape_hash, vector) in pane.streams.items():
        if stream.version in book.superseded or not model.classes:
            continue
        n, errors = int(vector[HEADER]), int(vector[HEADER + 1])
        if n == 0:
            continue
        one = series.setdefault(stream_text(stream), Series())
        detector = Adwin.from_state(one.adwin)
        before = detector.mean
        changed = detector.update_many(n, errors, errors)
        one.adwin = detector.to_state()
        one.panes = [*one.panes, pane.start][-min(MAX_PANES, max(1, detector.window_start)) :]
        if not changed:
            continue
        rose = detector.direction > 0
        if rose:
            one.before = before
        if not rose and not book.condition(stream, SUBJECT).open:
            continue
        size = detector.mean - one.before
        evidence = Evidence(
            statistic="adwin",
            value=detector.mean,
            reference_value=one.before,
            effect_size=size,
            n=detector.n,
            reference_hash=model.references[shape_hash].content_hash if shape_hash in model.references else "",
            config_hash=model.decision,
        )
        verb = "has risen" if rose else "has fallen again"
        who = f"{stream.model} {stream.version}"
        change = decide(
            book,
            model,
            stream,
            "sequential",
            SUBJECT,
            rejected=rose,
            severity="critical" if size >= _CRITICAL else "warning" if size >= _WARNING else "info",
            window=(one.panes[0], pane.end),
            time=pane.end,
            confirm=_AT_ONCE,
            evidence=evidence,
            summary=f"{who}: the error rate of labelled predictions {verb} (from {before:.3f} to {detector.mean:.3f})",
            since=one.panes[0],
        )
        if change is not None:
            changes.append(change)
    return changes
