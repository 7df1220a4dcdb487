"""One partition's history, read one record after the other with dicts and loops: what the engine has to come to.

Written from DESIGN section 6 (R1, R2, R4-R7, R13), not from the engine. Times in ms. A history is a list of predictions and
a list of labels, each in offset order; there are no batches, no tables, no commits and no interleaving here, because none of
them may matter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from schemas.events import category_text


@dataclass(frozen=True)
class Prediction:
    """A record of the predictions topic; ``value`` None where the record is none that can be read."""

    offset: int
    record_time: int
    readable: bool = True
    id: str = ""
    model: str = ""
    version: str = ""
    variant: str = "champion"
    event_time: int = 0
    features: dict[str, Any] = field(default_factory=dict)
    prediction: Any = None
    score: float | None = None

    @property
    def stream(self) -> tuple[str, str, str]:
        """Model, version and variant."""
        return self.model, self.version, self.variant


@dataclass(frozen=True)
class Label:
    """A record of the labels topic; ``event_time`` and ``model`` None where it carries none."""

    offset: int
    record_time: int
    readable: bool = True
    id: str = ""
    label: Any = None
    event_time: int | None = None
    model: str | None = None


@dataclass(frozen=True)
class Rules:
    """One model's times."""

    pane: int
    window: int
    lateness: int
    idle: int
    maturity: int
    horizon: int


@dataclass(frozen=True)
class Pair:
    """A label that counts for a prediction, and the label's effective time."""

    prediction: Prediction
    label: Label
    label_time: int


class Clock:
    """The largest time heard; it runs on with the partition's record time once its model has been silent for ``idle``."""

    def __init__(self) -> None:
        self.value: int | None = None
        self.heard = 0

    def at(self, now: int, idle: int) -> int | None:
        """The clock as it stands when the partition's record time is ``now``; None before the first record."""
        return None if self.value is None else self.value + max(0, now - self.heard - idle)

    def hear(self, time: int, now: int, idle: int) -> None:
        """A record of this model with this time, at this record time."""
        before = self.at(now, idle)
        self.value = time if before is None else max(before, time)
        self.heard = now


@dataclass
class Result:
    """What became of everything. ``ledger`` counts outcomes; an unjoined label may have aged out or may still wait."""

    outcome: list[str]
    label_outcome: list[str]
    applied: list[Prediction]
    pairs: list[Pair]
    unjoined: list[tuple[Label, int]]
    on_time: list[tuple[Label, int]]
    watermark: dict[str, int]
    label_clock: dict[str, int]

    def ledger(self) -> Counter[str]:
        """Outcomes of predictions."""
        return Counter(self.outcome)

    def label_ledger(self) -> Counter[str]:
        """Outcomes of labels; "unjoined" is orphan or waiting."""
        return Counter(self.label_outcome)


def read(predictions: list[Prediction], labels: list[Label], rules: dict[str, Rules], future: int) -> Result:
    """Read both topics of one partition to their ends."""
    outcome, applied, watermark, floor = _predictions(predictions, rules, future)
    label_outcome, kept, on_time, label_clock = _labels(labels, rules, future)
    pairs, joined = [], set()
    for p in applied:
        fitting = [(lab, t) for lab, t in kept if _fits(p, lab, t, rules, floor)]
        if fitting:
            first, time = min(fitting, key=lambda f: f[0].offset)
            pairs.append(Pair(p, first, time))
            joined.add(first.offset)
    for i, lab in enumerate(labels):
        if label_outcome[i] == "remembered":
            label_outcome[i] = "applied" if lab.offset in joined else "unjoined"
    unjoined = [(lab, t) for lab, t in kept if lab.offset not in joined]
    return Result(outcome, label_outcome, applied, pairs, unjoined, on_time, watermark, label_clock)


def _fits(p: Prediction, label: Label, label_time: int, rules: dict[str, Rules], floor: dict[str, int]) -> bool:
    if label.model is None and label_time < floor.get(p.model, label_time):
        return False
    about = label.id == p.id and label.model in (None, p.model)
    return about and abs(label_time - p.event_time) <= rules[p.model].horizon


