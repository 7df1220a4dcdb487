"""``driftline replay``: the same engine over files."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads it at run time
from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

import typer

from streams.cli.options import MONITOR, AsJson, ConfigPath
from streams.cli.output import say_json, say_table, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.config import Config
    from streams.logfile import Record
    from streams.replay import Replay


class _Summary(TypedDict):
    """Records by topic and outcome, windows and transitions of alerts by model, events by kind."""

    records: dict[str, dict[str, int]]
    models: dict[str, dict[str, int]]
    alert_events: int
    retrain_events: int
    digest: NotRequired[str]
    parts: NotRequired[dict[str, str]]


def replay(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Dumps (.jsonl, .jsonl.gz).")] = None,
    config: ConfigPath = MONITOR,
    *,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="A table of predictions (.csv, .parquet, .jsonl) instead of dumps."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="A table of labels, beside --predictions.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write events.jsonl and windows.jsonl there.")
    ] = None,
    digest: Annotated[
        bool,
        typer.Option("--digest", help="Also give the digest that `driftline status --digest` gives of the live run."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the engine over files instead of Kafka: the same windows, statistics and event ids as the live run.

    A dump that holds the journal is lived again as it was. A table of predictions has the columns prediction_id, model,
    model_version, event_time and optionally prediction, score, ...; every other column is a feature. A table of labels has
    prediction_id, label and optionally event_time (else a label is known at once). Sort both by event_time: rows stand in
    the order in which they came, and what is older than those above it is late. At the end of tables time runs on until
    every window is decided.

    For example:

        driftline replay monday.jsonl.gz --out monday

        driftline replay --predictions scored.parquet --labels truth.csv
    """
    from schemas.config import load
    from schemas.errors import ConfigError
    from streams.replay import Replay

    if bool(files) == (predictions is not None):
        raise ConfigError(
            "a replay reads either dumps or a table of predictions", "name FILE... or --predictions TABLE"
        )
    if labels is not None and predictions is None:
        raise ConfigError("--labels was given without --predictions", "add --predictions TABLE")
    loaded = load(config)
    played = Replay(loaded, watched(_records(loaded, files or [], predictions, labels), 0, "reading"))
    played.run(close=predictions is not None)
    summary = _summary(played)
    if digest:
        from streams import digest as digests

        summary["digest"] = digests.digest(played.store, played.host)
        summary["parts"] = digests.parts(played.store, played.host)
    if out is not None:
        _write(played, out)
    if as_json:
        say_json(summary)
    else:
        _show(summary)


def _records(config: Config, files: list[Path], predictions: Path | None, labels: Path | None) -> Iterator[Record]:
    from streams import logfile
    from streams.tables import table_records

    for file in files:
        yield from logfile.read(file)
    if predictions is not None:
        yield from table_records(predictions, labels, (config.topics.predictions, config.topics.labels))


def _summary(played: Replay) -> _Summary:
    records: dict[str, dict[str, int]] = {}
    for owned in played.host.tasks.values():
        for topic, outcomes in owned.task.outcomes().items():
            mine = records.setdefault(topic, {})
            for outcome, count in outcomes.items():
                if count:
                    mine[outcome] = mine.get(outcome, 0) + count
        if len(owned.task.topics) > 1 and owned.task.join.waiting:
            mine = records.setdefault(owned.task.topics[1], {})
            mine["waiting"] = mine.get("waiting", 0) + owned.task.join.waiting
    models = {}
    for owned_evaluator in played.host.evaluators.values():
        evaluator = owned_evaluator.evaluator
        models[evaluator.model.name] = {
            "windows": evaluator.head.windows,
            **dict(sorted(evaluator.head.alerts.items())),
        }
    retrain = [e for e in played.events if e.topic == played.config.topics.retrain]
    return {
        "records": records,
        "models": models,
        "alert_events": len(played.events) - len(retrain),
        "retrain_events": len(retrain),
    }


def _show(summary: _Summary) -> None:
    rows = [(topic, outcome, count) for topic, found in summary["records"].items() for outcome, count in found.items()]
    say_table("records", ("topic", "outcome", "records"), rows, right=("records",))
    columns = ("windows", "opened", "escalated", "resolved")
    models = [(name, *(found.get(c, 0) for c in columns)) for name, found in summary["models"].items()]
    say_table("models", ("model", *columns), models, right=columns)
    typer.echo(f"{summary['alert_events']} alert events, {summary['retrain_events']} retrain events")
    if "digest" in summary:
        typer.echo(f"digest {summary['digest']}")


def _write(played: Replay, folder: Path) -> None:
    import orjson

    from schemas.errors import ConfigError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "events.jsonl").open("wb") as file:
            for e in played.events:
                # The value stays the bytes that Kafka would get.
                line = {"topic": e.topic, "key": e.key.decode(), "id": e.event_id, "value": orjson.Fragment(e.value)}
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        with (folder / "windows.jsonl").open("wb") as file:
            for record in played.windows():
                file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}", "give --out a folder that may be written to"
        ) from error
