"""Quality: missing values, wrong types, unseen categories, values out of range and constant features of every closed window.

One condition per feature and check; its subject is ``amount:missing`` (a check's name has no colon, a feature's may). Two
rules share the family's budget in halves: one window at a small level, so that a broken pipeline is known after one window,
and the configured confirmation at a larger one, so that a small leak is known at all. With ``confirm: 1 of M`` there is one rule.
Where the reference is too small beside the window, windows must not confirm each other, and one decides at the family's
whole budget.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.decisions import Budget, level
from detectors.quality import Checks, quality_severity
from schemas.alerts import Bin, Evidence, RankedFeature
from schemas.config import Alerts, Confirmation, ModelConfig
from streams.engine.families import Book, decide, stream_text, who
from streams.engine.shape import HEADER

if TYPE_CHECKING:
    from detectors.quality import CheckResults, QualityResult
    from detectors.reference import Reference
    from schemas.identifiers import StreamKey
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.windows import Window

_REFERENCES = 64
"""References whose layout is kept: as many versions as a group watches at a time; the layout of another is made again."""
_ONE = Confirmation(1, 1)


@lru_cache(maxsize=_REFERENCES)
def checks_of(reference: Reference) -> Checks:
    """The checks of a reference's features, which stand first in a pane's vector."""
    return Checks(reference.features)


def split(subject: str) -> tuple[str, str]:
    """A condition's subject as (feature, check)."""
    feature, _, check = subject.rpartition(":")
    return feature, check


def levels(alerts: Alerts, window: int, cells: int, share: float = 1.0) -> tuple[float, float, float]:
    """The levels of one window, of a confirmed one, and of one that decides alone; ``window`` in ms.

    ``share`` is the part of the budget that the stream has.
    """
    whole, confirm = Budget.parse(alerts.false_alarms), alerts.confirmation
    whole = replace(whole, false_alarms=whole.false_alarms * share)
    alone = level(whole, "quality", window, cells, _ONE)
    if confirm.needed == 1:
        return alone, 0.0, alone
    half = replace(whole, false_alarms=whole.false_alarms / 2)
    return level(half, "quality", window, cells, _ONE), level(half, "quality", window, cells, confirm), alone


def step(book: Book, model: Model, window: Window) -> tuple[list[Change], dict[StreamKey, dict[str, Any]]]:
    """Judge one window of all streams; returns the changes of alerts, and what to keep of each stream's window."""
    changes: list[Change] = []
    kept: dict[StreamKey, dict[str, Any]] = {}
    if isinstance(model.config, ModelConfig) and not model.config.quality:
        return changes, kept
    for stream, (_, vector) in window.streams.items():
        if stream.version in book.superseded:
            continue
        reference = window.references[stream]
        checks = checks_of(reference)
        found = checks.test(vector[HEADER : HEADER + checks.width])
        kept[stream] = _record(found)
        changes += _judge(book, model, stream, reference, window, found)
    return changes, kept


def _judge(
    book: Book, model: Model, stream: StreamKey, reference: Reference, window: Window, found: CheckResults
) -> list[Change]:
    alerts = model.config.alerts
    once, confirmed, alone = levels(alerts, model.window, max(1, len(found.checks.cells)), model.share(stream))
    p = found.p_value[0]
    at_once = np.where(found.decides_alone[0], alone, once)
    now = p < at_once
    rejected = now | ((p < confirmed) & ~found.decides_alone[0])
    # A check that never rejected has no condition: its history would be of windows that accepted, which decide nothing.
    known = book.conditions.get(stream_text(stream), {})
    subjects = [f"{feature}:{check}" for feature, check in found.checks.cells]
    looked_at = [i for i, name in enumerate(subjects) if not np.isnan(p[i]) and (rejected[i] or name in known)]
    results = {i: found.result(i) for i in looked_at}
    order = sorted(looked_at, key=lambda i: (not rejected[i], -results[i].effect_size, subjects[i]))
    ranked = [RankedFeature(subjects[i], results[i].effect_size, results[i].p_value) for i in order if rejected[i]]
    changes = []
    for i in order:
        result = results[i]
        evidence = Evidence(
            statistic=result.check,
            value=result.share,
            reference_value=result.reference_share,
            p_value=result.p_value,
            level=float(at_once[i]) if now[i] or found.decides_alone[0, i] else confirmed,
            effect_size=result.effect_size,
            n=result.n,
            reference_hash=reference.content_hash,
            config_hash=model.decision,
            bins=[Bin(*place) for place in result.where],
            features=ranked,
        )
        change = decide(
            book,
            model,
            stream,
            "quality",
            subjects[i],
            rejected=bool(rejected[i]),
            severity=quality_severity(result, _tier(model)),
            window=(window.start, window.end),
            time=window.end,
            confirm=alerts.confirmation._replace(needed=1) if now[i] else alerts.confirmation,
            evidence=evidence,
            summary=_sentence(stream, result, rejected=bool(rejected[i])),
        )
        if change is not None:
            changes.append(change)
    return changes


def _tier(model: Model) -> str:
    return model.config.tier if isinstance(model.config, ModelConfig) else "normal"


def _sentence(stream: StreamKey, result: QualityResult, *, rejected: bool) -> str:
    return f"{who(stream)}: {result.sentence}" + (
        "" if rejected else "; that is within what the reference allows again"
    )


def _record(found: CheckResults) -> dict[str, Any]:
    """What is kept of a window: the checks that found something, by subject."""
    return {
        f"{feature}:{check}": {"n": int(found.n[0, i]), "share": float(found.share[0, i]), "p_value": float(p)}
        for i, ((feature, check), p) in enumerate(zip(found.checks.cells, found.p_value[0], strict=True))
        if p < 1
    }
