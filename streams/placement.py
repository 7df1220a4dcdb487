"""Do predictions and labels of one id come to one partition number? Judged from a sample of records of both topics (R10).

The join needs that the partition is the same function of ``prediction_id`` on both topics. So every known partitioner
(``streams.partitioners``) is tried on the *ids* of the sampled records, whatever their keys are: when one explains where the
ids of one topic lie, each id of the other topic that lies elsewhere is a label that cannot meet its prediction. That is observed, not
inferred; what the producer's keys look like only explains it. Where no known function explains either topic, ids that
were seen on both decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from streams.partitioners import EASIEST, MURMUR2, PARTITIONERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.partitioners import Partitioner

_CHANCE = 1e-9
"""A partitioner that fits all ids must be this unlikely to fit by chance, or too few were seen to say so."""
_MAINLY = 0.9
"""So large a share of ids shows how a topic is meant to be partitioned, beside a few records that were sent otherwise."""
_HALF = 0.5
"""From here on most labels cannot join, and a worker that starts anyway would only make orphans."""
NEWEST = 64
"""Ids that are judged alone before a worker refuses to start: a producer that was corrected must not be held against its past."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One sampled record: where it lies, its key, the id in its value ("" where unreadable), the model it names; times in ms."""

    partition: int
    key: bytes | None
    id: str
    model: str = ""
    record_ms: int = 0
    event_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``state``: together, apart (most ids), partly apart, or unknown. ``refuse``: a worker should not start."""

    state: Literal["together", "apart", "partly", "unknown"]
    what: str
    remedy: str = ""
    refuse: bool = False


def enough(partitions: int) -> int:
    """How many different ids must fit before a partitioner is believed."""
    return math.ceil(math.log(len(PARTITIONERS) / _CHANCE) / math.log(partitions))


class Placement:
    """How one topic's ids lie on its partitions; ``ids`` are the different (id, partition) pairs, newest last."""

    def __init__(self, topic: str, partitions: int, sightings: Sequence[Sighting]) -> None:
        """Look at the sightings, in order of their record times."""
        self.topic, self.partitions = topic, partitions
        self.sightings = sorted(sightings, key=lambda s: s.record_ms)
        self.ids = list(dict.fromkeys((s.id, s.partition) for s in reversed(self.sightings) if s.id))[::-1]
        self._fits: dict[str, int] = {}

    def newest(self) -> Placement:
        """The same of the newest ids alone."""
        last = set(self.ids[-NEWEST:])
        return Placement(self.topic, self.partitions, [s for s in self.sightings if (s.id, s.partition) in last])

    def fits(self, partitioner: Partitioner) -> int:
        """How many ids lie where ``partitioner`` puts them."""
        if partitioner.name not in self._fits:  # some milliseconds each, and asked for again and again
            found = sum(partitioner.partition(id_.encode(), self.partitions) == at for id_, at in self.ids)
            self._fits[partitioner.name] = found
        return self._fits[partitioner.name]

    def share(self, fitting: int) -> float:
        """The share of ids that were placed so on purpose, when ``fitting`` fit and one in ``partitions`` fits by chance."""
        return (fitting / len(self.ids) - 1 / self.partitions) / (1 - 1 / self.partitions)

    def partitioner(self) -> Partitioner | None:
        """The one that explains all ids, or nearly all where none does; None where none does or too few were seen."""
        if len(self.ids) < enough(self.partitions):
            return None
        best = max(PARTITIONERS, key=self.fits)
        return best if self.share(self.fits(best)) >= _MAINLY else None


def judge(predictions: Placement, labels: Placement) -> Verdict:
    """Compare two topics that have the same number of partitions. ``refuse`` only where most of the newest ids are apart, too."""
    verdict = _compare(predictions, labels)
    if verdict.state != "apart":
        return verdict
    # Whichever producer was corrected, its newest records are right and the other topic's always were.
    newest = (_compare(predictions, labels.newest()), _compare(predictions.newest(), labels))
    if all(v.state == "apart" for v in newest):
        return Verdict("apart", verdict.what, verdict.remedy, refuse=True)
    if any(v.state == "together" for v in newest):
        what = f"{verdict.what}; the newest {NEWEST} ids lie as they should, older ones do not"
        return Verdict("partly", what, "nothing, when the producer was corrected since")
    return Verdict("partly", verdict.what, verdict.remedy)


def _compare(predictions: Placement, labels: Placement) -> Verdict:
    if predictions.partitions == 1:
        return Verdict("together", "one partition")
    for one in (predictions, labels):
        if not one.ids:
            seen = "its records could not be read" if one.sightings else "no records yet"
            return Verdict("unknown", f"{one.topic}: {seen}")
    common = _common(predictions, labels)
    if common is not None:
        return common
    known, other = _leading(predictions, labels)
    if known is None:
        return _by_shared_ids(predictions, labels)
    return _against(known, other)


