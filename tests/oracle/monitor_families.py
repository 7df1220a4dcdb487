"""What each family says about the windows of one model, one window after another: written again from DESIGN sections 6 and 7.

P-values, sizes and sequential detectors are those of ``detectors``, which has oracles of its own. What is written again here is
the engine's part: which counts are tested at which level, what confirms what, and when a detector starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.decisions import Budget, compile_rule, level, severity
from detectors.performance import compare, layout, metrics
from detectors.performance.delays import delay_quantile
from detectors.quality import Checks, quality_severity
from detectors.sequential import Adwin, Dispersion, EDetector
from schemas.config import ModelConfig, decision_hash
from schemas.identifiers import StreamKey
from tests.oracle import monitor_counts as counts
from tests.oracle.monitor_alerts import Decision, Event, Life
from tests.oracle.monitor_counts import Stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detectors.decisions import Rule
    from detectors.performance import Comparison
    from detectors.reference import Reference
    from tests.oracle.join_oracle import Rules


@dataclass
class Watched:
    """A model: its configuration, times and reference."""

    name: str
    config: ModelConfig
    rules: Rules
    reference: Reference
    seen: dict[bytes, tuple[dict[str, float | None], dict[str, Comparison]]] = field(default_factory=dict)

    @cached_property
    def epoch(self) -> str:
        """The hash of what decides."""
        return decision_hash(self.config)

    @cached_property
    def budget(self) -> Budget:
        """What false alarms may happen."""
        return Budget.parse(self.config.alerts.false_alarms)

    @cached_property
    def confirm(self) -> tuple[int, int]:
        """How many of how many windows."""
        needed, among = self.config.alerts.confirm.split(" of ")
        return int(needed), int(among)

    @cached_property
    def subjects(self) -> list[int]:
        """The subjects whose drift is watched."""
        said, features = self.config.drift, len(self.reference.features)
        names = [s.name for s in self.reference.subjects]
        return [i for i, name in enumerate(names) if ("features" if i < features else name) in said]

    @cached_property
    def rule(self) -> Rule:
        """The compiled rule of drift."""
        alerts = self.config.alerts
        return compile_rule(self.reference, self.subjects, self.budget, self.rules.window, self.confirm, alerts.scales)

    @cached_property
    def checks(self) -> Checks:
        """The checks of the features."""
        return Checks(self.reference.features)

    @cached_property
    def cells(self) -> int:
        """How many tests share the budget of performance and sequential: a window is judged twice if its horizon is later."""
        looks = 2 if self.rules.horizon > self.rules.maturity else 1
        return looks * len(self.config.performance) + int(self.config.sequential) + self.proxies

    @property
    def proxies(self) -> int:
        """How many tests of proxies share it, too; the worlds of the oracle have none."""
        return 0

    def looked_at(self, vector: bytes) -> tuple[dict[str, float | None], dict[str, Comparison]]:
        """All metrics of an outcome vector, and the watched ones beside the reference's; kept, because vectors come again."""
        if vector not in self.seen:
            counts, classes = np.frombuffer(vector, np.int64), ("", str(self.config.positive_class))
            values = {name: m.value for name, m in metrics(counts, "binary", classes).items()}
            known = self.reference.outcomes
            compared = {} if known is None else compare(known, counts, "binary", classes, self.config.performance)
            self.seen[vector] = values, compared
        return self.seen[vector]

    def level(self, family: str, length: int, cells: int, confirm: tuple[int, int], part: float = 1.0) -> float:
        """The level of one test, where ``part`` of the family's budget is its."""
        whole = self.budget
        return level(replace(whole, false_alarms=whole.false_alarms * part), family, length, cells, confirm)

    def life(self) -> Life:
        """The conditions of a family, none yet."""
        return Life(self.epoch, self.config.alerts.cooldown)

    def stream(self, of: tuple[str, str]) -> StreamKey:
        """The name of a stream."""
        return StreamKey(self.name, *of)


