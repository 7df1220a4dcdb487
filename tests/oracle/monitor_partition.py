"""One partition's two logs and its journal, read one record after the other with dicts: what the task has to come to.

Written from DESIGN section 6 (R1-R7, R13). As ``join_oracle``, but with the journal (R3): entries of the partition clock, and
starts of models that this partition has not seen. Where an entry stands among the records is what the journal says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.events import category_text
from tests.oracle.join_oracle import Label, Pair, Prediction, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Wall:
    """A journal entry: before the record at ``offset`` of ``topic``, the partition stood at ``time``."""

    topic: str
    offset: int
    time: int


@dataclass(frozen=True)
class Start:
    """A journal entry: before these offsets, by topic, a model that the partition had not seen began to run."""

    model: str
    offsets: Mapping[str, int]
    event_time: int
    record_time: int


Entry = Wall | Start
"""In the order of their numbers."""


@dataclass
class Clock:
    """The largest time heard. It runs on with the partition's time once its model has been silent for ``idle``.

    A borrowed one is another partition's beginning, and counts only from then on.
    """

    idle: int
    value: int | None = None
    heard: int = 0
    borrowed: bool = False

    def at(self, now: int) -> int | None:
        """The clock as it stands at the partition's time ``now``; None before it counts."""
        if self.value is None or (self.borrowed and now - self.heard - self.idle <= 0):
            return None
        return self.value + max(0, now - self.heard - self.idle)

    def hear(self, time: int, now: int) -> None:
        """A record of this model with this time, at this time of the partition."""
        before = self.at(now)
        self.value = time if before is None else max(before, time)
        self.heard, self.borrowed = now, False

    def start(self, entry: Start) -> None:
        """The model has begun elsewhere."""
        if self.value is None:
            self.value, self.heard, self.borrowed = entry.event_time, entry.record_time, True


@dataclass
class Partition:
    """What became of everything; ``label_outcome`` has "unjoined" for labels that are orphans or still wait.

    Labels stand with their effective times. ``watermark`` and ``label_clock`` are those of the end, of models that have them.
    """

    outcome: list[str] = field(default_factory=list)
    label_outcome: list[str] = field(default_factory=list)
    applied: list[Prediction] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    unjoined: list[tuple[Label, int]] = field(default_factory=list)
    kept: list[tuple[Label, int]] = field(default_factory=list)
    on_time: list[tuple[Label, int]] = field(default_factory=list)
    floor: dict[str, int] = field(default_factory=dict)
    """Of each model that was seen: labels that name none and are older do not join it."""
    watermark: dict[str, int] = field(default_factory=dict)
    label_clock: dict[str, int] = field(default_factory=dict)

    def ledger(self) -> Counter[str]:
        """Outcomes of predictions."""
        return Counter(self.outcome)

    def label_ledger(self) -> Counter[str]:
        """Outcomes of labels."""
        return Counter(self.label_outcome)


def read(
    predictions: Sequence[Prediction],
    labels: Sequence[Label],
    entries: Sequence[Entry],
    rules: Mapping[str, Rules],
    future: int,
) -> Partition:
    """Read both topics of one partition to their ends."""
    found = Partition()
    _predictions(found, predictions, entries, rules, future)
    _labels(found, labels, entries, rules, future)
    by_id: dict[str, list[tuple[Label, int]]] = {}
    for label, time in found.kept:
        by_id.setdefault(label.id, []).append((label, time))
    joined = set()
    for p in found.applied:
        horizon = rules[p.model].horizon
        for label, time in by_id.get(p.id, []):  # in offset order: the first one that fits counts
            known = label.model == p.model or (label.model is None and time >= found.floor[p.model])
            if known and abs(time - p.event_time) <= horizon:
                found.pairs.append(Pair(p, label, time))
                joined.add(label.offset)
                break
    for i, label in enumerate(labels):
        if found.label_outcome[i] == "remembered":
            found.label_outcome[i] = "applied" if label.offset in joined else "unjoined"
    found.unjoined = [(label, time) for label, time in found.kept if label.offset not in joined]
    return found


def _at_offsets(entries: Sequence[Entry], topic: str, last: int) -> Iterator[tuple[int, Entry]]:
    """The entries that concern a topic, each with the offset before which it took effect."""
    for entry in entries:
        if isinstance(entry, Wall) and entry.topic == topic:
            yield min(entry.offset, last), entry
        elif isinstance(entry, Start):
            yield min(entry.offsets[topic], last), entry


