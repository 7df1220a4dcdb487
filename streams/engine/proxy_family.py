"""Proxies: what scores alone, and the first labels, say about performance before windows are mature.

Over the windows of drift: the share of low-confidence answers and the estimated error rate (`detectors.performance.proxies`).
Over windows of labels by arrival: whether scores still come true as in the reference (`calibration_drift`); the panes of a
window are collected in the state, so that a restart goes on in the middle of one. A stream's first labels are the quick ones, and
no fair sample where positives are known sooner than negatives: its calibration is judged from one maturity after its first on.

A proxy is no performance: every summary and every evidence says so. The tests share the budget of performance
(``Model.outcome_cells``). Independent rows are assumed, but for the ordinary variation of the score where the reference has one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from detectors.decisions import level
from detectors.performance.calibration_drift import calibration_drift
from detectors.performance.proxies import LEAST_N, ScoreProxies
from schemas.alerts import Evidence
from schemas.identifiers import StreamKey  # noqa: TC001  # msgspec reads it from the annotation
from streams.engine import outcomes, snapshot
from streams.engine.families import Book, decide, stream_text, who
from streams.engine.shape import merge
from streams.engine.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.performance.calibration_drift import CalibrationDrift
    from detectors.performance.proxies import Proxy
    from detectors.reference import Reference
    from schemas.alerts import Severity
    from streams.engine.alerts import Change
    from streams.engine.plan import Model

CALIBRATION = "calibration"
_REFERENCES = 64
"""References whose proxies are kept compiled: as many versions as a group watches at a time."""
_WARNING, _CRITICAL = 0.05, 0.10
"""Change of a share that makes an alert a warning, and a critical one: the steps of performance."""
_NAMES = {
    "low_confidence": "the share of low-confidence answers",
    "estimated_error_rate": "the estimated error rate",
}


class Proxies(msgspec.Struct):
    """The state of the family.

    ``arrived`` holds the sums of the panes of labels of the window that begins at ``start`` (-1: none), by stream, with the shape that
    they were counted with; ``first`` the start of the window in which a stream's labels began to come.
    """

    book: Book = msgspec.field(default_factory=Book)
    """Of the windows of predictions."""
    calibration: Book = msgspec.field(default_factory=Book)
    """Of the windows of labels: another sequence, and an incident is shared by what one sequence decides (P2)."""
    first: dict[str, int] = msgspec.field(default_factory=dict)
    start: int = -1
    arrived: dict[str, tuple[StreamKey, str, bytes]] = msgspec.field(default_factory=dict)


@lru_cache(maxsize=_REFERENCES)
def proxies_of(reference: Reference) -> ScoreProxies | None:
    """The compiled proxies of a reference."""
    return ScoreProxies.of(reference)


def step(state: Proxies, model: Model, window: Window) -> tuple[list[Change], dict[StreamKey, dict[str, Any]]]:
    """Judge the scores of one window of all streams; returns the changes of alerts, and what to keep of each stream's window."""
    changes: list[Change] = []
    kept: dict[StreamKey, dict[str, Any]] = {}
    watched = [name for name in model.proxies if name != CALIBRATION]
    if not watched:
        return changes, kept
    for stream, (shape_hash, vector) in window.streams.items():
        reference = window.references[stream]
        compiled = proxies_of(reference)
        if compiled is None or stream.version in state.book.superseded:
            continue
        slots = model.shapes[shape_hash].counts(vector, len(reference.subjects) - 1)
        found: list[Proxy] = []
        for name in watched:
            proxy: Proxy | None = getattr(compiled, name)(slots, window.start)
            if proxy is not None:
                found.append(proxy)
        kept[stream] = {p.name: _record(p) for p in found}
        for proxy in found:
            if proxy.n < LEAST_N:
                continue
            change = _judge(state.book, model, stream, window, proxy)
            if change is not None:
                changes.append(change)
    return changes, kept


def collect(state: Proxies, model: Model, pane: Window) -> None:
    """Add a pane of labels to the window that it lies in; the window before it is closed already (`close`)."""
    if CALIBRATION not in model.proxies:
        return
    state.start = pane.start // model.window * model.window
    for stream, (shape_hash, vector) in pane.streams.items():
        key = stream_text(stream)
        state.first.setdefault(key, state.start)
        before = state.arrived.get(key)
        total = vector if before is None else merge([snapshot.unpack_vector(before[2]), vector])
        state.arrived[key] = stream, shape_hash, snapshot.pack_vector(total)


