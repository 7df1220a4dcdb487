"""What the histories of all partitions count up to, one record at a time: by pane and partition, and merged into windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.performance import layout
from schemas.events import category_text
from tests.oracle import outcomes
from tests.oracle.delays import histogram
from tests.oracle.slots import slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from detectors.reference import Reference, Subject
    from tests.oracle.join_oracle import Pair, Prediction, Rules
    from tests.oracle.monitor_partition import Partition

Stream = tuple[str, str]
"""Version and variant."""


@dataclass
class Features:
    """Applied predictions: how many, their lowest and highest offset, and the slot vectors of all subjects."""

    width: int
    rows: int = 0
    low: int = 1 << 62
    high: int = -1
    counts: Any = None

    def add(self, offset: int, slots: Iterable[int]) -> None:
        """Count one prediction: the index of its slot of each subject, in one long vector."""
        if self.counts is None:
            self.counts = [0] * self.width
        self.rows, self.low, self.high = self.rows + 1, min(self.low, offset), max(self.high, offset)
        for at in slots:
            self.counts[at] += 1


@dataclass
class Outcomes:
    """Labelled predictions: the offsets of their labels, delays, and the outcome vector."""

    offsets: list[int] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    parts: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, pair: Pair, positive: str) -> None:
        """Count one pair."""
        self.offsets.append(pair.label.offset)
        self.delays.append(pair.label_time - pair.prediction.event_time)
        self.parts.append(outcome(pair, positive))

    @property
    def vector(self) -> NDArray[np.int64]:
        """The outcome vector, sums spelt as they should be."""
        return spelt(sum(self.parts, np.zeros(layout.width("binary", 2), np.int64)))

    @property
    def histogram(self) -> NDArray[np.int64]:
        """The histogram of delays."""
        counts = np.zeros(len(histogram([])), np.int64)
        for delay in self.delays:
            counts[_delay_bin(delay)] += 1
        return counts


@cache
def _delay_bin(delay: int) -> int:
    return histogram([delay]).index(1)


@dataclass
class Performance:
    """The predictions of a window: how many could be labelled, and which were, up to maturity and after it."""

    remembered: int = 0
    early: Outcomes = field(default_factory=Outcomes)
    late: Outcomes = field(default_factory=Outcomes)


Key = tuple[str, int, str, str]
"""Model, start, version, variant."""


def features(found: Partition, rules: Mapping[str, Rules], reference: Mapping[str, Reference]) -> dict[Key, Features]:
    """Feature panes of one partition: each applied prediction in the pane of its event time."""
    panes: dict[Key, Features] = {}
    for p in found.applied:
        pane = rules[p.model].pane
        subjects = reference[p.model].subjects
        key = (p.model, p.event_time - p.event_time % pane, p.version, p.variant)
        if key not in panes:
            panes[key] = Features(sum(s.width for s in subjects))
        panes[key].add(p.offset, _slots(p, reference[p.model]))
    return panes


def arrivals(found: Partition, rules: Mapping[str, Rules], positive: str) -> dict[Key, Outcomes]:
    """Arrival panes of one partition: each pair in the pane of its label's time, but not before the prediction's."""
    panes: dict[Key, Outcomes] = {}
    for pair in found.pairs:
        p = pair.prediction
        time = max(p.event_time, pair.label_time)
        key = (p.model, time - time % rules[p.model].pane, p.version, p.variant)
        panes.setdefault(key, Outcomes()).add(pair, positive)
    return panes


def performance(found: Partition, rules: Mapping[str, Rules], positive: str) -> dict[Key, Performance]:
    """Performance windows of one partition: each pair in the window of its prediction, by whether it was in at maturity."""
    windows: dict[Key, Performance] = {}
    for p in found.applied:
        windows.setdefault(_window(p, rules), Performance()).remembered += 1
    for pair in found.pairs:
        key = _window(pair.prediction, rules)
        rule = rules[key[0]]
        matures = key[1] + rule.window + rule.maturity
        into = windows[key].early if pair.label_time < matures else windows[key].late
        into.add(pair, positive)
    return windows


def _window(p: Prediction, rules: Mapping[str, Rules]) -> Key:
    return p.model, p.event_time - p.event_time % rules[p.model].window, p.version, p.variant


def _slots(p: Prediction, reference: Reference) -> list[int]:
    """The index of a prediction's slot of each subject in one long vector."""
    found, base = [], 0
    for i, subject in enumerate(reference.subjects):
        value = (
            p.features.get(subject.name)
            if i < len(reference.features)
            else (p.prediction if subject.name == "prediction" else p.score)
        )
        found.append(base + _slot(_Subject(reference.shape_hash, i, subject), type(value).__name__, value))
        base += subject.width
    return found


class _Subject:
    """A subject that can be told from others, so that the slot of a value is looked for once."""

    def __init__(self, shape: str, index: int, subject: Subject) -> None:
        self.name, self.subject = (shape, index), subject

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Subject) and self.name == other.name


@cache
def _slot(of: _Subject, _kind: str, value: object) -> int:
    return slot(of.subject, value)


def outcome(pair: Pair, positive: str) -> NDArray[np.int64]:
    """The outcome vector of one pair; a score without an answer is an answer at one half."""
    p = pair.prediction
    half = p.score is not None and p.score >= 0.5
    predicted = int(half if p.prediction is None else category_text(p.prediction) == positive)
    actual = int(category_text(pair.label.label) == positive)
    return _outcome(actual, predicted, nan if p.score is None else p.score)


@cache
def _outcome(actual: int, predicted: int, score: float) -> NDArray[np.int64]:
    return np.array(outcomes.classes([actual], [predicted], 2, [score], binary=True), np.int64)


def spelt(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """An outcome vector with every word of a sum but the highest below 2**32."""
    out = vector.copy()
    for of in layout.sums(len(vector)):
        for at in range(of.at + of.words - 1, of.at, -1):
            out[at - 1] += out[at] >> 32
            out[at] &= (1 << 32) - 1
    return out
