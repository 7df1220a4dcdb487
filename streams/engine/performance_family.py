"""Performance by time of the prediction: the labelled outcomes of a window against the performance in the reference.

A window is judged twice (R4): at maturity, over the labels whose time lies before it (revision 1), and at the horizon, over
all that count (revision 2). Each record and each alert says which share of the window's predictions had a label by then: labels
that come early may be of other predictions than those that come late, and no standard error knows of that.

Both revisions are tests, and both are in the budget. They are two state machines over the same windows. That of revision 2
goes over revision 1 again as it reaches a window (``Final.matured``), so that it opens no alert where revision 1 rejected that
window or had its alert open there: one decline pages once, whichever family is ahead (P2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detectors.decisions import level
from detectors.performance import Comparison, Metric, compare, metrics, reclassify
from detectors.performance.delays import DELAY_BINS, QUANTILES, delay_quantile
from schemas.alerts import Evidence
from schemas.config import ModelConfig
from streams.engine import outcomes, worst
from streams.engine.alerts import judge
from streams.engine.families import Book, decide, stream_text, who

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from schemas.alerts import Severity
    from schemas.identifiers import StreamKey
    from streams.engine.alerts import Change
    from streams.engine.outcomes import Outcomes
    from streams.engine.plan import Model
    from streams.engine.windows import Window
    from streams.engine.worst import WorseSegment, Worst

_WARNING, _CRITICAL = 0.05, 0.10
"""Drop of a rate (or growth of an error, relative: `detectors.performance.Comparison`) that makes an alert a warning, and a
critical one."""
MATURE, FINAL = 1, 2
"""The revisions of a window: at maturity, and at the horizon of its labels."""


class Final(msgspec.Struct):
    """The state of revision 2: its own conditions, and those of revision 1 as they were at the window it has reached."""

    book: Book = msgspec.field(default_factory=Book)
    matured: Book = msgspec.field(default_factory=Book)


def of_vector(model: Model, vector: NDArray[np.int64]) -> dict[str, Metric]:
    """All metrics of one outcome vector."""
    config = model.config
    return metrics(vector, config.task, model.classes) if isinstance(config, ModelConfig) else {}


@dataclass(frozen=True, slots=True)
class Look:
    """One stream's window as one revision sees it. ``remembered`` predictions wait for a label, or had one."""

    model: Model
    window: Window
    stream: StreamKey
    revision: int
    outcomes: Outcomes
    remembered: int

    def rests_on(self) -> dict[str, Any]:
        """What a record and an alert say of the labels they rest on; keys as in `schemas.alerts.Evidence`."""
        labels = self.outcomes.labels
        p50, p90, p99 = self.outcomes.delay_quantiles()
        return {
            "revision": self.revision,
            "labels": labels,
            "coverage": labels / self.remembered if self.remembered else None,
            "sample": self.model.sample,
            "delay_p50_ms": p50,
            "delay_p90_ms": p90,
            "delay_p99_ms": p99,
        }

    def worst(self) -> Worst:
        """The segments that are worse than the rest, by metric; of all traffic only."""
        if self.stream.segment or not self.model.segments.definitions:
            return {}
        read = outcomes.mature if self.revision == MATURE else outcomes.final
        counts = {s: read(self.model, vector).counts for s, (_, vector) in self.window.streams.items()}
        return worst.worst(self.model, counts, self.stream)

    def record(self, worse: Worst) -> dict[str, Any]:
        """What is kept of it: what it rests on, every metric, and its worst segments."""
        return (
            ({"worst": worst.record(worse)} if worse else {})
            | self.rests_on()
            | {
                "remembered": self.remembered,
                "metrics": {
                    k: {"value": m.value, "standard_error": m.standard_error, "n": m.n, "bin_error": m.bin_error}
                    for k, m in of_vector(self.model, self.outcomes.counts).items()
                },
            }
        )

    def tests(self) -> Iterator[tuple[str, Comparison, bool]]:
        """The watched metrics that both sides define: name, comparison with the reference, and whether it is rejected."""
        model, reference, config = self.model, self.window.references[self.stream], self.model.config
        if not isinstance(config, ModelConfig) or reference.outcomes is None:
            return
        known, at = reference.outcomes, _level(model, self.stream)
        if reference.classes != model.classes:  # a version's own reference may have met other classes
            known = reclassify(known, reference.classes, model.classes)
        found = compare(known, self.outcomes.counts, config.task, model.classes, config.performance)
        for metric, both in found.items():
            now, was = both.current, both.reference
            if now.value is None or was.value is None or both.worse_by is None or now.standard_error is None:
                continue
            yield metric, both, both.p_value < at

    def judge(
        self, book: Book, metric: str, both: Comparison, worse: Worst, *, rejected: bool, may_open: bool
    ) -> Change | None:
        """Take one test into the conditions of ``book``; the change of its alert, if any."""
        model, window, now, was = self.model, self.window, both.current, both.reference
        evidence = Evidence(
            statistic=metric,
            value=now.value,
            standard_error=now.standard_error,
            reference_value=was.value,
            p_value=both.p_value,
            level=_level(model, self.stream),
            effect_size=both.worse_by,
            n=now.n,
            reference_hash=window.references[self.stream].content_hash,
            config_hash=model.decision,
            segments=worst.ranked(worse.get(metric, [])),
            **self.rests_on(),
        )
        return decide(
            book,
            model,
            self.stream,
            "performance",
            metric,
            rejected=rejected,
            severity=_severity(both.worse_by or 0.0),
            window=(window.start, window.end),
            time=window.end + (model.maturity if self.revision == MATURE else model.horizon),
            confirm=model.config.alerts.confirmation,
            evidence=evidence,
            summary=self._sentence(metric, both, worse.get(metric, []), rejected=rejected),
            revision=self.revision,
            may_open=may_open,
        )

    def _sentence(self, metric: str, both: Comparison, worse: Sequence[WorseSegment[str]], *, rejected: bool) -> str:
        labels = self.outcomes.labels
        verb = "is worse than in the reference" if rejected else "is no longer found worse than in the reference"
        # Rounded down: 100% means that every label is in.
        share = f" ({100 * labels // self.remembered}% of the window's)" if self.remembered else ""
        when = "at maturity" if self.revision == MATURE else "at the horizon of the labels"
        figures = f"{both.current.value:.3f} on {labels:,} labels{share}, {both.reference.value:.3f} in the reference"
        least = f"; worst in {worse[0].segment}" if rejected and worse else ""
        return f"{who(self.stream)}: {metric} {verb} ({figures}; {when}{least})"


