"""``driftline check``: what would stop a worker from working, found before one is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Consumer

from schemas.config import ModelConfig
from schemas.errors import ConnectionProblem, DriftlineError, PermissionMissing, TopicMissing
from schemas.identifiers import segment_values
from streams.edges.kafka_log import client_settings, partition_counts
from streams.edges.kafka_topics import forgetful_topics, untrusted_times
from streams.edges.redis_store import RedisStore
from streams.findings import NO, WRONG, Finding
from streams.hosting.deployment import FEATURE_EVENTS, PREDICTIONS
from streams.label_checks import label_findings
from streams.references import plans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.config import Config


def check(config: Config) -> list[Finding]:
    """Look at references, Redis and Kafka, each as far as it can be reached; never raises a DriftlineError."""
    counts: dict[str, int] = {}
    found = [*reference_findings(config), *_redis(config), *_topics(config, counts), *_partitions(config, counts)]
    return [*found, *_record_times(config, counts), *_kept(config, counts)]


def _failed(subject: str, error: DriftlineError, status: int = WRONG) -> Finding:
    return Finding(subject, "failed", error.what, error.remedy, status)


def reference_findings(config: Config) -> Iterator[Finding]:
    """Look at the reference of each model and feature set, and at nothing else."""
    # One at a time, so that one bad reference does not hide another.
    for name, model in config.models.items():
        yield _reference(config, f"reference of model {name}", models={name: model}, feature_sets={})
    for name, feature_set in config.feature_sets.items():
        yield _reference(config, f"reference of feature set {name}", models={}, feature_sets={name: feature_set})


def _reference(config: Config, subject: str, **only: object) -> Finding:
    try:
        (plan,) = plans(config.model_copy(update=only)).values()
    except DriftlineError as error:
        return _failed(subject, error)
    model = plan.models[0]
    reference = model.reference
    seen = f"{len(reference.features)} features, {reference.rows:,} rows"
    said = f"{seen}; {model.rule(reference).statement}"
    if isinstance(model.config, ModelConfig) and (
        alone := without_part(model.config.segment_definitions, reference.segments)
    ):
        options = " ".join(f"--segment {','.join(names)}" for names in alone)
        said += f"; it has no part for some segments, which are counted and not tested: build it with {options}"
    return Finding(subject, "ok", said)


def without_part(definitions: Iterable[tuple[str, ...]], parts: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the definitions of segments of which `parts`, the segments in a reference by canonical text, hold none."""
    held = {frozenset(segment_values(text)) for text in parts}
    return [names for names in definitions if frozenset(names) not in held]


def _redis(config: Config) -> Iterator[Finding]:
    store = RedisStore(config.redis.url)
    try:
        policy = store.eviction_policy()
    except DriftlineError as error:
        yield _failed("Redis", error)
        yield Finding("Redis keeps its keys", "not checked")
        return
    yield Finding("Redis", "ok")
    if policy == "noeviction":
        yield Finding("Redis keeps its keys", "ok", policy)
        return
    what = f"maxmemory-policy {policy} drops keys when memory is short, which would lose state"
    yield Finding("Redis keeps its keys", "failed", what, "set maxmemory-policy noeviction", NO)


def _topics(config: Config, counts: dict[str, int]) -> Iterator[Finding]:
    """Every topic of the configuration that a worker uses; fills in the partition counts that it finds."""
    # A consumer, because a producer's client would make the topics that it asks for.
    group_only = ("group.instance.id", "group.protocol", "session.timeout.ms", "heartbeat.interval.ms")
    settings = client_settings({k: v for k, v in config.kafka.items() if k not in group_only})
    client = Consumer(settings | {"group.id": "driftline.check", "enable.auto.commit": False})
    unreachable = False
    try:
        for topic in used_topics(config):
            if unreachable:
                yield Finding(f"topic {topic}", "not checked")
                continue
            try:
                counts |= partition_counts(client, [topic])
            except ConnectionProblem as error:
                unreachable = True
                yield _failed("Kafka", error)
                yield Finding(f"topic {topic}", "not checked")
            except (TopicMissing, PermissionMissing) as error:
                yield _failed(f"topic {topic}", error, NO if isinstance(error, TopicMissing) else WRONG)
            else:
                yield Finding(f"topic {topic}", "ok", f"{counts[topic]} partitions")
    finally:
        client.close()


