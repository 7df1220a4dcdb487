"""No data: a stream that was there before and has fallen silent (P7), of predictions, of feature events, or of labels.

Every window counts here, the empty ones too: between two windows with rows, and behind the last one as far as the clocks have
come, each stream that is missing is judged by its own past (`streams.engine.silence`). One window is enough where rows were
many; no confirmation is asked, because a silence confirms itself by its length. A gap costs one look a stream, however long it is.

Severity: `critical` when the whole model is silent; `warning` when other streams of it go on (a segment, a variant); `info` when
another version of the same variant goes on whose spell began later: it took the traffic over. The model's tier shifts the
first two. While a whole version is silent its segments are not judged, and versions that were superseded never are. The alert
resolves when rows return, or after 28 days, when the stream is forgotten.

Decisions depend on the sequence of windows alone: a look that is taken in two parts finds what one look finds (P2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detectors.decisions import level
from schemas.alerts import Evidence
from schemas.config import Confirmation, ModelConfig
from schemas.identifiers import StreamKey
from schemas.times import rfc3339
from streams.engine.alerts import Condition
from streams.engine.families import Book, decide, stream_text, who
from streams.engine.silence import Past, forget_after

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from schemas.alerts import Family, Severity
    from streams.engine.alerts import Change
    from streams.engine.plan import Model

_AT_ONCE = Confirmation(1, 1)
_TIERS: Final[dict[str, dict[Severity, Severity]]] = {
    "low": {"critical": "warning", "warning": "info", "info": "info"},
    "normal": {"critical": "critical", "warning": "warning", "info": "info"},
    "high": {"critical": "critical", "warning": "critical", "info": "info"},
}


class Presence(msgspec.Struct):
    """The state: conditions, the past of every stream (``stream_text``), and up to where silence has been looked at (ms)."""

    book: Book = msgspec.field(default_factory=Book)
    pasts: dict[str, Past] = msgspec.field(default_factory=dict)
    through: int = -1


@dataclass(frozen=True, slots=True)
class Kind:
    """What is listened for: the family and subject of its alerts, and what a sentence calls its rows."""

    family: Family
    subject: str
    rows: str


PREDICTIONS: Final = Kind("service", "no_data", "predictions")
FEATURE_EVENTS: Final = Kind("service", "no_data", "feature events")


def service_cells(model: Model) -> int:
    """How many tests a window has in the budget of service: silence, and those of the labels (their rate has two)."""
    config = model.config
    if not isinstance(config, ModelConfig):
        return 1
    return max(1, len(config.service) + len(config.label_monitors) + ("rate" in config.label_monitors))


def service_level(model: Model, stream: StreamKey) -> float:
    """The level of one test of one window, which decides alone."""
    return level(model.budget(stream), "service", model.window, service_cells(model), _AT_ONCE)


def tiered(model: Model, severity: Severity) -> Severity:
    """A severity as the model's tier shifts it; `info` stays."""
    return _TIERS[model.config.tier if isinstance(model.config, ModelConfig) else "normal"][severity]


def step(state: Presence, model: Model, start: int, rows: Mapping[StreamKey, int]) -> list[Change]:
    """Take in the next window of predictions (or feature events) with rows, by stream; ``start`` in ms."""
    if isinstance(model.config, ModelConfig) and not model.config.service:
        return []
    kind = PREDICTIONS if model.labelled else FEATURE_EVENTS
    return listen(state, model, kind, start, rows)


def advance(state: Presence, model: Model, until: int) -> list[Change]:
    """Judge the silence up to ``until``: every window that ends there or before, and has rows, has been taken in."""
    if isinstance(model.config, ModelConfig) and not model.config.service:
        return []
    return quiet(state, model, PREDICTIONS if model.labelled else FEATURE_EVENTS, until)


def listen(state: Presence, model: Model, kind: Kind, start: int, rows: Mapping[StreamKey, int]) -> list[Change]:
    """Judge the silence before a window with rows, take it in, and judge the streams that are missing in it."""
    changes = quiet(state, model, kind, start)
    end = start + model.window
    for stream in sorted(rows):
        if stream.version not in state.book.superseded and rows[stream]:
            changes += _return(state, model, kind, stream, start, rows[stream])
    present = {stream_text(stream) for stream in rows}
    changes += _judge(state, model, kind, np.array([end]), present)
    state.through = max(state.through, end)
    return changes


def quiet(state: Presence, model: Model, kind: Kind, until: int) -> list[Change]:
    """Judge the windows without any row between ``through`` and ``until``."""
    until = until // model.window * model.window
    if until <= state.through:
        return []
    if not state.pasts:
        state.through = until
        return []
    # Behind the last silence that anybody would remember there is nothing to judge.
    last = min(until, max(past.last for past in state.pasts.values()) + forget_after(model.window))
    changes = _judge(state, model, kind, np.arange(state.through, last, model.window) + model.window, set())
    state.through = until
    return changes


def _return(state: Presence, model: Model, kind: Kind, stream: StreamKey, start: int, rows: int) -> list[Change]:
    key, end = stream_text(stream), start + model.window
    past = state.pasts.setdefault(key, Past())
    condition = state.book.conditions.get(key, {}).get(kind.subject)
    was, silent = past.last, condition is not None and condition.open
    past.add(start, end, rows)
    if not silent:
        return []
    past.spell = start
    evidence = Evidence(statistic="silence", value=float(start - was), n=rows, config_hash=model.decision)
    summary = f"{who(stream)}: {kind.rows} come again, after a silence of {duration(start - was)}"
    return _decide(state, model, kind, stream, end, (start, end), evidence, summary, "info", rejected=False)


