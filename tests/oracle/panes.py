"""The counts that a history comes to: feature panes, arrival panes and performance windows, from one record at a time."""

from __future__ import annotations

from collections import Counter
from math import gcd, nan
from typing import TYPE_CHECKING, Any

from schemas.events import category_text
from tests.oracle import delays, outcomes
from tests.oracle.slots import slot

if TYPE_CHECKING:
    from detectors.reference import Reference
    from tests.oracle.join_oracle import Pair, Prediction, Result, Rules

Key = tuple[str, int, str, str]
"""Model, start, version, variant."""
Panes = dict[Key, list[int]]
"""Each to rows, lowest offset, highest offset, counts."""
NO_OFFSETS = [(1 << 63) - 1, -1]
"""Of the join's panes: where their labels stand in the log is kept apart, because it is known of a label when it comes."""


def feature_panes(result: Result, rules: dict[str, Rules], reference: Reference) -> Panes:
    """Each applied prediction in the pane of its event time."""
    found: Panes = {}
    for p in result.applied:
        pane = rules[p.model].pane
        key = (p.model, p.event_time - p.event_time % pane, p.version, p.variant)
        counts = []
        for i, subject in enumerate(reference.subjects):
            vector = [0] * subject.width
            vector[slot(subject, _value(p, subject.name, feature=i < len(reference.features)))] = 1
            counts += vector
        _add(found, key, p.offset, counts)
    return found


def _value(p: Prediction, name: str, *, feature: bool) -> Any:  # noqa: ANN401  # any JSON value
    if feature:
        return p.features.get(name)
    return p.prediction if name == "prediction" else p.score


def arrival_panes(result: Result, rules: dict[str, Rules], positive: str) -> Panes:
    """Each pair in the pane of its label's time, but not before the prediction's."""
    groups: dict[Key, list[Pair]] = {}
    for pair in result.pairs:
        p, pane = pair.prediction, rules[pair.prediction.model].pane
        time = max(p.event_time, pair.label_time)
        groups.setdefault((p.model, time - time % pane, p.version, p.variant), []).append(pair)
    return {key: [*_header(pairs), *_block(pairs, positive)] for key, pairs in groups.items()}


def performance_panes(result: Result, rules: dict[str, Rules], positive: str) -> Panes:
    """Each prediction in its window, and each pair: first the labels before maturity, then those after it."""
    groups: dict[Key, list[Pair]] = {}
    remembered: Counter[Key] = Counter()
    for p in result.applied:
        window = rules[p.model].window
        remembered[p.model, p.event_time - p.event_time % window, p.version, p.variant] += 1
    for pair in result.pairs:
        p, window = pair.prediction, rules[pair.prediction.model].window
        groups.setdefault((p.model, p.event_time - p.event_time % window, p.version, p.variant), []).append(pair)
    found: Panes = {}
    for key, waited in remembered.items():
        rule, pairs = rules[key[0]], groups.get(key, [])
        matures = key[1] + rule.window + rule.maturity
        early, late = ([x for x in pairs if (x.label_time < matures) == before] for before in (True, False))
        found[key] = [*_header(pairs), waited, *_block(early, positive), *_block(late, positive)]
    return found


def _block(pairs: list[Pair], positive: str) -> list[int]:
    """Outcomes, then delays."""
    return [*_outcomes(pairs, positive), *delays.histogram(x.label_time - x.prediction.event_time for x in pairs)]


def label_panes(result: Result, rules: dict[str, Rules]) -> dict[tuple[str, int], list[int]]:
    """By model ("*": none is named) and pane of effective time: how many labels, lowest and highest offset."""
    panes = {name: rule.pane for name, rule in rules.items()}
    panes["*"] = gcd(*panes.values())
    found: dict[tuple[str, int], list[int]] = {}
    for label, time in result.on_time:
        name = label.model or "*"
        old = found.get((name, time - time % panes[name]), [0, *NO_OFFSETS])
        span = [old[0] + 1, min(old[1], label.offset), max(old[2], label.offset)]
        found[name, time - time % panes[name]] = span
    return found


def _header(pairs: list[Pair]) -> list[int]:
    return [len(pairs), *NO_OFFSETS]


def _outcomes(pairs: list[Pair], positive: str) -> list[int]:
    """The outcome vector of labelled binary answers; a score without an answer is an answer at one half."""
    predicted = [
        int(p.score is not None and p.score >= 0.5)
        if p.prediction is None
        else int(category_text(p.prediction) == positive)
        for p in (pair.prediction for pair in pairs)
    ]
    actual = [int(category_text(pair.label.label) == positive) for pair in pairs]
    score = [nan if pair.prediction.score is None else pair.prediction.score for pair in pairs]
    return outcomes.classes(actual, predicted, 2, score, binary=True)


def _add(found: Panes, key: tuple[str, int, str, str], offset: int, counts: list[int]) -> None:
    if key not in found:
        found[key] = [1, offset, offset, *counts]
        return
    old = found[key]
    summed = [a + b for a, b in zip(old[3:], counts, strict=True)]
    found[key] = [old[0] + 1, min(old[1], offset), max(old[2], offset), *summed]