def used_topics(config: Config) -> list[str]:
    """The topics that the workers of this configuration read or write."""
    t = config.topics
    inputs = [t.predictions, t.labels] if config.models else []
    inputs += [t.features] if config.feature_sets else []
    return [*inputs, t.control, t.alerts, t.retrain, t.dead_letters, t.journal]


def _partitions(config: Config, counts: dict[str, int]) -> Iterator[Finding]:
    """Labels meet their predictions, and the number of partitions is the one that the state was made for (R10)."""
    t = config.topics
    yield from label_findings(config, counts)
    for group, topic, used in (
        (PREDICTIONS, t.predictions, bool(config.models)),
        (FEATURE_EVENTS, t.features, bool(config.feature_sets)),
    ):
        if used and topic in counts:
            yield from _pinned(config, group, topic, counts[topic])


def _record_times(config: Config, counts: dict[str, int]) -> Iterator[Finding]:
    """Record time stands in for event time where a model is silent, so it must be the broker's to judge (R13)."""
    subject = "record times can be trusted"
    t = config.topics
    inputs = [
        topic for topic in (t.predictions, t.labels, t.features) if topic in counts and topic in used_topics(config)
    ]
    if not inputs:
        yield Finding(subject, "not checked")
        return
    try:
        loose = untrusted_times(config.kafka, inputs)
    except DriftlineError as error:
        yield Finding(subject, "not checked", error.what)
        return
    if not loose:
        yield Finding(subject, "ok")
        return
    what = f"producers of {', '.join(loose)} may set record times far in the future"
    remedy = "set message.timestamp.type=LogAppendTime, or message.timestamp.after.max.ms to an hour, on these topics"
    yield Finding(subject, "failed", what, remedy, NO)


def _kept(config: Config, counts: dict[str, int]) -> Iterator[Finding]:
    """A rebuild, a replay, and the notice that Redis has lost a shard need the whole journal; every record of the inputs counts."""
    t = config.topics
    inputs = [topic for topic in (t.predictions, t.labels, t.features) if topic in used_topics(config)]
    for subject, topics, wanted in (
        ("the journal is kept", [t.journal], ("retention.ms=-1", "retention.bytes=-1", "cleanup.policy=delete")),
        ("inputs are not compacted", inputs, ("cleanup.policy=delete",)),
    ):
        if not counts.keys() >= set(topics):
            yield Finding(subject, "not checked")
            continue
        try:
            found = forgetful_topics(config.kafka, topics)
        except DriftlineError as error:
            yield Finding(subject, "not checked", error.what)
            continue
        keys = {setting.partition("=")[0] for setting in wanted}
        wrong = [topic for topic, settings in found.items() if keys.intersection(settings)]
        if not wrong:
            yield Finding(subject, "ok")
            continue
        what = f"{', '.join(wrong)} may delete records that are still needed"
        yield Finding(subject, "failed", what, f"set {', '.join(wanted)} on {', '.join(wrong)}", NO)


def _pinned(config: Config, group: str, topic: str, count: int) -> Iterator[Finding]:
    subject = f"partitions of {topic} fit the state"
    try:
        pinned = RedisStore(config.redis.url).pinned_partitions(f"{config.group}.{group}")
    except DriftlineError:
        yield Finding(subject, "not checked")
        return
    if pinned in {None, count}:
        yield Finding(subject, "ok", "no state yet" if pinned is None else "")
        return
    what = f"topic {topic} has {count} partitions, the state was made for {pinned}"
    yield Finding(subject, "failed", what, "put the number back, or set another `group` in monitor.yaml", NO)
