"""What a deployment has to come to, from the topics alone: the naive oracle of the whole monitor over what Kafka holds.

Each partition is read by itself, one record after the other (``tests.oracle.monitor_partition``), and its counts are added up
here one record at a time; windows, alerts and requests are then decided by ``tests.oracle.monitor_oracle``. Nothing is imported
from the engine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import nan
from multiprocessing import get_context
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.performance import layout
from detectors.reference import Reference
from schemas.config import Config
from schemas.events import category_text
from tests.faults import verifier_records
from tests.faults.verifier_log import CannotLookError, Log, Raw
from tests.faults.verifier_records import Seen, Slots
from tests.faults.verifier_rounding import Slack, of_row
from tests.oracle import delays, monitor_partition, outcomes
from tests.oracle.join_oracle import Label, Pair, Prediction, Rules
from tests.oracle.monitor_counts import Features, Outcomes, Performance
from tests.oracle.monitor_families import Watched
from tests.oracle.monitor_oracle import Panes, Report, decide
from tests.oracle.monitor_partition import Entry, Partition, Start, Wall

MANY = 20_000
"""Of what is remembered to be looked up again: 50 MB of outcome vectors."""

Key = tuple[str, int, str, str]


class Model(Watched):
    """A model whose proxies take their share of the budget, though the oracle does not decide about them."""

    @property
    def proxies(self) -> int:
        """Calibration needs labels, the others scores."""
        known = self.reference.outcomes
        labelled = known is not None and bool(layout.score_histograms(known).any())
        scored = self.reference.scored is not None
        return sum(labelled if p == "calibration" else scored for p in self.config.proxy)


@dataclass
class Part:
    """One partition: what became of its records, its counts, its clocks, and its dead letters by offset."""

    records: dict[str, int]
    outcome: Counter[str]
    label_outcome: Counter[str]
    slim: Partition
    panes: Panes
    dead: dict[tuple[str, int], bytes | None] = field(default_factory=dict)
    """By topic and offset: the value of the record."""
    wrong: list[str] = field(default_factory=list)
    slack: dict[tuple[str, Key], Slack] = field(default_factory=dict)
    """By kind of pane (``arrivals``, ``early``, ``late``) and its key: by how much sums of losses may differ, where they may."""


@dataclass
class Expected:
    """Everything: the parts by partition, and what the evaluators have to come to."""

    parts: list[Part]
    report: Report


def watched(config: Config) -> dict[str, Watched]:
    """The models with their references. Raises CannotLookError for what the oracle does not know."""
    found: dict[str, Watched] = {}
    if config.feature_sets:
        raise CannotLookError("feature sets are not understood")
    for name, model in config.models.items():
        odd = [
            what
            for what, is_so in (
                (f"task {model.task}", model.task != "binary"),
                ("segments", bool(model.segments)),
                ("references of versions", bool(model.references)),
                ("a sample of labels", model.labels.sample != 1.0),
            )
            if is_so
        ]
        if odd:
            raise CannotLookError(f"model {name}: {', '.join(odd)} are not understood")
        w, of = model.windows, model.labels
        rules = Rules(w.pane, w.size, w.lateness, w.idle, of.maturity, of.horizon)
        found[name] = Model(name, model, rules, Reference.load(model.reference))
    return found


def expected(
    config: Config, journal: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]], processes: int = 1
) -> Expected:
    """Read the inputs, several partitions at once, and decide. Raises CannotLookError."""
    models = watched(config)
    topics = (config.topics.predictions, config.topics.labels)
    with Log(config.kafka) as log:
        bounds = log.bounds(*topics)
    if bounds[topics[0]].keys() != bounds[topics[1]].keys():
        raise CannotLookError("predictions and labels have different numbers of partitions")
    numbers = sorted(bounds[topics[0]])
    jobs = [(config, p, [bounds[t][p] for t in topics], list(journal.get(("predictions", p), ()))) for p in numbers]
    if processes == 1:
        parts = [part(*job) for job in jobs]
    else:  # a client of Kafka does not survive a fork
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(part, *zip(*jobs, strict=True)))
    report = Report([p.slim for p in parts], [p.panes for p in parts])
    decide(report, models)
    return Expected(parts, report)


# -- one partition ----------------------------------------------------------------------------------------------------


def part(config: Config, number: int, bounds: Sequence[tuple[int, int]], entries: Sequence[Mapping[str, Any]]) -> Part:
    """Read one partition of both topics; ``bounds`` are where they begin and end."""
    models = watched(config)
    rules = {name: m.rules for name, m in models.items()}
    slots = {name: Slots(m.reference) for name, m in models.items()}
    names = {"predictions": config.topics.predictions, "labels": config.topics.labels}
    dead: dict[tuple[str, int], bytes | None] = {}
    wrong: list[str] = []
    predictions: list[Prediction] = []
    labels: list[Label] = []
    with Log(config.kafka) as log:
        for raw in _dense(log, names["predictions"], number, bounds[0]):
            wrong += untrue(names["predictions"], number, raw, entries)
            one = verifier_records.prediction(raw, slots)
            predictions.append(one)
            if not one.readable:
                dead[names["predictions"], raw.offset] = raw.value
        for raw in _dense(log, names["labels"], number, bounds[1]):
            wrong += untrue(names["labels"], number, raw, entries)
            label = verifier_records.label(raw, set(models))
            labels.append(label)
            if not label.readable:
                dead[names["labels"], raw.offset] = raw.value
    read = monitor_partition.read(predictions, labels, _entries(entries, names, set(models)), rules, config.future)
    positive = {name: str(m.config.positive_class) for name, m in models.items()}
    slack: dict[tuple[str, Key], Slack] = {}
    panes = _panes(read, rules, slots, positive, slack)
    return Part(
        {names["predictions"]: len(predictions), names["labels"]: len(labels)},
        read.ledger(),
        read.label_ledger(),
        _slim(read, rules),
        panes,
        dead,
        wrong,
        slack,
    )


def _dense(log: Log, topic: str, number: int, bounds: tuple[int, int]) -> Iterator[Raw]:
    """All records of a partition, which must be all that there ever were."""
    for at, raw in enumerate(log.read(topic, number, *bounds)):
        if raw.offset != at:
            raise CannotLookError(f"{topic}/{number}: offset {raw.offset} stands where {at} should")
        yield raw


def untrue(topic: str, number: int, raw: Raw, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Clock entries say "caught up and silent": what the broker stamped behind one cannot be older than it (R2)."""
    if not raw.appended:
        return
    for entry in entries:
        if entry["entry"] != "clock" or entry["topic"] != topic:
            continue
        if raw.offset >= entry["offsets"][topic] and raw.time < entry["time_ms"]:
            yield (
                f"{topic}/{number}: the journal says that offset {entry['offsets'][topic]} was the end at {entry['time_ms']}, "
                f"but offset {raw.offset} was there at {raw.time}"
            )


