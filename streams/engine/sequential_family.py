"""The error rate by arrival of the labels, one pane after another, so that a rise is seen before windows mature.

Against a baseline, the error rate of the reference's labelled answers, an e-detector looks for a rise: its mean number of
panes between false alarms is what the budget allows, by construction. It also says since when. The alert resolves when a second
one has seen the rate fall below the middle between the baseline and the rate that opened the alert; as long as the rate
stays above, it is fooled no more often than the first. Errors come in bursts: the labels of a pane count for fewer where
panes have varied more than independent labels would, and what a single pane can add is bounded.

Without labels in the reference there is no baseline: ADWIN then compares the stream with its own past.

What arrives at a time are labels of predictions of many times, so there is no share of a window that an alert could rest on:
its evidence has no coverage. It says how many labels it rests on, and how late those of the pane that decided it came. Where
labels of errors come sooner than the others (a complaint, a chargeback), the rate of what has arrived is higher than that of
what will have: a new version, or more traffic, can then look like a rise. `performance` at the horizon is free of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from detectors.decisions import level
from detectors.performance import layout
from detectors.sequential import Adwin, Dispersion, EDetector
from schemas.alerts import Evidence
from schemas.config import Confirmation
from streams.engine import outcomes
from streams.engine.families import Book, decide, stream_text, who

if TYPE_CHECKING:
    from detectors.reference import Reference
    from schemas.identifiers import StreamKey
    from streams.engine.alerts import Change
    from streams.engine.plan import Model
    from streams.engine.windows import Window

SUBJECT = "error_rate"
_AT_ONCE = Confirmation(1, 1)
_WARNING, _CRITICAL = 0.05, 0.10
_CONFIRM = 2
"""Panes that an alarm of an e-detector rests on at least. On the Elec2 data (docs/elec2.md) one day of errors is no change."""
MAX_PANES = 4096
"""Starts of panes that are remembered to date a change; a detector's window may reach further back."""