def _common(predictions: Placement, labels: Placement) -> Verdict | None:
    """One partitioner that explains all ids of both topics."""
    few = [p.topic for p in (predictions, labels) if len(p.ids) < enough(p.partitions)]
    for one in PARTITIONERS:
        if all(p.fits(one) == len(p.ids) for p in (predictions, labels)):
            if not few:
                seen = f"{len(predictions.ids):,} and {len(labels.ids):,} ids"
                return Verdict("together", f"both by {one.name} of the id ({seen} looked at)")
            if len(few) == 1:
                return Verdict("unknown", f"too few records on {few[0]} yet; those that are there lie right")
    if len(few) == 2:  # noqa: PLR2004  # both topics
        return Verdict("unknown", f"too few records on {' and '.join(few)} yet")
    return None


def _leading(predictions: Placement, labels: Placement) -> tuple[Placement | None, Placement]:
    """The topic whose partitioner is known, the better explained one first, and the other."""
    known = [p for p in (predictions, labels) if p.partitioner() is not None]
    if not known:
        return None, labels
    lead = max(known, key=_explained)
    return lead, labels if lead is predictions else predictions


def _explained(placement: Placement) -> float:
    partitioner = placement.partitioner()
    return placement.share(placement.fits(partitioner)) if partitioner is not None else 0.0


def _against(known: Placement, other: Placement) -> Verdict:
    """``other`` measured by the partitioner that explains ``known``."""
    partitioner = known.partitioner()
    assert partitioner is not None  # noqa: S101  # for the type checker: that is how it was chosen
    fitting = other.fits(partitioner)
    if other.partitioner() is partitioner:
        strays = [(p.topic, len(p.ids) - p.fits(partitioner), len(p.ids)) for p in (known, other)]
        said = " and ".join(f"{n:,} of {of:,} ids on {topic}" for topic, n, of in strays if n)
        what = f"both are partitioned by {partitioner.name} of the id, but {said} lie elsewhere"
        return Verdict("partly", what, "look for a second producer, or one that chooses partitions by itself")
    if fitting == len(other.ids):  # and the known one has strays, or this would be settled
        return Verdict("unknown", f"too few records on {other.topic} yet; those that are there lie right")
    what = f"{known.topic} is partitioned by {partitioner.name} of the id ({partitioner.users}); {_how(other)}"
    what += f": {len(other.ids) - fitting:,} of {len(other.ids):,} ids lie on another partition number, where labels never join"
    apart = len(other.ids) >= enough(other.partitions) and other.share(fitting) < _HALF
    return Verdict("apart" if apart else "partly", what, _remedy(known, other))


def _by_shared_ids(predictions: Placement, labels: Placement) -> Verdict:
    """Nothing known explains either topic: ids that were seen on both decide."""
    lies: dict[str, set[int]] = {}
    for id_, at in predictions.ids:
        lies.setdefault(id_, set()).add(at)
    shared = [(id_, at) for id_, at in labels.ids if id_ in lies]
    apart = sum(at not in lies[id_] for id_, at in shared)
    how = f"{_how(predictions)}, {_how(labels)}"
    if apart:
        what = f"{how}: of {len(shared):,} ids seen on both topics {apart:,} lie on two partition numbers"
        most = len(shared) >= enough(labels.partitions) and apart > _HALF * len(shared)
        return Verdict("apart" if most else "partly", what, _remedy(predictions, labels))
    if len(shared) >= enough(labels.partitions):
        return Verdict("together", f"all {len(shared):,} ids seen on both topics lie on one partition number; {how}")
    return Verdict("unknown", f"{how}, and {len(shared)} ids were seen on both", _remedy(predictions, labels))


def _keys(placement: Placement) -> tuple[Literal["", "none", "quoted", "other"], str]:
    """What is wrong with the keys of a topic, "" where they are the ids; and the sentence about it."""
    topic, seen = placement.topic, [s for s in placement.sightings if s.id]
    without = sum(not s.key for s in seen)
    quoted = sum(s.key == f'"{s.id}"'.encode() for s in seen)
    other = sum(bool(s.key) and s.key != s.id.encode() for s in seen) - quoted
    if without:
        return "none", f"{without:,} of {len(seen):,} records of {topic} have no key"
    if quoted:
        return "quoted", f"{quoted:,} of {len(seen):,} keys of {topic} are the prediction_id in quotation marks"
    if other:
        return "other", f"{other:,} of {len(seen):,} keys of {topic} are not the prediction_id of their record"
    return "", ""


def _how(placement: Placement) -> str:
    """How a topic is partitioned, as far as its keys tell."""
    fault, said = _keys(placement)
    if fault:
        return said
    if len(placement.ids) < enough(placement.partitions):
        return f"{placement.topic} has too few records to tell its hash"
    partitioner = placement.partitioner()
    if partitioner is None:
        return f"{placement.topic} is partitioned by no one hash that is known"
    return f"{placement.topic} by {partitioner.name} ({partitioner.users})"


def _remedy(one: Placement, other: Placement) -> str:
    """What to change, and at whose producer."""
    for placement in (other, one):
        fault, _ = _keys(placement)
        if fault == "quoted":
            return f"send the keys of {placement.topic} as plain text (StringSerializer), not as JSON"
        if fault:
            return f"give every record of {placement.topic} its prediction_id as key"
    found = {p.topic: p.partitioner() for p in (one, other)}
    target = next((p for p in EASIEST if p in found.values()), MURMUR2)
    change = [topic for topic, partitioner in found.items() if partitioner is not target]
    return f"let the producers of {' and '.join(change)} use {target.name}: {target.settings}"