def _entries(entries: Sequence[Mapping[str, Any]], names: Mapping[str, str], models: set[str]) -> list[Entry]:
    """The journal's entries as the oracle has them."""
    half = {topic: name for name, topic in names.items()}
    found: list[Entry] = []
    for e in entries:
        offsets = {half[t]: int(o) for t, o in e["offsets"].items() if t in half}
        if e["entry"] == "clock":
            found.append(Wall(half[e["topic"]], offsets[half[e["topic"]]], e["time_ms"]))
        elif e["model"] in models:
            found.append(Start(e["model"], offsets, e["event_time"], e["record_time"]))
    return found


def _slim(read: Partition, rules: Mapping[str, Rules]) -> Partition:
    """What deciding needs of a partition: clocks, whether a model was seen, and the outermost labels of every window."""
    seen: dict[str, Prediction] = {}
    for p in read.applied:
        seen.setdefault(p.model, Prediction(p.offset, p.record_time, model=p.model))
    outermost: dict[tuple[Any, ...], tuple[tuple[Label, int], tuple[Label, int]]] = {}
    for label, time in read.on_time:
        key = (label.model, *(time // r.window for r in rules.values()))
        low, high = outermost.get(key, ((label, time), (label, time)))
        low = low if low[0].offset <= label.offset else (label, time)
        high = high if high[0].offset >= label.offset else (label, time)
        outermost[key] = low, high
    kept = [one for both in outermost.values() for one in both]
    return Partition(applied=list(seen.values()), on_time=kept, watermark=read.watermark, label_clock=read.label_clock)


# -- counts -----------------------------------------------------------------------------------------------------------

_EDGES = delays.edges()


@cache
def _like(place: int) -> int:
    """A delay of a bin: all delays of it count the same, and few different ones are quickly counted."""
    return 0 if place == 0 else int(np.ceil(float(_EDGES[place - 1])))


class _Delays(dict[int, int]):
    """A delay to one that stands for its bin."""

    def __missing__(self, delay: int) -> int:
        found = _like(bisect_right(_EDGES, max(delay, 0)))
        if len(self) < MANY:
            self[delay] = found
        return found


def _panes(
    read: Partition,
    rules: Mapping[str, Rules],
    slots: Mapping[str, Slots],
    positive: Mapping[str, str],
    slack: dict[tuple[str, Key], Slack],
) -> Panes:
    """The counts of a partition, each record added to its pane and window, and to ``slack`` what may differ of them."""
    features: dict[Key, Features] = {}
    windows: dict[Key, Performance] = {}
    arrivals: dict[Key, Outcomes] = {}
    like = _Delays()
    for p in read.applied:
        rule = rules[p.model]
        key = (p.model, p.event_time // rule.pane * rule.pane, p.version, p.variant)
        pane = features.get(key) or features.setdefault(key, Features(slots[p.model].width))
        pane.add(p.offset, memoryview(cast("Seen", p).slots).cast("H"))
        windows.setdefault(_window(p, rule), Performance()).remembered += 1
    for pair in read.pairs:
        p = pair.prediction
        rule = rules[p.model]
        (vector, loose), delay = _outcome(pair, positive[p.model]), like[pair.label_time - p.event_time]
        time = max(p.event_time, pair.label_time)
        key = (p.model, time // rule.pane * rule.pane, p.version, p.variant)
        _add(arrivals.get(key) or arrivals.setdefault(key, Outcomes()), vector, delay)
        window = _window(p, rule)
        early = pair.label_time < window[1] + rule.window + rule.maturity
        _add(windows[window].early if early else windows[window].late, vector, delay)
        if loose:
            for place in (("arrivals", key), ("early" if early else "late", window)):
                slack[place] = slack.get(place, Slack()) + loose
    return Panes(features, arrivals, windows)


def _window(p: Prediction, rule: Rules) -> Key:
    return p.model, p.event_time // rule.window * rule.window, p.version, p.variant


def _outcome(pair: Pair, positive: str) -> tuple[NDArray[np.int64], Slack]:
    """The outcome vector of one pair, and what may differ in it; a score without an answer is an answer at one half."""
    p = pair.prediction
    said = None if p.prediction is None else category_text(p.prediction)
    half = p.score is not None and p.score >= 0.5
    predicted = half if said is None else said == positive
    return _vector(
        int(category_text(pair.label.label) == positive), int(predicted), nan if p.score is None else p.score
    )


@lru_cache(maxsize=MANY)
def _vector(actual: int, predicted: int, score: float) -> tuple[NDArray[np.int64], Slack]:
    vector = np.array(outcomes.classes([actual], [predicted], 2, [score], binary=True), np.int64)
    return vector, of_row(actual, score)


def _add(into: Outcomes, vector: NDArray[np.int64], delay: int) -> None:
    into.delays.append(delay)
    if into.parts:
        into.parts[0] += vector
    else:
        into.parts.append(vector.copy())
