"""``driftline recover``: going on where state or records are gone. Only because a person says so, never by itself (P5).

Two choices. *Rebuild*: state is gone or cannot be used, so forget what is left of it; the next workers count everything again
that the topics still hold, and live through the journal, so that what was published gets its old ids. *Skip*: the state is
there, and the records that it needs next are not; go on with the first ones that were never counted.
What is done stands in the journal, because it shapes results and is in no input (R3).
"""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from schemas.errors import (
    OTHER_COUNT,
    ConfigError,
    ConnectionProblem,
    PartitionCountChanged,
    StateCorrupt,
)
from schemas.identifiers import model_tag, task_tag
from schemas.journal import Entries, Rebuild, SkipEntry
from streams.engine import fence, snapshot
from streams.engine.fence import offsets_of
from streams.engine.shard import claim
from streams.engine.task_head import HEAD, TaskHead
from streams.engine.task_restore import restore
from streams.hosting.deployment import FEATURE_EVENTS, PREDICTIONS
from streams.references import ReferenceBook, plans
from streams.stored import stored_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from schemas.config import Config
    from schemas.journal import Entry, Record
    from streams.engine.journal import Journal
    from streams.engine.shard import Shard
    from streams.engine.store import Store

WATCH_S = 3.0
"""How long commits are watched for: three commit intervals, for workers that Kafka does not tell of."""
ACKNOWLEDGED_S = 30.0
"""How long the journal may take: an election of leaders fits in."""


class Topics(Protocol):
    """What is asked of Kafka: ``streams.edges.kafka_recovery.KafkaTopics``."""

    def counts(self, topics: Sequence[str]) -> Mapping[str, int]:
        """How many partitions each topic has."""
        ...

    def ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """What tells each topic from another one that had its name before; empty where nobody knows."""
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that a partition still has, and the one that its next record will get."""
        ...

    def members(self, group: str) -> int:
        """How many consumers are in a group."""
        ...

    def forget(self, group: str) -> bool:
        """Delete the offsets that a group once told Kafka."""
        ...


# -- who works --------------------------------------------------------------------------------------------------------


def at_work(config: Config, store: Store, topics: Topics, wait: Callable[[float], None] = time.sleep) -> str:
    """Say who works on this deployment's state, empty when nobody does. Looks for ``WATCH_S`` whether commits come."""
    if members := topics.members(config.group):
        who = "a worker is" if members == 1 else f"{members} workers are"
        return f"{who} in the consumer group {config.group!r} (a killed one until its session is over, 45 s by default)"
    shards = [name for beginning in _beginnings(config) for name in store.shards(beginning)]
    before = {name: _sequence(store, name) for name in shards}
    wait(WATCH_S)
    moving = sum(_sequence(store, name) != sequence for name, sequence in before.items())
    return f"{moving} of {len(shards)} shards were committed within {WATCH_S:.0f} s" if moving else ""


def _sequence(store: Store, shard: str) -> int:
    with contextlib.suppress(StateCorrupt):
        return store.peek(shard).sequence
    return -1


def _beginnings(config: Config) -> tuple[str, ...]:
    """How the names of all shards of this deployment begin, also of models that are no longer configured."""
    tasks = (f"{{task:{config.group}.{group}:" for group in (PREDICTIONS, FEATURE_EVENTS))
    return (*tasks, f"{{model:{config.group}:")


