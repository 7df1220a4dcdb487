"""``driftline recover``: a person decides how to go on where state or records are gone."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import MONITOR, AsJson, ConfigPath
from streams.cli.output import say_json, say_table, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.config import Config
    from schemas.journal import Record
    from streams.edges.kafka_journal import KafkaJournal
    from streams.edges.kafka_recovery import KafkaTopics
    from streams.edges.redis_store import RedisStore
    from streams.recovery import RebuildPlan, SkipPlan


class SkipTo(StrEnum):
    """Where to go on."""

    EARLIEST = "earliest"


def recover(  # typer's way to have options
    config: ConfigPath = MONITOR,
    *,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Forget what Redis still has of this deployment, and count again what the topics still hold.",
        ),
    ] = False,
    skip_to: Annotated[
        SkipTo | None,
        typer.Option(help="Go on with the earliest record that was never counted, where a topic lost what comes next."),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="With --skip-to: this topic only, by its name or its role.")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="With --skip-to: this partition only.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it although something is lost for good.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on where `driftline run` refuses to: its state or its records are gone. Stop all workers first.

    --rebuild, when the state in Redis is missing, damaged or of another shape: everything is deleted that Redis has of this
    deployment (published references stay), and the workers you start next read all topics from their beginning and live
    through the journal. Alerts and retrain requests get the ids they had. Nothing is lost as long as the topics still
    begin at offset 0.

    --skip-to earliest, when the records that the state needs next are gone (retention removed them, or somebody made the
    topic anew): the state stays, and goes on with the earliest record that was never counted. What is gone is never counted.

    Without --yes, a recovery that loses something says what, and changes nothing.

    Exit status: 0 done, 1 nothing to do or refused, 2 the question was wrong.

    For example:

        driftline recover --rebuild

        driftline recover --skip-to earliest --topic predictions --yes
    """
    from schemas.config import load
    from schemas.errors import ConfigError
    from streams.edges.kafka_recovery import KafkaTopics
    from streams.edges.redis_store import RedisStore

    if rebuild == (skip_to is not None):
        raise ConfigError(
            "a recovery is one of two", "choose --rebuild or --skip-to earliest; --help says what is lost"
        )
    if rebuild and (topic is not None or partition is not None):
        raise ConfigError("--rebuild is about all topics and partitions", "leave --topic and --partition out")
    loaded = load(config)
    store, topics = RedisStore(loaded.redis.url), KafkaTopics(loaded.kafka)
    try:
        if rebuild:
            _rebuild(loaded, store, topics, yes=yes, as_json=as_json)
        else:
            _skip(loaded, store, topics, topic, partition, yes=yes, as_json=as_json)
    finally:
        topics.close()


def _rebuild(config: Config, store: RedisStore, topics: KafkaTopics, *, yes: bool, as_json: bool) -> None:
    from streams import recovery

    plan = recovery.plan_rebuild(config, store, topics, _journal(config))
    if as_json:
        say_json(plan)
    else:
        _show_rebuild(plan)
    if plan.anew:
        typer.echo(f"the journal cannot be lived through again: {plan.anew}", err=True)
    if plan.gone:
        gone = sum(r.begins for r in plan.gone)
        typer.echo(f"{gone:,} records are gone from {len(plan.gone)} partitions: results will differ", err=True)
    _refuse(config, store, topics, sure=yes or not plan.loses)
    with _writing(config) as journal:
        erased = recovery.rebuild(config, store, topics, journal, plan)
    typer.echo(f"forgot {erased} shards; start the workers: they begin again", err=as_json)


def _skip(  # what the command was given
    config: Config,
    store: RedisStore,
    topics: KafkaTopics,
    topic: str | None,
    partition: int | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from streams import recovery

    plan = recovery.plan_skip(config, store, topics, topic, partition)
    if as_json:
        say_json(plan.skips)
    elif plan.skips:
        _show_skip(plan)
    if not plan.skips and not plan.renew:
        typer.echo(
            "nothing to do: every topic still has what its state needs next (state that is gone needs --rebuild)",
            err=True,
        )
        raise typer.Exit(1)
    _refuse(config, store, topics, sure=yes)
    with _writing(config) as journal:
        recovery.skip(config, store, journal, plan)
    lost = [s.lost for s in plan.skips]
    known = sum(n for n in lost if n is not None)
    rest = "" if None not in lost else ", besides what was not counted yet of topics that were made anew"
    typer.echo(
        f"{len(plan.skips)} partitions go on; {known:,} records will never be counted{rest}. Start the workers",
        err=as_json,
    )


def _refuse(config: Config, store: RedisStore, topics: KafkaTopics, *, sure: bool) -> None:
    """End with 1 unless it may be done now."""
    from streams.recovery import at_work

    if not sure:
        typer.echo("nothing was changed: something is lost for good, so say --yes if that is what you want", err=True)
        raise typer.Exit(1)
    if busy := at_work(config, store, topics):
        typer.echo(f"nothing was changed: {busy}. Stop the workers first", err=True)
        raise typer.Exit(1)


def _show_rebuild(plan: RebuildPlan) -> None:
    columns = ("topic", "partition", "begins at", "ends at", "gone")
    rows = [(r.topic, r.partition, r.begins, r.ends, r.begins) for r in (*plan.ranges, *plan.journal)]
    say_table("what the topics still have", columns, rows, right=columns[1:])
    entries = list(plan.shards.items())
    say_table(
        "what begins again",
        ("shard", "journal entries to live through"),
        entries,
        right=("journal entries to live through",),
    )


def _show_skip(plan: SkipPlan) -> None:
    why = {
        "behind": "its next records are gone",
        "ahead": "the topic was cut off behind what it counted",
        "anew": "the topic was made anew",
    }
    columns = ("topic", "partition", "stands at", "begins at", "ends at", "goes on at", "never counted", "why")
    rows = [
        (
            s.topic,
            s.partition,
            s.stands,
            s.begins,
            s.ends,
            s.offset,
            "unknown" if s.lost is None else s.lost,
            why[s.why],
        )
        for s in plan.skips
    ]
    say_table("where the state goes on", columns, rows, right=columns[1:-1])


def _journal(config: Config) -> Iterator[tuple[int, Record]]:
    """The whole journal."""
    import msgspec

    from schemas import journal
    from schemas.errors import ConfigError
    from streams.edges.kafka_range import KafkaRange

    name = config.topics.journal
    log = KafkaRange(config.kafka, [name])
    for m in watched(log, log.total, "reading the journal"):
        try:
            yield m.offset(), journal.decode(m.value() or b"")
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            what = f"{name}/{m.partition()}, offset {m.offset()}: not a record of driftline's journal: {error}"
            raise ConfigError(what, "correct topics.journal in monitor.yaml") from error


@contextlib.contextmanager
def _writing(config: Config) -> Iterator[KafkaJournal]:
    """The journal, to be written."""
    from streams.edges.kafka_journal import KafkaJournal
    from streams.edges.kafka_publisher import KafkaPublisher

    publisher = KafkaPublisher(config.kafka, config.topics, config.dead_letters)
    try:
        yield KafkaJournal(config.kafka, config.topics.journal, publisher)
    finally:
        publisher.close(5.0)