def step(book: Book, model: Model, window: Window) -> tuple[list[Change], list[dict[str, Any]]]:
    """Judge the outcomes up to maturity of one window (revision 1); returns changes of alerts and records to keep.

    Raises StateMismatch when a stored vector was laid out otherwise.
    """
    changes: list[Change | None] = []
    records: list[dict[str, Any]] = []
    for stream, (_, vector) in window.streams.items():
        look = Look(model, window, stream, MATURE, outcomes.mature(model, vector), outcomes.remembered(model, vector))
        worse = look.worst()
        records.append(_place(window, stream) | look.record(worse))
        if stream.version not in book.superseded:
            changes += [
                look.judge(book, metric, both, worse, rejected=rejected, may_open=True)
                for metric, both, rejected in look.tests()
            ]
    return [c for c in changes if c is not None], records


def revise(state: Final, model: Model, window: Window) -> tuple[list[Change], list[dict[str, Any]]]:
    """Judge all outcomes of one window at the horizon (revision 2); returns changes of alerts, and what its records gain.

    Where maturity is the horizon there is nothing new to judge. Raises StateMismatch as `step`.
    """
    changes: list[Change | None] = []
    records: list[dict[str, Any]] = []
    for stream, (_, vector) in window.streams.items():
        look = Look(model, window, stream, FINAL, outcomes.final(model, vector), outcomes.remembered(model, vector))
        worse = look.worst()
        records.append(_place(window, stream) | {"final": look.record(worse)})
        if stream.version in state.book.superseded or model.revisions == 1:
            continue
        blocked = _mature_again(state.matured, model, window, stream)
        changes += [
            look.judge(state.book, metric, both, worse, rejected=rejected, may_open=metric not in blocked)
            for metric, both, rejected in look.tests()
        ]
    return [c for c in changes if c is not None], records


def _mature_again(book: Book, model: Model, window: Window, stream: StreamKey) -> set[str]:
    """Take revision 1 of a window into account; returns the metrics that it rejected, or whose alert is open after it."""
    alerts, vector = model.config.alerts, window.streams[stream][1]
    look = Look(model, window, stream, MATURE, outcomes.mature(model, vector), outcomes.remembered(model, vector))
    blocked = set()
    for metric, both, rejected in look.tests():
        judge(
            book.condition(stream, metric),
            rejected=rejected,
            severity=_severity(both.worse_by or 0.0),
            window=(window.start, window.end),
            confirm=alerts.confirmation,
            cooldown=alerts.cooldown,
        )
        if rejected:
            blocked.add(metric)
    return blocked | {metric for metric, c in book.conditions.get(stream_text(stream), {}).items() if c.open}


def _place(window: Window, stream: StreamKey) -> dict[str, Any]:
    return {
        "version": stream.version,
        "variant": stream.variant,
        "segment": stream.segment,
        "window": [window.start, window.end],
    }


def _level(model: Model, stream: StreamKey) -> float:
    alerts = model.config.alerts
    return level(model.budget(stream), "performance", model.window, model.outcome_cells, alerts.confirmation)


def _severity(size: float) -> Severity:
    return "critical" if size >= _CRITICAL else "warning" if size >= _WARNING else "info"


class Coverage(msgspec.Struct, frozen=True):
    """How complete the labels of a model's latest evaluated window were, all its streams together. Times in ms."""

    end: int
    labels: int
    remembered: int
    delay_p50_ms: int | None
    delay_p90_ms: int | None
    delay_p99_ms: int | None

    @property
    def share(self) -> float | None:
        """Labels / remembered; None without a prediction that waited for one."""
        return self.labels / self.remembered if self.remembered else None


def coverage(model: Model, window: Window, revision: int) -> Coverage:
    """The coverage of a window at a revision, over all traffic. Raises StateMismatch as `step`."""
    labels, waiting, delays = 0, 0, np.zeros(DELAY_BINS, np.int64)
    for stream, (_, vector) in window.streams.items():
        if stream.segment:
            continue  # a segment's predictions are among all
        found = outcomes.mature(model, vector) if revision == MATURE else outcomes.final(model, vector)
        labels, waiting, delays = (
            labels + found.labels,
            waiting + outcomes.remembered(model, vector),
            delays + found.delays,
        )
    p50, p90, p99 = (delay_quantile(delays, q) for q in QUANTILES)
    return Coverage(window.end, labels, waiting, p50, p90, p99)


def with_final(records: list[dict[str, Any]], final: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of a window with what revision 2 adds to each; ``final`` are those of `revise`."""
    kept = {_who(record): record for record in records}
    return [kept.get(_who(record), {}) | record for record in final]


def _who(record: dict[str, Any]) -> tuple[str, str, str]:
    return record["version"], record["variant"], record.get("segment", "")