# -- rebuild ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """What a partition still has: offsets begins..ends-1. The ``begins`` records before are gone."""

    topic: str
    partition: int
    begins: int
    ends: int


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild will do. ``shards``: by name, how many entries of the journal will be lived through again.

    ``anew`` says why the journal cannot be obeyed, empty where it can: it speaks of records that no topic has any more. ``showing``:
    the shards that show it.
    """

    shards: dict[str, int]
    ranges: tuple[Range, ...]
    journal: tuple[Range, ...]
    anew: str
    showing: frozenset[str]

    @property
    def gone(self) -> tuple[Range, ...]:
        """The partitions, of inputs and journal, that no longer begin at offset 0."""
        return tuple(r for r in (*self.ranges, *self.journal) if r.begins)

    @property
    def loses(self) -> bool:
        """Whether something that was counted once cannot be counted again."""
        return bool(self.gone or self.anew)


def plan_rebuild(config: Config, store: Store, topics: Topics, written: Iterable[tuple[int, Record]]) -> RebuildPlan:
    """What a rebuild would do; changes nothing, but pins the ids of topics where none were.

    ``written``: the whole journal, as (offset, record), in order by shard.

    Raises TopicMissing, PermissionMissing or ConnectionProblem.
    """
    by_shard: dict[str, list[tuple[int, Record]]] = {}
    for offset, record in written:
        by_shard.setdefault(record.shard, []).append((offset, record))
    readings = {name: fence.read(records) for name, records in by_shard.items()}
    names = {name for b in _beginnings(config) for name in (*store.shards(b), *readings) if name.startswith(b)}
    ranges, anew, showing = [], "", set[str]()
    for group, inputs, models in _groups(config):
        counts, ids = topics.counts(inputs), topics.ids(inputs)
        state_group = f"{config.group}.{group}"
        for topic in inputs:
            if topic in ids and store.pin(state_group, f"topic {topic}", ids[topic]) != ids[topic]:
                anew = anew or f"it speaks of another topic {topic}, which was made anew"
            found = [Range(topic, p, *topics.bounds(topic, p)) for p in range(counts[topic])]
            ranges += found
            for r in found:
                reading = readings.get(task_tag(state_group, r.partition))
                named = max((e.get(topic, 0) for e in _named(reading)), default=0)
                if named > r.ends:
                    showing.add(task_tag(state_group, r.partition))
                    anew = anew or f"it speaks of offset {named} of {topic}/{r.partition}, which ends at {r.ends}"
        names |= {task_tag(state_group, p) for p in range(counts[inputs[0]])}
        names |= {model_tag(config.group, model) for model in models}
    log = config.topics.journal
    journal = tuple(Range(log, p, *topics.bounds(log, p)) for p in range(topics.counts([log])[log]))
    obeyed = {} if anew else {n: sum(len(p.entries) for p in r.pending) for n, r in readings.items()}
    told = {name: obeyed.get(name, 0) for name in sorted(names)}
    return RebuildPlan(told, tuple(ranges), journal, anew, frozenset(showing))


def rebuild(config: Config, store: Store, topics: Topics, journal: Journal, plan: RebuildPlan) -> int:
    """Forget the state of a deployment; the next workers begin again. Returns how many shards were in the store.

    It may be broken off anywhere and begun again: until the journal allows it, no worker starts on empty state.

    Raises ConnectionProblem.
    """
    erased = sum(store.erase(beginning) for beginning in _beginnings(config))
    for group in (PREDICTIONS, FEATURE_EVENTS):
        store.forget_starts(f"{config.group}.{group}")
    topics.forget(config.group)
    # Those that show that the topics are others come last: were it broken off, the next plan would not see it.
    for names in (plan.shards.keys() - plan.showing, plan.showing):
        for name in sorted(names):
            journal.write(Rebuild(shard=name, anew=bool(plan.anew)), lambda _: None)
        _settle(journal)
    for group in (PREDICTIONS, FEATURE_EVENTS):
        store.unpin(f"{config.group}.{group}")
    return erased


def _groups(config: Config) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """The groups of co-partitioned topics that are watched: name, topics, models."""
    t = config.topics
    every = (
        (PREDICTIONS, (t.predictions, t.labels), tuple(config.models)),
        (FEATURE_EVENTS, (t.features,), tuple(config.feature_sets)),
    )
    return [found for found in every if found[2]]


def _named(reading: fence.Reading | None) -> list[Mapping[str, int]]:
    """The offsets that the entries of a shard name."""
    return [offsets_of(entry) for p in (reading.pending if reading else ()) for entry in p.entries]


def _settle(journal: Journal) -> None:
    deadline = time.monotonic() + ACKNOWLEDGED_S
    while not journal.settled():
        if time.monotonic() > deadline:
            what = f"Kafka did not acknowledge the journal within {ACKNOWLEDGED_S:.0f} s"
            raise ConnectionProblem(what, "look at the brokers, then run the command again")


# -- skip -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Skip:
    """One partition whose state cannot go on: it ``stands`` at an offset, and would go on at ``offset``.

    ``why``: "behind" the start of the log, "ahead" of its end (it was cut off), or the topic was made "anew".
    ``lost`` records will never be counted, None where nobody can know.
    """

    group: str
    partition: int
    topic: str
    stands: int
    begins: int
    ends: int
    offset: int
    why: Literal["behind", "ahead", "anew"]

    @property
    def lost(self) -> int | None:
        """How many records nobody will count."""
        return None if self.why == "anew" else max(0, self.offset - self.stands)


@dataclass(frozen=True, slots=True)
class SkipPlan:
    """What a skip will do; ``renew``: topics, by group, whose new identity will be the one to expect."""

    skips: tuple[Skip, ...]
    renew: dict[str, dict[str, str]]


def plan_skip(
    config: Config, store: Store, topics: Topics, topic: str | None = None, partition: int | None = None
) -> SkipPlan:
    """Find the partitions whose state cannot go on; changes nothing.

    Raises ConfigError (no such topic or partition), PartitionCountChanged, StateCorrupt, TopicMissing or ConnectionProblem.
    """
    wanted = _input(config, topic)
    skips: list[Skip] = []
    renew: dict[str, dict[str, str]] = {}
    most = 0
    for group in stored_groups(config, store):
        state_group = f"{config.group}.{group.name}"
        most = max(most, len(group.shards))
        chosen = [t for t in group.topics if wanted in {None, t}]
        if not chosen:
            continue
        counts, ids = topics.counts(chosen), topics.ids(chosen)
        for name in chosen:
            if counts[name] != len(group.shards):
                what = f"topic {name} has {counts[name]} partitions, the state was made for {len(group.shards)}"
                raise PartitionCountChanged(what, OTHER_COUNT)
            anew = name in ids and store.pin(state_group, f"topic {name}", ids[name]) != ids[name]
            if anew and partition is not None:
                what = f"topic {name} was made anew, all of it"
                raise ConfigError(what, "leave --partition out: no partition of it can go on as it was")
            if anew:
                renew.setdefault(group.name, {})[name] = ids[name]
            for number, shard in enumerate(group.shards):
                if partition in {None, number}:
                    found = _skip(
                        group.name, number, name, store.peek(shard).body, topics, anew=anew, known=name in ids
                    )
                    skips += [found] if found is not None else []
    if partition is not None and partition >= most:
        raise ConfigError(f"there is no partition {partition}", f"the state has partitions 0 to {most - 1}")
    return SkipPlan(tuple(skips), renew)


def _input(config: Config, topic: str | None) -> str | None:
    """The name of an input topic, given by its name or its role."""
    inputs = {t for _, ts, _ in _groups(config) for t in ts}
    roles = {role: name for role, name in config.topics.model_dump().items() if name in inputs}
    name = roles.get(topic or "", topic)
    if name is not None and name not in inputs:
        raise ConfigError(f"there is no input topic {topic!r}", f"use one of {', '.join(sorted(roles.values()))}")
    return name


def _skip(
    group: str, partition: int, topic: str, body: bytes | None, topics: Topics, *, anew: bool, known: bool
) -> Skip | None:
    """Where one partition would go on, None when nothing is wrong with it."""
    if body is None:
        return None
    stands = snapshot.unpack(HEAD, body, TaskHead, f"{group}/{partition} head").offsets.get(topic, 0)
    begins, ends = topics.bounds(topic, partition)
    if anew or (stands > ends and not known):
        return Skip(group, partition, topic, stands, begins, ends, begins, "anew")
    if stands > ends:  # what it still has was counted
        return Skip(group, partition, topic, stands, begins, ends, ends, "ahead")
    return Skip(group, partition, topic, stands, begins, ends, begins, "behind") if stands < begins else None


def skip(config: Config, store: Store, journal: Journal, plan: SkipPlan) -> None:
    """Go on where the plan says, task by task. It may be broken off anywhere and begun again.

    Raises what ``streams.engine.shard.claim`` and ``commit`` and ``task_restore.restore`` raise.
    """
    compiled, book = plans(config), ReferenceBook(config, store)
    groups = {g.name: g for g in stored_groups(config, store)}
    for group, partition in sorted({(s.group, s.partition) for s in plan.skips}):
        stored = groups[group]
        name = stored.shards[partition]
        shard = claim(store, journal, [name], lambda: uuid.uuid4().hex)[name]
        if shard.body is None:
            raise StateCorrupt(f"{name}: the state went away while we looked at it", "run the command again")
        task = restore(compiled[group], name, stored.topics, shard.body, store, book, len(stored.shards))
        mine = [s for s in plan.skips if (s.group, s.partition) == (group, partition)]
        _journal(journal, shard, task.offsets, mine)
        # What is pending stays so, and the skip behind it: whoever claims the shard next obeys them, in this order.
        shard.commit(task.stage)
    for group, ids in plan.renew.items():
        pinned = [*groups[group].topics, config.topics.journal]
        _renew(config, store, group, len(groups[group].shards), pinned, ids)


def _journal(journal: Journal, shard: Shard, offsets: dict[str, int], skips: Sequence[Skip]) -> None:
    """Write down where a task goes on, and let it stand there: after everything that was journaled before it."""
    entries: list[Entry] = []
    pending = [offsets_of(entry) for p in shard.pending for entry in p.entries]
    reached = {topic: max([at, *(named.get(topic, 0) for named in pending)]) for topic, at in offsets.items()}
    for s in skips:
        # Never back to what a pending entry lets in first.
        offset = max(s.offset, reached[s.topic]) if s.why == "behind" else s.offset
        entries.append(SkipEntry(topic=s.topic, offset=offset, offsets=dict(reached)))
        reached[s.topic] = offset
        offsets[s.topic] = s.offset
    journal.write(
        Entries(shard=shard.name, token=shard.token, epoch=shard.epoch, number=0, entries=entries), lambda _: None
    )
    _settle(journal)


def _renew(
    config: Config, store: Store, group: str, partitions: int, topics: Sequence[str], ids: Mapping[str, str]
) -> None:
    """Expect the topics that there are now."""
    state_group = f"{config.group}.{group}"
    names = {f"topic {t}": ids.get(t, "") for t in topics} | {f"partitions of {config.topics.journal}": ""}
    kept = {name: store.pin(state_group, name, found) for name, found in names.items()}
    store.unpin(state_group)
    store.pin_partitions(state_group, partitions)
    for name, found in (kept | {name: found for name, found in names.items() if found}).items():
        if found:
            store.pin(state_group, name, found)