def _predictions(
    found: Partition,
    records: Sequence[Prediction],
    entries: Sequence[Entry],
    rules: Mapping[str, Rules],
    future: int,
) -> None:
    """R1, R2, R13, and the repeats of R5."""
    reach = 2 * max(rule.horizon for rule in rules.values())
    clocks = {name: Clock(rule.idle) for name, rule in rules.items()}
    before: dict[int, list[Entry]] = {}
    for offset, entry in _at_offsets(entries, "predictions", len(records)):
        before.setdefault(offset, []).append(entry)
    remembered: dict[tuple[str, str, str, str], list[int]] = {}
    now = -(1 << 62)
    for r in records:
        now = _enter(before.pop(r.offset, []), clocks, now)
        now = max(now, r.record_time)
        if not r.readable:
            found.outcome.append("dead_letter")
        elif r.model not in rules:
            found.outcome.append("unknown_model")
        elif r.event_time > r.record_time + future:
            found.outcome.append("future")
        else:
            rule, clock = rules[r.model], clocks[r.model]
            if r.model not in found.floor:  # labels without a model that are older were for the models before it
                there = [c.at(now) for name, c in clocks.items() if name in found.floor]
                found.floor[r.model] = max((at for at in there if at is not None), default=-(1 << 62)) - reach
            watermark = clock.at(now)
            clock.hear(r.event_time, now)
            pane_end = r.event_time - r.event_time % rule.pane + rule.pane
            times = remembered.setdefault((r.id, *r.stream), [])
            if watermark is not None and pane_end + rule.lateness <= watermark:
                found.outcome.append("late")
            elif any(abs(t - r.event_time) <= rule.horizon for t in times):
                found.outcome.append("duplicate")
            else:
                found.outcome.append("applied")
                found.applied.append(r)
                times.append(r.event_time)
    for _, late in sorted(before.items()):
        now = _enter(late, clocks, now)
    found.watermark = {name: at for name, clock in clocks.items() if (at := clock.at(now)) is not None}


def _enter(entries: Sequence[Entry], clocks: Mapping[str, Clock], now: int) -> int:
    for entry in entries:
        if isinstance(entry, Wall):
            now = max(now, entry.time)
        else:
            clocks[entry.model].start(entry)
    return now


def _labels(
    found: Partition,
    records: Sequence[Label],
    entries: Sequence[Entry],
    rules: Mapping[str, Rules],
    future: int,
) -> None:
    """R4 and the several labels of R5."""
    clocks = LabelClocks(rules)
    longest = max(rule.horizon for rule in rules.values())
    before: dict[int, list[Entry]] = {}
    for offset, entry in _at_offsets(entries, "labels", len(records)):
        before.setdefault(offset, []).append(entry)
    by_id: dict[str, list[tuple[Label, int]]] = {}
    now = -(1 << 62)
    for r in records:
        now = _enter(before.pop(r.offset, []), clocks.named, now)
        now = max(now, r.record_time)
        own = r.record_time if r.event_time is None else r.event_time
        if not r.readable:
            found.label_outcome.append("dead_letter")
        elif r.model is not None and r.model not in rules:
            found.label_outcome.append("unknown_model")
        elif own > r.record_time + future:
            found.label_outcome.append("future")
        else:
            time = clocks.hear(r.model, own, now)
            found.on_time.append((r, time))
            memory = longest if r.model is None else rules[r.model].horizon
            earlier = [o for o, t in by_id.get(r.id, []) if o.model in {None, r.model} and abs(t - time) <= memory]
            if earlier:
                same = category_text(earlier[0].label) == category_text(r.label)
                found.label_outcome.append("duplicate" if same else "conflict")
            else:
                found.label_outcome.append("remembered")
                by_id.setdefault(r.id, []).append((r, time))
                found.kept.append((r, time))
    for _, late in sorted(before.items()):
        now = _enter(late, clocks.named, now)
    found.label_clock = {name: at for name in rules if (at := clocks.at(name, now)) is not None}


class LabelClocks:
    """The clock of the labels that name each model, and that of labels that name none."""

    def __init__(self, rules: Mapping[str, Rules]) -> None:
        """Nothing heard."""
        self.rules = rules
        self.named = {name: Clock(rule.idle) for name, rule in rules.items()}
        self.unnamed = Clock(max(rule.idle for rule in rules.values()))

    def at(self, model: str, now: int) -> int | None:
        """How far a model's labels are complete: the lower of the two clocks, as far as they have started.

        A borrowed start counts only where the partition has heard neither.
        """
        own, every = self.named[model].at(now), self.unnamed.at(now)
        if every is None:
            return own
        return every if own is None or self.named[model].borrowed else min(own, every)

    def hear(self, model: str | None, own: int, now: int) -> int:
        """A label with its own time; returns its effective one: it reaches back no further than what may be closed.

        A clock that starts does so no earlier than what stood in for it until then.
        """
        clock = self.unnamed if model is None else self.named[model]
        before = clock.at(now)
        if model is None and before is None:
            before = max((at for c in self.named.values() if (at := c.at(now)) is not None), default=None)
        elif model is not None and self.unnamed.value is not None and (before is None or clock.borrowed):
            before = self.unnamed.at(now)
        clock.value, clock.heard, clock.borrowed = own if before is None else max(own, before), now, False
        return own if before is None else max(own, before - self.lateness(model))

    def lateness(self, model: str | None) -> int:
        """A model's lateness; without a model the least of all."""
        return min(r.lateness for r in self.rules.values()) if model is None else self.rules[model].lateness
