"""The whole monitor, naively: from the logs of all partitions and the journal to counts, windows, metrics, alerts and requests.

It reads all records first, sorts none of them, joins by dictionary, and only then asks which windows are over. There are no
batches, no commits, no cursors and no state: an answer that depends on one of these is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.oracle import monitor_counts as counts
from tests.oracle import monitor_partition
from tests.oracle.monitor_families import Drift, Performance, Quality, Sequential, Watched, joined, merged
from tests.oracle.monitor_retrain import requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.oracle.join_oracle import Label, Prediction
    from tests.oracle.monitor_alerts import Event
    from tests.oracle.monitor_counts import Features, Outcomes
    from tests.oracle.monitor_partition import Entry, Partition
    from tests.oracle.monitor_retrain import Request

POSITIVE = "yes"
RANGES = 256
"""Windows before a request whose offsets its training range may name."""


@dataclass
class Log:
    """One partition: its records, each topic in offset order, and what the journal says about it."""

    predictions: Sequence[Prediction]
    labels: Sequence[Label]
    entries: Sequence[Entry] = ()


@dataclass
class Panes:
    """The counts of one partition."""

    features: dict[counts.Key, Features]
    arrivals: dict[counts.Key, Outcomes]
    performance: dict[counts.Key, counts.Performance]


@dataclass
class Report:
    """Everything that can be compared. Windows by (model, start, version, variant); events and requests by id."""

    partitions: list[Partition]
    panes: list[Panes]
    frontier: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    drift: dict[counts.Key, Any] = field(default_factory=dict)
    performance: dict[counts.Key, Any] = field(default_factory=dict)
    final: dict[counts.Key, Any] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    requests: dict[str, tuple[Request, Any]] = field(default_factory=dict)


def monitor(logs: Sequence[Log], models: Mapping[str, Watched], future: int) -> Report:
    """Everything that the logs come to."""
    report = Report(*panes_of(logs, models, future))
    decide(report, models)
    return report


def decide(report: Report, models: Mapping[str, Watched]) -> None:
    """Add windows, events and requests to a report that has the counts of all partitions."""
    for model in models.values():
        _model(report, model)


def panes_of(logs: Sequence[Log], models: Mapping[str, Watched], future: int) -> tuple[list[Partition], list[Panes]]:
    """What became of every record, and the counts of each partition."""
    rules = {name: m.rules for name, m in models.items()}
    references = {name: m.reference for name, m in models.items()}
    partitions = [monitor_partition.read(x.predictions, x.labels, x.entries, rules, future) for x in logs]
    panes = [
        Panes(
            counts.features(p, rules, references),
            counts.arrivals(p, rules, POSITIVE),
            counts.performance(p, rules, POSITIVE),
        )
        for p in partitions
    ]
    return partitions, panes


def frontier(partitions: Sequence[Partition], model: str) -> tuple[int, int | None] | None:
    """How far every partition is: least watermark, and least of label clocks and watermarks (None: one has none)."""
    watermarks = [p.watermark.get(model) for p in partitions]
    labels = [p.label_clock.get(model) for p in partitions]
    if any(w is None for w in watermarks) or not any(a.model == model for p in partitions for a in p.applied):
        return None
    least = min(w for w in watermarks if w is not None)
    if any(at is None for at in labels):
        return least, None
    return least, min(least, *(at for at in labels if at is not None))


def _model(report: Report, model: Watched) -> None:  # noqa: C901  # one model's whole story, in its order
    name, rules = model.name, model.rules
    at = frontier(report.partitions, name)
    if at is None:
        return
    watermark, labels = report.frontier[name] = at
    first = min(k[1] for p in report.panes for k in p.features if k[0] == name)
    if watermark < first - first % rules.window + rules.window + rules.lateness:
        return  # an earlier window may still appear
    events: list[Event] = []

    drift, quality = Drift(model), Quality(model)
    drift_through = _whole(watermark - rules.lateness, rules.window)
    windows = _feature_windows(report, model)
    for start in sorted(s for s in windows if s + rules.window <= drift_through):
        changes, kept = drift.window(start, windows[start])
        events += changes
        events += quality.window(start, windows[start])
        report.drift.update({(name, start, *of): found for of, found in kept.items()})

    if labels is not None:
        performance_through = _whole(labels - rules.lateness - rules.maturity, rules.window)
        final_through = _whole(labels - rules.lateness - rules.horizon, rules.window)
        mature, final = Performance(model), Performance(model, 2)
        late_events: list[Event] = []
        labelled = _outcome_windows(report, model)
        for start in sorted(s for s in labelled if s + rules.window <= performance_through):
            changes, kept = mature.window(start, labelled[start], {})
            events += changes
            report.performance.update({(name, start, *of): found for of, found in kept.items()})
            if start + rules.window > final_through:
                continue
            changes, again = final.window(start, labelled[start], {of: k["blocked"] for of, k in kept.items()})
            late_events += changes
            report.final.update({(name, start, *of): found for of, found in again.items()})

        sequential, ticks = Sequential(model), []
        sequential_through = _whole(labels - rules.lateness, rules.pane)
        panes = _arrival_panes(report, model)
        for start in sorted(s for s in panes if s + rules.pane <= sequential_through):
            ticks.append((start + rules.pane, sum(int(v[0]) for v in panes[start].values())))
            if model.config.sequential:
                events += sequential.pane(start, panes[start])

        if model.config.retrain is not None:
            through = [sequential_through, drift_through]
            if "performance" in model.config.retrain.on:
                through.append(performance_through + rules.maturity)
            for request in requests(model, events, ticks, _whole(min(through), rules.window)):
                report.requests[request.id] = request, _offsets(report, model, request)
        events += late_events  # the policy does not hear of them
    report.events.update({e.id: e for e in events})


def _whole(time: int, length: int) -> int:
    return time // length * length


Merged = dict[int, dict[counts.Stream, Any]]
"""By start, and by stream, summed over partitions."""


def _feature_windows(report: Report, model: Watched) -> Merged:
    parts: dict[int, dict[counts.Stream, list[Any]]] = {}
    for p in report.panes:
        for (name, start, version, variant), pane in p.features.items():
            if name == model.name:
                window = parts.setdefault(_whole(start, model.rules.window), {})
                window.setdefault((version, variant), []).append(np.array(pane.counts, np.int64))
    return {s: {of: merged(found) for of, found in by.items()} for s, by in parts.items()}


def _outcome_windows(report: Report, model: Watched) -> Merged:
    found: Merged = {}
    for p in report.panes:
        for (name, start, version, variant), window in p.performance.items():
            if name == model.name:
                streams = found.setdefault(start, {})
                before = streams.get((version, variant), counts.Performance())
                streams[version, variant] = counts.Performance(
                    before.remembered + window.remembered,
                    joined(before.early, window.early),
                    joined(before.late, window.late),
                )
    return found


def _arrival_panes(report: Report, model: Watched) -> Merged:
    parts: dict[int, dict[counts.Stream, list[Any]]] = {}
    for p in report.panes:
        for (name, start, version, variant), pane in p.arrivals.items():
            if name == model.name:
                parts.setdefault(start, {}).setdefault((version, variant), []).append(pane.vector)
    return {s: {of: merged(found) for of, found in by.items()} for s, by in parts.items()}


def _offsets(report: Report, model: Watched, request: Request) -> dict[str, dict[str, tuple[int, int]]]:
    """The offsets of all windows that the training range touches, by topic and partition."""
    window = model.rules.window
    since = max(request.since, request.decided - RANGES * window)

    def touches(time: int) -> bool:
        start = _whole(time, window)
        return start < request.decided and start + window > since

    found: dict[str, dict[str, tuple[int, int]]] = {"predictions": {}, "labels": {}}
    for number, panes in enumerate(report.panes):
        mine = [p for (name, start, *_), p in panes.features.items() if name == model.name and touches(start)]
        if mine:
            found["predictions"][str(number)] = min(p.low for p in mine), max(p.high for p in mine)
        heard = report.partitions[number].on_time
        offsets = [label.offset for label, time in heard if label.model in {None, model.name} and touches(time)]
        if offsets:
            found["labels"][str(number)] = min(offsets), max(offsets)
    return found