class Series(msgspec.Struct):
    """One stream's detectors: their states, and the starts of the panes that they may date a change to.

    `rise` and, while an alert is open, `back` are e-detectors, and `dispersion` says how widely panes vary. `adwin` stands in
    where there is no baseline, and `before` is its error rate before the last change.
    """

    adwin: dict[str, Any] | None = None
    panes: list[int] = msgspec.field(default_factory=list)
    before: float = 0.0
    rise: dict[str, Any] | None = None
    back: dict[str, Any] | None = None
    dispersion: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one pane has shown: a rise, or its end.

    Rates are shares of wrong answers; `threshold` is what counts as a rise, `panes` how many panes back the change lies.
    """

    rose: bool
    statistic: str
    rate: float
    before: float
    threshold: float | None
    level: float | None
    n: int
    panes: int


def step(book: Book, series: dict[str, Series], model: Model, pane: Window) -> list[Change]:
    """Feed one arrival pane of all streams; an alert opens when the error rate rose, and resolves when it fell again."""
    changes = []
    for stream, (_, vector) in pane.streams.items():
        if stream.version in book.superseded or not model.classes:
            continue
        arrived = outcomes.arrival(model, vector)
        n, errors = arrived.labels, int(arrived.counts[layout.ERRORS])
        if n == 0:
            continue
        reference = pane.references[stream]
        baseline = _baseline(reference)
        if stream.segment and baseline is None:
            continue  # ADWIN's alarms have no share of the budget, and many segments would make many of them
        one = series.setdefault(stream_text(stream), Series())
        one.panes = [*one.panes, pane.start][-MAX_PANES:]
        open_ = book.condition(stream, SUBJECT).open
        at = allowance(model, stream)
        found = (
            _against_past(one, n, errors, open_=open_)
            if baseline is None
            else _against_baseline(one, baseline, at, n, errors, open_=open_)
        )
        if found is None:
            continue
        since = one.panes[-min(found.panes, len(one.panes))]
        size = found.rate - found.before
        p50, p90, p99 = arrived.delay_quantiles()
        evidence = Evidence(
            statistic=found.statistic,
            value=found.rate,
            threshold=found.threshold,
            level=found.level,
            reference_value=found.before,
            effect_size=size,
            n=found.n,
            labels=found.n,
            sample=model.sample,
            delay_p50_ms=p50,
            delay_p90_ms=p90,
            delay_p99_ms=p99,
            reference_hash=reference.content_hash,
            config_hash=model.decision,
        )
        verb = "has risen" if found.rose else "has fallen again"
        where = "before" if baseline is None else "in the reference"
        change = decide(
            book,
            model,
            stream,
            "sequential",
            SUBJECT,
            rejected=found.rose,
            severity="critical" if size >= _CRITICAL else "warning" if size >= _WARNING else "info",
            window=(since, pane.end),
            time=pane.end,
            confirm=_AT_ONCE,
            evidence=evidence,
            summary=(
                f"{who(stream)}: the error rate of labelled predictions {verb} "
                f"({found.rate:.3f} on {found.n:,} labels by arrival, {found.before:.3f} {where})"
            ),
            since=since,
        )
        if change is None:
            continue
        changes.append(change)
        if found.threshold is not None and change.transition == "opened":
            one.back = _all_clear(found.threshold, found.rate, at).to_state()
        elif change.transition == "resolved":
            one.rise = one.back = None
    return changes


def allowance(model: Model, stream: StreamKey | None = None) -> float:
    """Return the rate of false alarms per pane that a stream's budget allows: one cell's share of what all outcome cells have.

    At most `detectors.decisions.LARGEST_LEVEL`, which is ten panes between false alarms.
    """
    return level(model.budget(stream), "sequential", model.pane, model.outcome_cells, (1, 1))


def _baseline(reference: Reference) -> tuple[int, int] | None:
    """Return the errors and the number of labelled answers of a reference; None when it has none."""
    outcomes = reference.outcomes
    if outcomes is None or outcomes[layout.N] == 0:
        return None
    return int(outcomes[layout.ERRORS]), int(outcomes[layout.N])


def _all_clear(threshold: float, rate: float, at: float) -> EDetector:
    """Return the detector of the end of a rise: below the middle between what counts as no rise and the rate that opened."""
    middle = min(1.0, max(threshold, (threshold + rate) / 2))
    return EDetector(middle, arl=1 / at, alternative="less", confirm=_CONFIRM)


def _resumed(state: dict[str, Any] | None, new: EDetector) -> EDetector:
    """Return the detector of a state, as far as it looks for the same as `new`; a budget may have changed meanwhile."""
    if state is None:
        return new
    old = EDetector.from_state(state | {"arl": new.parameters.arl})
    return old if old.parameters == new.parameters else new


def _against_baseline(
    one: Series, baseline: tuple[int, int], at: float, n: int, errors: int, *, open_: bool
) -> _Verdict | None:
    wrong, known = baseline
    rise = _resumed(one.rise, EDetector(wrong / known, arl=1 / at, baseline_n=known, confirm=_CONFIRM))
    threshold = rise.null[1]
    spread = Dispersion() if one.dispersion is None else Dispersion.from_state(one.dispersion)
    before = spread.value  # of the panes before this one: a pane must not judge itself
    detector, found = rise, rise.update_many(n, errors, errors, dispersion=before)
    one.rise = rise.to_state()
    longest = rise.reach
    if open_:
        back = (
            _all_clear(threshold, threshold, at)
            if one.back is None
            else EDetector.from_state(one.back | {"arl": 1 / at})
        )
        fell = back.update_many(n, errors, errors, dispersion=before)
        one.back = back.to_state()
        longest = max(longest, back.reach)
        if fell and not found:
            detector, found = back, True
    spread.update(n, errors)
    one.dispersion = spread.to_state()
    one.panes = one.panes[-max(1, longest) :]
    if not found:
        return None
    return _Verdict(
        rose=detector is rise,
        statistic="e-detector",
        rate=detector.mean,
        before=wrong / known,
        threshold=threshold,
        level=at,
        n=detector.n,
        panes=detector.window_start,
    )


def _against_past(one: Series, n: int, errors: int, *, open_: bool) -> _Verdict | None:
    detector = Adwin() if one.adwin is None else Adwin.from_state(one.adwin)
    before = detector.mean
    changed = detector.update_many(n, errors, errors)
    one.adwin = detector.to_state()
    one.panes = one.panes[-max(1, detector.window_start) :]
    rose = detector.direction > 0
    if not changed or not (rose or open_):
        return None
    if rose:
        one.before = before
    return _Verdict(
        rose=rose,
        statistic="adwin",
        rate=detector.mean,
        before=one.before,
        threshold=None,
        level=None,
        n=detector.n,
        panes=detector.window_start,
    )