class Drift:
    """Drift: each window, and where the rule has scales the sums of the last 2, 4, ... windows, against the reference."""

    def __init__(self, model: Watched) -> None:
        """Nothing seen."""
        self.model, self.life = model, model.life()
        self.past: dict[tuple[str, str], list[tuple[int, NDArray[np.int64]]]] = {}

    def window(self, start: int, streams: Mapping[tuple[str, str], NDArray[np.int64]]) -> tuple[list[Event], Any]:
        """Judge one window: the counts of each stream. Returns the events and, by stream, the p-values."""
        model, events, kept = self.model, [], {}
        length = model.rules.window
        for of in sorted(streams):
            past = self.past.setdefault(of, [])
            past.append((start, streams[of]))
            sums = {}
            held = 0
            for scale in model.rule.scales:
                within = [counts for at, counts in past if at > start - scale * length]
                if len(within) > held:
                    sums[scale] = self._by_subject(sum(within[1:], within[0]))
                held = max(held, len(within))
            judged = model.rule.judge(sums, start)
            kept[of] = {j.subject: (j.result.n, j.p_value, j.scale, j.rejected) for j in judged}
            worst_first = sorted((j for j in judged if j.rejected), key=lambda j: (-j.result.effect_size, j.subject))
            for j in [*worst_first, *(j for j in judged if not j.rejected)]:
                if j.p_value is None:
                    continue
                decision = Decision(
                    model.stream(of),
                    "drift",
                    j.subject,
                    j.rejected,
                    severity(j.result.effect_size, model.config.tier),
                    (start - (j.scale - 1) * length, start + length),
                    start + length,
                    *j.confirm,
                    {"n": j.result.n, "p_value": j.p_value, "level": j.level, "value": j.result.effect_size},
                )
                event = self.life.decide(decision)
                events += [event] if event else []
        return events, kept

    def _by_subject(self, counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        widths = [s.width for s in self.model.reference.subjects]
        ends = np.cumsum(widths).tolist()
        return [counts[ends[i] - widths[i] : ends[i]] for i in self.model.subjects]


class Quality:
    """Quality: one window at a small level, or several at a larger one."""

    def __init__(self, model: Watched) -> None:
        """Nothing seen."""
        self.model, self.life = model, model.life()

    def window(self, start: int, streams: Mapping[tuple[str, str], NDArray[np.int64]]) -> list[Event]:
        """Judge one window: the counts of each stream."""
        model = self.model
        events: list[Event] = []
        if not model.config.quality:
            return events
        checks, (needed, among) = model.checks, model.confirm
        length, count = model.rules.window, max(1, len(checks.cells))
        alone = model.level("quality", length, count, (1, 1))
        once = alone if needed == 1 else model.level("quality", length, count, (1, 1), 0.5)
        several = 0.0 if needed == 1 else model.level("quality", length, count, (needed, among), 0.5)
        for of in sorted(streams):
            stream, found = model.stream(of), checks.test(streams[of][: checks.width])
            decisions = []
            for i, (feature, check) in enumerate(checks.cells):
                result, p, subject = found.result(i), float(found.p_value[0, i]), f"{feature}:{check}"
                if isnan(p):
                    continue
                at_once = p < (alone if result.decides_alone else once)
                rejected = at_once or (p < several and not result.decides_alone)
                if not rejected and not self.life.known(stream, subject):
                    continue  # what was never out of order has no history
                used = (alone if result.decides_alone else once) if at_once or result.decides_alone else several
                decision = Decision(
                    stream,
                    "quality",
                    subject,
                    rejected,
                    quality_severity(result, model.config.tier),
                    (start, start + length),
                    start + length,
                    1 if at_once else needed,
                    among,
                    {"n": result.n, "p_value": p, "level": used, "value": result.share},
                )
                decisions.append((not rejected, -result.effect_size, subject, decision))
            for *_, decision in sorted(decisions, key=lambda d: d[:3]):
                event = self.life.decide(decision)
                events += [event] if event else []
        return events


class Performance:
    """Performance: the labelled outcomes of a window against those of the reference, at maturity or at the horizon."""

    def __init__(self, model: Watched, revision: int = 1) -> None:
        """Nothing seen; revision 1 is judged at maturity, revision 2 at the horizon."""
        self.model, self.life, self.revision = model, model.life(), revision

    def window(
        self, start: int, streams: Mapping[Stream, counts.Performance], blocked: Mapping[Stream, set[str]]
    ) -> tuple[list[Event], dict[Stream, Any]]:
        """Judge one window. Returns the events and, by stream, what is known of it.

        ``blocked`` are metrics that may not open an alert because the other revision has told of them.
        """
        model = self.model
        events: list[Event] = []
        kept: dict[Stream, dict[str, Any]] = {}
        known, length, rules = model.reference.outcomes, model.rules.window, model.rules
        at = model.level("performance", length, model.cells, model.confirm)
        for of in sorted(streams):
            found = streams[of]
            labelled = found.early if self.revision == 1 else joined(found.early, found.late)
            vector = labelled.vector
            values, compared = model.looked_at(vector.tobytes())
            coverage = len(labelled.delays) / found.remembered
            late = [delay_quantile(labelled.histogram, q) for q in (0.5, 0.9, 0.99)]
            told: set[str] = set()
            kept[of] = {
                "remembered": found.remembered,
                "labels": len(labelled.delays),
                "coverage": coverage,
                "delays": late,
                "metrics": values,
                "blocked": told,
            }
            if known is None or (self.revision == 2 and rules.horizon == rules.maturity):
                continue
            for name, both in compared.items():
                now, was, worse = both.current, both.reference, both.worse_by
                if now.value is None or was.value is None or worse is None or now.standard_error is None:
                    continue
                decision = Decision(
                    model.stream(of),
                    "performance",
                    name,
                    both.p_value < at,
                    SIZES[(worse >= 0.05) + (worse >= 0.10)],
                    (start, start + length),
                    start + length + (rules.maturity if self.revision == 1 else rules.horizon),
                    *model.confirm,
                    {
                        "n": now.n,
                        "p_value": both.p_value,
                        "level": at,
                        "value": now.value,
                        "labels": len(labelled.delays),
                        "coverage": coverage,
                        "revision": self.revision,
                    },
                    revision=self.revision,
                    may_open=name not in blocked.get(of, ()),
                )
                event = self.life.decide(decision)
                events += [event] if event else []
                if decision.rejected:
                    told.add(name)
            names = [name for name in model.config.performance if self.life.is_open(model.stream(of), name)]
            told.update(names)
        return events, kept


def joined(one: counts.Outcomes, other: counts.Outcomes) -> counts.Outcomes:
    """Both together."""
    return counts.Outcomes(one.offsets + other.offsets, one.delays + other.delays, one.parts + other.parts)


SIZES = ("info", "warning", "critical")
SUBJECT = "error_rate"


@dataclass
class Series:
    """The detectors of one stream. ``rise`` looks for a rise, ``back`` for its end; ``past`` stands in without a baseline."""

    panes: list[int] = field(default_factory=list)
    rise: EDetector | None = None
    back: EDetector | None = None
    spread: Dispersion = field(default_factory=Dispersion)
    past: Adwin = field(default_factory=Adwin)
    before: float = 0.0


class Sequential:
    """The error rate, one pane of arriving labels after another."""

    def __init__(self, model: Watched) -> None:
        """Nothing seen."""
        self.model, self.life = model, model.life()
        self.series: dict[tuple[str, str], Series] = {}
        outcomes = model.reference.outcomes
        self.baseline = None if outcomes is None else (int(outcomes[layout.ERRORS]), int(outcomes[layout.N]))
        self.allowed = model.level("sequential", model.rules.pane, model.cells, (1, 1))

    def pane(self, start: int, streams: Mapping[tuple[str, str], NDArray[np.int64]]) -> list[Event]:
        """Judge one pane: the outcomes of each stream."""
        events = []
        for of in sorted(streams):
            n, errors = int(streams[of][layout.N]), int(streams[of][layout.ERRORS])
            if n == 0:
                continue
            series = self.series.setdefault(of, Series())
            series.panes.append(start)
            stream = self.model.stream(of)
            is_open = self.life.is_open(stream, SUBJECT)
            found = (
                self._baseline(series, n, errors, is_open=is_open)
                if self.baseline
                else _own(series, n, errors, is_open=is_open)
            )
            if found is None:
                continue
            rose, detector, before, threshold = found
            since = series.panes[-detector.window_start]
            rate, size = detector.mean, detector.mean - before
            decision = Decision(
                stream,
                "sequential",
                SUBJECT,
                rose,
                SIZES[(size >= 0.05) + (size >= 0.10)],
                (since, start + self.model.rules.pane),
                start + self.model.rules.pane,
                1,
                1,
                {"n": detector.n, "value": rate, "reference_value": before, "threshold": threshold},
                since,
            )
            event = self.life.decide(decision)
            if event is None:
                continue
            events.append(event)
            if threshold is not None and event.transition == "opened":
                series.back = self._all_clear(threshold, rate)
            elif event.transition == "resolved":
                series.rise = series.back = None
        return events

    def _all_clear(self, threshold: float, rate: float) -> EDetector:
        """Looks for the end of a rise: below the middle between what counts as none and the rate that opened."""
        middle = min(1.0, max(threshold, (threshold + rate) / 2))
        return EDetector(middle, arl=1 / self.allowed, alternative="less", confirm=2)

    def _baseline(
        self, series: Series, n: int, errors: int, *, is_open: bool
    ) -> tuple[bool, EDetector, float, float] | None:
        assert self.baseline is not None
        wrong, known = self.baseline
        if series.rise is None:
            series.rise = EDetector(wrong / known, arl=1 / self.allowed, baseline_n=known, confirm=2)
        spread, threshold = series.spread.value, series.rise.null[1]
        detector, found = series.rise, series.rise.update_many(n, errors, errors, dispersion=spread)
        rose = found
        if is_open:
            assert series.back is not None
            fell = series.back.update_many(n, errors, errors, dispersion=spread)
            if fell and not found:
                detector, found = series.back, True
        series.spread.update(n, errors)
        return (rose, detector, wrong / known, threshold) if found else None


def _own(series: Series, n: int, errors: int, *, is_open: bool) -> tuple[bool, Adwin, float, None] | None:
    before = series.past.mean
    changed = series.past.update_many(n, errors, errors)
    rose = series.past.direction > 0
    if not changed or not (rose or is_open):
        return None
    if rose:
        series.before = before
    return rose, series.past, series.before, None


def merged(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The sum of vectors."""
    return sum(parts[1:], parts[0])
