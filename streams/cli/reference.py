"""``driftline reference``: what a model saw and answered when it was known to be right."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads it at run time
from typing import TYPE_CHECKING, Annotated, cast

import typer

from streams.cli.options import MONITOR, AsJson, ConfigPath
from streams.cli.output import say_json, say_table, watched

if TYPE_CHECKING:
    from detectors.performance import Metric
    from detectors.reference import Reference
    from detectors.reference.reference import Task
    from detectors.reference.subject import Subject

app = typer.Typer(no_args_is_help=True, help="Build, show and publish references.")


@app.command()
def build(  # noqa: PLR0913  # every option answers one question about the table, and most have a default
    table: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", help="A .csv, .csv.gz, .parquet, .jsonl or .jsonl.gz file.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the reference goes.")],
    task: Annotated[str | None, typer.Option(help="binary, multiclass or regression; none for a feature set.")] = None,
    positive_class: Annotated[str | None, typer.Option(help="The positive class of a binary task.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="A column that is not watched. Repeatable.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="COL=KIND", help="numeric, integer, categorical or boolean. Repeatable."),
    ] = None,
    prediction: Annotated[str, typer.Option(metavar="COL", help="The column of the model's answers.")] = "prediction",
    score: Annotated[str, typer.Option(metavar="COL", help="The column of positive-class probabilities.")] = "score",
    label: Annotated[str, typer.Option(metavar="COL", help="The column of the truth.")] = "label",
    event_time: Annotated[str, typer.Option(metavar="COL", help="The column of event times.")] = "event_time",
    segment: Annotated[
        list[str] | None,
        typer.Option(metavar="COL[,COL...]", help="A column, or a combination, to make segments of. Repeatable."),
    ] = None,
    segment_values: Annotated[
        int, typer.Option(metavar="N", min=1, help="Values of each that are followed: the most frequent.")
    ] = 50,
    window: Annotated[
        str | None,
        typer.Option(metavar="LENGTH", help="windows.size of the model, 10m by default: the reference is cut like it."),
    ] = None,
    from_topic: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Instead of a table: the first N events in the predictions topic."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="With --from-topic: the model, as in monitor.yaml.")] = None,
    config: ConfigPath = MONITOR,
) -> None:
    """Build a reference from a table, or from the first events of a model in its topic.

    With --from-topic, task and positive class are those of monitor.yaml, and labels that have come are joined.

    For example:

        driftline reference build train.csv --task binary --positive-class 1 --out r.json

        driftline reference build --from-topic 20000 --model fraud --out fraud.json
    """
    from schemas.errors import ConfigError

    kinds = dict(pair.rpartition("=")[::2] for pair in types or [])
    if "" in kinds:
        raise ConfigError("--type takes a column and a kind", "write --type country=categorical")
    window_ms = _window_ms(window)
    if (table is None) == (from_topic is None):
        raise ConfigError(
            "a reference is built either from a table or from a topic", "name TABLE, or --from-topic N --model M"
        )
    if table is not None:
        from detectors.reference import Reference

        made = Reference.build(
            table,
            task=cast("Task | None", task),
            positive_class=positive_class,
            ignore=ignore or (),
            types=kinds,
            prediction=prediction,
            score=score,
            label=label,
            event_time=event_time,
            window_ms=window_ms,
            segments=[one.split(",") for one in segment or ()],
            segment_values=segment_values,
        )
        if task is not None and made.prediction is None and made.score is None and made.label is None:
            from schemas.errors import ReferenceMismatch

            what = f"{table} has no column {prediction!r}, {score!r} or {label!r}, so nothing of the model's answers is in it"
            remedy = "name the columns (--prediction, --score, --label), or leave --task out for a feature set"
            raise ReferenceMismatch(what, remedy)
    else:
        if segment:
            raise ConfigError("--segment is for a table", "build the reference from a file of events")
        if window_ms is not None:
            raise ConfigError(
                "--window is for a table", "with --from-topic it is windows.size of the model in monitor.yaml"
            )
        made = _from_topic(config, model, cast("int", from_topic), ignore or [], kinds)
    made.save(out)
    _show(made, str(out))


def _window_ms(text: str | None) -> int | None:
    from schemas.durations import duration_ms
    from schemas.errors import ConfigError

    try:
        found = None if text is None else duration_ms(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise ConfigError(f"--window cannot be {text!r}", f"give {error}") from error
    if found == 0:
        raise ConfigError("--window cannot be zero", "give the length of the model's windows (windows.size)")
    return found


def _from_topic(path: Path, model: str | None, rows: int, ignore: list[str], kinds: dict[str, str]) -> Reference:
    from schemas.config import load
    from schemas.errors import ConfigError
    from streams.recorded import reference_from_topic

    config = load(path)
    if model not in config.models:
        raise ConfigError(
            f"there is no model {model!r} in {path}", f"give --model one of {', '.join(sorted(config.models))}"
        )
    return reference_from_topic(
        config, model, rows, ignore=ignore, types=kinds, watch=lambda found, n: watched(found, n, "reading")
    )


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A reference.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what a reference knows: a line for each feature, the prediction, the score and the label.

    For example:

        driftline reference show fraud.json
    """
    from detectors.reference import Reference

    found = Reference.load(file)
    if not as_json:
        _show(found, str(file))
        return
    rows = [{"name": s.name, "kind": s.kind, "bins": s.bins, "n": s.n, "missing": _missing(s)} for s in found.subjects]
    head = {"content_hash": found.content_hash, "shape_hash": found.shape_hash, "task": found.task, "rows": found.rows}
    measured = {
        name: {"value": m.value, "standard_error": m.standard_error, "n": m.n}
        for name, m in _performance(found).items()
    }
    budget = _statement(found)
    segments = {segment: made.rows for segment, made in found.segments.items()}
    say_json(
        {**head, "segments": segments, "span": found.span, "subjects": rows, "performance": measured, "budget": budget}
    )


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A reference.")],
    model: Annotated[str, typer.Option(help="The model, as in monitor.yaml.")],
    version: Annotated[
        str, typer.Option(help="The model version that it belongs to; its reference never changes again.")
    ],
    config: ConfigPath = MONITOR,
) -> None:
    """Publish the reference of a new model version, so that running workers find it at the version's first event.

    For example:

        driftline reference publish fraud-v2.json --model fraud --version v2
    """
    from detectors.reference import Reference
    from schemas.config import load
    from schemas.errors import ConfigError
    from streams.edges.redis_store import RedisStore
    from streams.engine.plan import compile_plan

    loaded, found = load(config), Reference.load(file)
    if model not in loaded.models:
        raise ConfigError(f"there is no model {model!r} in {config}", f"use one of {', '.join(sorted(loaded.models))}")
    settings = loaded.models[model]
    if version in settings.references:
        what = f"version {version!r} of model {model!r} has its reference in {config}"
        raise ConfigError(what, f"replace the file {settings.references[version]}, or take it out of the configuration")
    # Compiled once, so that a reference of another task is refused here and not by the worker.
    compile_plan("predictions", {model: settings}, {model: [found]}, loaded.future)
    RedisStore(loaded.redis.url).publish_reference(found.content_hash, found.to_json(), model, version)
    typer.echo(f"published {found.content_hash} for version {version} of model {model}")


