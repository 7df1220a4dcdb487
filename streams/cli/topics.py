"""``driftline topics``: the topics of a configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import MONITOR, AsJson, ConfigPath
from streams.cli.output import say_json, say_table

app = typer.Typer(no_args_is_help=True, help="Make the topics that monitor.yaml names.")


@app.callback()
def topics() -> None:
    """Make the topics that monitor.yaml names."""


@app.command()
def create(
    config: ConfigPath = MONITOR,
    *,
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of each new topic: the most workers there can be.")
    ] = 4,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition; 3 in production.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Make every topic of the configuration that does not exist; the others are left as they are.

    For example:

        driftline topics create --partitions 12 --replication 3
    """
    from schemas.config import load
    from streams.edges.kafka_topics import create_topics
    from streams.worker import check_same_partitions

    loaded = load(config)
    names = list(loaded.topics.model_dump().values())
    made = create_topics(loaded.kafka, names, partitions, replication, keep=[loaded.topics.journal])
    if as_json:
        say_json(made)
    else:
        rows = [(topic, "created" if new else "was there", count) for topic, (new, count) in made.items()]
        say_table("topics", ("topic", "state", "partitions"), rows, right=("partitions",))
    check_same_partitions(loaded.topics, {topic: count for topic, (_, count) in made.items()})