def _predictions(
    records: list[Prediction], rules: dict[str, Rules], future: int
) -> tuple[list[str], list[Prediction], dict[str, int], dict[str, int]]:
    """R1, R2, R13, and the repeats of R5; also from when on labels without a model may join a model's predictions."""
    reach = 2 * max(r.horizon for r in rules.values())
    floor: dict[str, int] = {}
    clocks = {name: Clock() for name in rules}
    now = min((r.record_time for r in records), default=0)
    outcomes: list[str] = []
    remembered: list[Prediction] = []
    for r in records:
        now = max(now, r.record_time)
        if not r.readable:
            outcomes.append("dead_letter")
        elif r.model not in rules:
            outcomes.append("unknown_model")
        elif r.event_time > r.record_time + future:
            outcomes.append("future")
        else:
            rule, clock = rules[r.model], clocks[r.model]
            others = [at for name, c in clocks.items() if (at := c.at(now, rules[name].idle)) is not None]
            if clock.value is None and others:
                floor[r.model] = max(others) - reach
            watermark = clock.at(now, rule.idle)
            clock.hear(r.event_time, now, rule.idle)
            pane_end = r.event_time - r.event_time % rule.pane + rule.pane
            if watermark is not None and pane_end + rule.lateness <= watermark:
                outcomes.append("late")
            elif any(
                o.id == r.id and o.stream == r.stream and abs(o.event_time - r.event_time) <= rule.horizon
                for o in remembered
            ):
                outcomes.append("duplicate")
            else:
                outcomes.append("applied")
                remembered.append(r)
    ends = {name: clock.at(now, rules[name].idle) for name, clock in clocks.items()}
    return outcomes, remembered, {name: at for name, at in ends.items() if at is not None}, floor


def _labels(
    records: list[Label], rules: dict[str, Rules], future: int
) -> tuple[list[str], list[tuple[Label, int]], list[tuple[Label, int]], dict[str, int]]:
    """R4 and the several labels of R5; also the effective time of each remembered label, and of each that is no error."""
    clocks: dict[str | None, Clock] = {name: Clock() for name in (*rules, None)}
    idle: dict[str | None, int] = {
        **{name: rule.idle for name, rule in rules.items()},
        None: max(r.idle for r in rules.values()),
    }
    lateness: dict[str | None, int] = {
        **{n: r.lateness for n, r in rules.items()},
        None: min(r.lateness for r in rules.values()),
    }
    memory: dict[str | None, int] = {
        **{n: r.horizon for n, r in rules.items()},
        None: max(r.horizon for r in rules.values()),
    }
    now = min((r.record_time for r in records), default=0)
    outcomes: list[str] = []
    kept: list[tuple[Label, int]] = []
    on_time: list[tuple[Label, int]] = []
    for r in records:
        now = max(now, r.record_time)
        own = r.record_time if r.event_time is None else r.event_time
        if not r.readable:
            outcomes.append("dead_letter")
            continue
        if r.model is not None and r.model not in rules:
            outcomes.append("unknown_model")
            continue
        if own > r.record_time + future:
            outcomes.append("future")
            continue
        clock = clocks[r.model].at(now, idle[r.model])
        if clock is None:
            others = [None] if r.model is not None else list(rules)
            clock = max((at for n in others if (at := clocks[n].at(now, idle[n])) is not None), default=None)
        time = own if clock is None else max(own, clock - lateness[r.model])
        clocks[r.model].hear(own if clock is None else max(own, clock), now, idle[r.model])
        on_time.append((r, time))
        earlier = [
            o for o, t in kept if o.id == r.id and o.model in (None, r.model) and abs(t - time) <= memory[r.model]
        ]
        if earlier:
            same = category_text(earlier[0].label) == category_text(r.label)
            outcomes.append("duplicate" if same else "conflict")
        else:
            outcomes.append("remembered")
            kept.append((r, time))
    ends: dict[str, int] = {}
    for name in rules:
        both = [at for n in (name, None) if (at := clocks[n].at(now, idle[n])) is not None]
        if both:
            ends[name] = min(both)
    return outcomes, kept, on_time, ends
