"""The counts that a history comes to: feature panes, arrival panes and performance windows, from one record at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.events import category_text
from tests.oracle import outcomes
from tests.oracle.slots import slot

if TYPE_CHECKING:
    from detectors.reference import Reference
    from tests.oracle.join_oracle import Pair, Prediction, Result, Rules

Panes = dict[tuple[str, int, str, str], list[int]]
"""(model, start, version, variant) -> rows, lowest offset, highest offset, counts."""


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
    found: Panes = {}
    for pair in result.pairs:
        p, pane = pair.prediction, rules[pair.prediction.model].pane
        time = max(p.event_time, pair.label_time)
        _add(found, (p.model, time - time % pane, p.version, p.variant), pair.label.offset, _outcome(pair, positive))
    return found


def performance_panes(result: Result, rules: dict[str, Rules], positive: str) -> Panes:
    """Each pair in the window of its prediction: first the labels before maturity, then those after it."""
    found: Panes = {}
    for pair in result.pairs:
        p, rule = pair.prediction, rules[pair.prediction.model]
        start = p.event_time - p.event_time % rule.window
        counts = _outcome(pair, positive)
        nothing = [0] * len(counts)
        mature = pair.label_time < start + rule.window + rule.maturity
        both = counts + nothing if mature else nothing + counts
        _add(found, (p.model, start, p.version, p.variant), pair.label.offset, both)
    return found


def _outcome(pair: Pair, positive: str) -> list[int]:
    """The outcome vector of one labelled binary answer; a score without an answer is an answer at one half."""
    p = pair.prediction
    if p.prediction is not None:
        predicted = int(category_text(p.prediction) == positive)
    else:
        predicted = int(p.score is not None and p.score >= 0.5)
    actual = int(category_text(pair.label.label) == positive)
    score = None if p.score is None else [p.score]
    return outcomes.classes([actual], [predicted], 2, score, binary=True)


def _add(found: Panes, key: tuple[str, int, str, str], offset: int, counts: list[int]) -> None:
    if key not in found:
        found[key] = [1, offset, offset, *counts]
        return
    old = found[key]
    summed = [a + b for a, b in zip(old[3:], counts, strict=True)]
    found[key] = [old[0] + 1, min(old[1], offset), max(old[2], offset), *summed]