def close(
    state: Proxies, model: Model, until: int, reference_of: Callable[[StreamKey, str], Reference]
) -> tuple[Window, list[Change], list[dict[str, Any]]] | None:
    """Judge the collected window if it ends at ``until`` or before; returns it, the changes of alerts, and records to keep."""
    if state.start < 0 or state.start + model.window > until:
        return None
    window = Window(state.start, state.start + model.window)
    for stream, shape_hash, data in state.arrived.values():
        window.streams[stream] = shape_hash, snapshot.unpack_vector(data)
        window.references[stream] = reference_of(stream, shape_hash)
    state.start, state.arrived = -1, {}
    changes: list[Change] = []
    records: list[dict[str, Any]] = []
    for stream, (_, vector) in sorted(window.streams.items()):
        known = window.references[stream].outcomes
        if known is None or stream.version in state.calibration.superseded:
            continue
        found = calibration_drift(known, outcomes.arrival(model, vector).counts)
        if found is None:
            continue
        judged = window.start >= state.first[stream_text(stream)] + model.maturity
        records.append(_calibration_record(stream, window, found, judged=judged))
        if judged:
            change = _judge_calibration(state.calibration, model, stream, window, found)
            if change is not None:
                changes.append(change)
    return window, changes, records


def _judge(book: Book, model: Model, stream: StreamKey, window: Window, proxy: Proxy) -> Change | None:
    at = _level(model, stream)
    rejected = proxy.p_value < at
    size = proxy.value - proxy.reference_value
    verb = "has risen" if rejected else "is as in the reference again"
    return decide(
        book,
        model,
        stream,
        "proxy",
        proxy.name,
        rejected=rejected,
        severity=_severity(size),
        window=(window.start, window.end),
        time=window.end,
        confirm=model.config.alerts.confirmation,
        evidence=Evidence(
            statistic=proxy.name,
            value=proxy.value,
            standard_error=proxy.standard_error,
            reference_value=proxy.reference_value,
            p_value=proxy.p_value,
            level=at,
            effect_size=size,
            n=proxy.n,
            proxy=True,
            reference_hash=window.references[stream].content_hash,
            config_hash=model.decision,
        ),
        summary=(
            f"{who(stream)}: {_NAMES[proxy.name]} {verb} ({proxy.value:.3f} on {proxy.n:,} scores, "
            f"{proxy.reference_value:.3f} in the reference; a proxy: no labels yet, estimated from scores)"
        ),
    )


def _judge_calibration(
    book: Book, model: Model, stream: StreamKey, window: Window, found: CalibrationDrift
) -> Change | None:
    at = _level(model, stream)
    rejected = found.p_value < at
    size = max(abs(found.excess), abs(found.tilt))
    verb = "do not come true as in the reference" if rejected else "come true as in the reference again"
    return decide(
        book,
        model,
        stream,
        "proxy",
        CALIBRATION,
        rejected=rejected,
        severity=_severity(size),
        window=(window.start, window.end),
        time=window.end,
        confirm=model.config.alerts.confirmation,
        evidence=Evidence(
            statistic="level" if found.level <= found.slope else "slope",
            value=found.observed / found.n,
            reference_value=found.expected / found.n,
            p_value=found.p_value,
            level=at,
            effect_size=size,
            n=found.n,
            labels=found.n,
            sample=model.sample,
            proxy=True,
            reference_hash=window.references[stream].content_hash,
            config_hash=model.decision,
        ),
        summary=(
            f"{who(stream)}: scores {verb} ({found.observed:,} positives where {found.expected:,.1f} were to be expected of "
            f"{found.n:,} labels by arrival{_tilted(found)}; a proxy: not all labels are in)"
        ),
    )


def _tilted(found: CalibrationDrift) -> str:
    if found.level <= found.slope:
        return ""
    return (
        ", high scores too rarely and low ones too often"
        if found.tilt < 0
        else ", high scores more often than low ones"
    )


def _level(model: Model, stream: StreamKey) -> float:
    alerts = model.config.alerts
    return level(model.budget(stream), "performance", model.window, model.outcome_cells, alerts.confirmation)


def _severity(size: float) -> Severity:
    return "critical" if size >= _CRITICAL else "warning" if size >= _WARNING else "info"


def _record(proxy: Proxy) -> dict[str, Any]:
    return {
        "value": proxy.value,
        "reference_value": proxy.reference_value,
        "standard_error": proxy.standard_error,
        "n": proxy.n,
        "p_value": proxy.p_value,
        "outside": proxy.outside,
    }


def _calibration_record(stream: StreamKey, window: Window, found: CalibrationDrift, *, judged: bool) -> dict[str, Any]:
    return {
        "version": stream.version,
        "variant": stream.variant,
        "segment": stream.segment,
        "window": [window.start, window.end],
        "labels": found.n,
        "observed": found.observed,
        "expected": found.expected,
        "level": found.level,
        "slope": found.slope,
        "p_value": found.p_value,
        "unknown": found.unknown,
        "judged": judged,
    }