def _judge(
    state: Presence, model: Model, kind: Kind, ends: NDArray[np.int64], present: Collection[str]
) -> list[Change]:
    """The changes of streams without rows at ``ends`` (ascending), decided in the order of time and name."""
    due: list[tuple[int, str, bool]] = []
    gone = []
    for key, past in sorted(state.pasts.items()):
        stream = _stream(model.name, key)
        if stream.version in state.book.superseded:
            gone.append(key)  # its alerts are resolved, and its past is of no more use
        elif key not in present and len(ends):
            opens = _surprise(state, model, kind, stream, past, ends, present)
            forgotten = past.last + forget_after(model.window)
            if opens is not None:
                due.append((opens, key, True))
            if ends[-1] >= forgotten:
                gone.append(key)
                if opens is not None or state.book.condition(stream, kind.subject).open:
                    due.append((forgotten, key, False))
    changes = []
    for time, key, opens in sorted(due):
        stream, past = _stream(model.name, key), state.pasts[key]
        changes += (_open if opens else _forget)(state, model, kind, stream, past, time)
    for key in gone:
        del state.pasts[key]
        if not any(c.open for c in state.book.conditions.get(key, {}).values()):
            state.book.conditions.pop(key, None)
    return changes


def _surprise(
    state: Presence,
    model: Model,
    kind: Kind,
    stream: StreamKey,
    past: Past,
    ends: NDArray[np.int64],
    present: Collection[str],
) -> int | None:
    """The first of ``ends`` at which an alert about the silence of a stream opens."""
    condition = state.book.conditions.get(stream_text(stream), {}).get(kind.subject, Condition())
    if condition.open or (stream.segment and stream_text(stream._replace(segment="")) not in present):
        return None  # known already, or the whole version is silent
    looked = ends[(ends > past.last) & (ends < past.last + forget_after(model.window))]
    looked = looked[looked >= condition.resolved + model.config.alerts.cooldown]
    at = past.surprise(looked, model.window, service_level(model, stream))
    return None if at is None else int(looked[at])


def _forget(state: Presence, model: Model, kind: Kind, stream: StreamKey, past: Past, end: int) -> list[Change]:
    evidence = Evidence(statistic="silence", value=float(end - past.last), n=0, config_hash=model.decision)
    summary = f"{who(stream)}: no {kind.rows} for {duration(end - past.last)}; none are expected any more"
    return _decide(state, model, kind, stream, end, (past.last, end), evidence, summary, "info", rejected=False)


def _open(state: Presence, model: Model, kind: Kind, stream: StreamKey, past: Past, end: int) -> list[Change]:
    expected, severity, why = past.expected(end, model.window), *_severity(state, model, stream, past)
    evidence = Evidence(
        statistic="silence",
        value=float(end - past.last),
        reference_value=round(expected, 3),
        p_value=past.p_value(end, model.window),
        level=service_level(model, stream),
        n=0,
        config_hash=model.decision,
    )
    summary = (
        f"{who(stream)}: no {kind.rows} since {rfc3339(past.last)} ({duration(end - past.last)}), "
        f"{expected:,.0f} were to be expected; {why}"
    )
    return _decide(state, model, kind, stream, end, (past.last, end), evidence, summary, severity, rejected=True)


def _severity(state: Presence, model: Model, stream: StreamKey, past: Past) -> tuple[Severity, str]:
    """How bad a silence is, and why, by what the model's other streams have done since."""
    heard = [
        (other, its)
        for key, its in state.pasts.items()
        if its.last > past.last and (other := _stream(model.name, key)).segment == "" and other != stream
    ]
    same = [
        o.version
        for o, its in heard
        if o.variant == stream.variant and o.version != stream.version and its.spell > past.spell
    ]
    severity: Severity = "warning"
    why = "other traffic of the model goes on"
    if same and not stream.segment:
        severity, why = "info", f"version {max(same)} took over"
    elif not heard:
        severity, why = "critical", f"all of {model.name} is silent"
    return tiered(model, severity), why


def _decide(  # noqa: PLR0913, PLR0917  # what one decision is made of
    state: Presence,
    model: Model,
    kind: Kind,
    stream: StreamKey,
    time: int,
    window: tuple[int, int],
    evidence: Evidence,
    summary: str,
    severity: Severity,
    *,
    rejected: bool,
) -> list[Change]:
    change = decide(
        state.book,
        model,
        stream,
        kind.family,
        kind.subject,
        rejected=rejected,
        severity=severity,
        window=window,
        time=time,
        confirm=_AT_ONCE,
        evidence=evidence,
        summary=summary,
    )
    return [] if change is None else [change]


def _stream(model: str, key: str) -> StreamKey:
    version, variant, *segment = key.split("\x1f", 2)
    return StreamKey(model, version, variant, *segment)


def duration(ms: int) -> str:
    """A length of time as people say it: the two largest units that are not zero."""
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        n, ms = divmod(ms, size)
        if n:
            parts.append(f"{n} {unit}")
    return " ".join(parts[:2]) or "0 s"