def _missing(subject: Subject) -> int:
    return int(subject.counts[-2])


def _show(reference: Reference, name: str) -> None:
    from streams.cli.sparkline import sparkline

    subjects = [*reference.subjects, *([reference.label] if reference.label else [])]
    rows = [(s.name, s.kind, s.bins, s.n, _missing(s), _range(s), sparkline(s)) for s in subjects]
    title = f"{name}: {reference.rows:,} rows, {reference.task or 'no task'}, {reference.content_hash}"
    columns = ("subject", "kind", "bins", "n", "missing", "values", "distribution")
    say_table(title, columns, rows, right=("bins", "n", "missing"))
    measured = [
        (metric, f"{m.value:.4f}", "" if m.standard_error is None else f"{m.standard_error:.4f}", m.n)
        for metric, m in _performance(reference).items()
        if m.value is not None
    ]
    if measured:
        numbers = ("value", "standard error", "n")
        say_table("performance on the labelled rows", ("metric", *numbers), measured, right=numbers)
    if reference.segments:
        of_segments = [(segment, f"{made.rows:,}") for segment, made in reference.segments.items()]
        say_table("segments with a part of their own", ("segment", "rows"), of_segments, right=("rows",))
    typer.echo(_statement(reference))


def _performance(reference: Reference) -> dict[str, Metric]:
    from detectors.performance import metrics

    if reference.outcomes is None or reference.task is None:
        return {}
    return metrics(reference.outcomes, reference.task, reference.classes)


def _statement(reference: Reference) -> str:
    """What the reference says about a budget, for windows of the length it was cut into."""
    from detectors.decisions import Budget, compile_rule
    from detectors.reference.habits import DEFAULT_WINDOW_MS

    ordinary = reference.ordinary
    window_ms = ordinary.window_ms if ordinary is not None else DEFAULT_WINDOW_MS
    return compile_rule(reference, range(len(reference.subjects)), Budget.parse("1 per 30d"), window_ms).statement


def _range(subject: Subject) -> str:
    if subject.numeric:
        return f"{subject.edges[0]:.6g} to {subject.edges[-1]:.6g}"
    shown = ", ".join(subject.categories[:4])
    return shown + (", ..." if subject.bins > 4 else "")  # noqa: PLR2004  # the four of the line before
