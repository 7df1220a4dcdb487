"""What must become of predictions and labels of one partition, by the rules alone: two loops, dictionaries, no sorting.

Written from DESIGN (R1, R4, R5, R6, R13), not from the engine. Knows two classes and scores that are whole 128ths. No model is
ever silent for longer than ``idle`` (R2), so clocks stand where records put them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

BINS = 100
SCORE_UNITS = 128
COUNTS = 2 + 4 + 2 * BINS
"""n, errors, confusion counts (actual, predicted), score histogram of the negatives, of the positives."""
DELAY_EDGES = (0, *(2**e * (4 + k) / 4 for e in range(37) for k in range(4)), 2**37)
"""Of a label's delay in ms: all up to 0 is in the first bin, then four equal parts of every power of two, then the rest."""
WIDTH = COUNTS + len(DELAY_EDGES)

Stream = tuple[str, str, str]
"""(model, version, variant)."""


class Prediction(NamedTuple):
    """One record of predictions, as sent. ``model`` is None where the record is no JSON; ``score`` is in 128ths."""

    key: str
    model: str | None
    version: str
    variant: str
    event_time: int
    record_time: int
    answer: int
    score: int


class Label(NamedTuple):
    """One record of labels. ``model`` "" names none and None marks a record that is no JSON; ``event_time`` may be absent."""

    key: str
    model: str | None
    event_time: int | None
    record_time: int
    truth: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The times of monitor.yaml in ms, the same for all ``models``, and the guard against the future."""

    models: frozenset[str]
    pane: int
    window: int
    lateness: int
    maturity: int
    horizon: int
    future: int = 300_000


def _zeros() -> list[int]:
    return [0] * WIDTH


@dataclass(slots=True)
class Counts:
    """What was counted; vectors are `COUNTS` integers, then the delays. Counts of partitions add up with `add`.

    ``arrived``: labels of any outcome but a future one by the model that they name and the pane of their time.
    """

    predictions: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[Stream, int]] = field(default_factory=Counter)
    remembered: Counter[tuple[Stream, int]] = field(default_factory=Counter)
    arrived: Counter[tuple[str, int]] = field(default_factory=Counter)
    arrivals: dict[tuple[Stream, int], list[int]] = field(default_factory=lambda: defaultdict(_zeros))
    mature: dict[tuple[Stream, int], list[int]] = field(default_factory=lambda: defaultdict(_zeros))
    final: dict[tuple[Stream, int], list[int]] = field(default_factory=lambda: defaultdict(_zeros))

    def add(self, other: Counts) -> None:
        """Add another partition's counts."""
        for mine, more in (
            (self.predictions, other.predictions),
            (self.labels, other.labels),
            (self.rows, other.rows),
            (self.remembered, other.remembered),
            (self.arrived, other.arrived),
        ):
            mine.update(more)  # type: ignore[arg-type]  # counters of several kinds of keys
        for vectors, others in (
            (self.arrivals, other.arrivals),
            (self.mature, other.mature),
            (self.final, other.final),
        ):
            for key, vector in others.items():
                vectors[key] = [a + b for a, b in zip(vectors[key], vector, strict=True)]


class _Known(NamedTuple):
    """A label that was remembered: its effective time, the model that it names, its truth, and whether it met a prediction."""

    time: int
    model: str
    truth: int
    met: list[Prediction]


def count(predictions: Iterable[Prediction], labels: Iterable[Label], rules: Rules) -> Counts:
    """The counts of one partition; both iterables in offset order."""
    found = Counts()
    remembered = _predictions(predictions, rules, found)
    known = _labels(labels, rules, found)
    for key, mine in remembered.items():
        for prediction in mine:
            for label in known.get(key, ()):  # in offset order: the first that fits is its label
                fits = label.model in {"", prediction.model}
                if fits and abs(label.time - prediction.event_time) <= rules.horizon:
                    label.met.append(prediction)
                    _outcome(prediction, label, rules, found)
                    break
    for several in known.values():
        for label in several:
            found.labels["applied" if label.met else "orphan"] += 1
    return found


def _predictions(records: Iterable[Prediction], rules: Rules, found: Counts) -> dict[str, list[Prediction]]:
    remembered: dict[str, list[Prediction]] = defaultdict(list)
    watermark: dict[str, int] = {}
    for p in records:
        if p.model is None:
            found.predictions["dead_letter"] += 1
        elif p.model not in rules.models:
            found.predictions["unknown_model"] += 1
        elif p.event_time > p.record_time + rules.future:
            found.predictions["future"] += 1
        else:
            pane = p.event_time // rules.pane * rules.pane
            before = watermark.get(p.model, -1)
            watermark[p.model] = max(before, p.event_time)
            stream = p.model, p.version, p.variant
            if pane + rules.pane + rules.lateness <= before:
                found.predictions["late"] += 1
            elif any(
                (q.model, q.version, q.variant) == stream and abs(q.event_time - p.event_time) <= rules.horizon
                for q in remembered.get(p.key, ())
            ):
                found.predictions["duplicate"] += 1
            else:
                found.predictions["applied"] += 1
                found.rows[stream, pane] += 1
                found.remembered[stream, p.event_time // rules.window * rules.window] += 1
                remembered[p.key].append(p)
    return remembered


def _labels(records: Iterable[Label], rules: Rules, found: Counts) -> dict[str, list[_Known]]:
    known: dict[str, list[_Known]] = defaultdict(list)
    clock: dict[str, int] = {}
    for record in records:
        if record.model is None:
            found.labels["dead_letter"] += 1
            continue
        if record.model and record.model not in rules.models:
            found.labels["unknown_model"] += 1
            continue
        time = record.record_time if record.event_time is None else record.event_time
        if time > record.record_time + rules.future:
            found.labels["future"] += 1
            continue
        before = clock.get(record.model, -1)
        clock[record.model] = max(before, time)
        time = max(time, before - rules.lateness)
        found.arrived[record.model, time // rules.pane * rules.pane] += 1
        first = next(
            (
                k
                for k in known.get(record.key, ())
                if k.model in {"", record.model} and abs(k.time - time) <= rules.horizon
            ),
            None,
        )
        if first is None:
            known[record.key].append(_Known(time, record.model, record.truth, []))
        else:
            found.labels["duplicate" if first.truth == record.truth else "conflict"] += 1
    return known


def _outcome(p: Prediction, label: _Known, rules: Rules, found: Counts) -> None:
    stream = p.model or "", p.version, p.variant
    window = p.event_time // rules.window * rules.window
    pane = max(p.event_time, label.time) // rules.pane * rules.pane
    delay = max(0, bisect_right(DELAY_EDGES, label.time - p.event_time) - 1)
    vectors = [found.arrivals[stream, pane], found.final[stream, window]]
    if label.time < window + rules.window + rules.maturity:
        vectors.append(found.mature[stream, window])
    for vector in vectors:
        vector[0] += 1
        vector[1] += p.answer != label.truth
        vector[2 + 2 * label.truth + p.answer] += 1
        vector[6 + BINS * label.truth + min(BINS - 1, p.score * BINS // SCORE_UNITS)] += 1
        vector[COUNTS + delay] += 1
