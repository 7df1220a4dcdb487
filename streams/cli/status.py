"""``driftline status``: what the workers have done, read from Redis alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import MONITOR, AsJson, ConfigPath
from streams.cli.output import console, say_json, say_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.status import ModelStatus, Status


def status(
    config: ConfigPath = MONITOR,
    *,
    as_json: AsJson = False,
    digest: Annotated[
        bool,
        typer.Option(
            "--digest", help="Print one hash of everything counted and decided, to compare two deployments with."
        ),
    ] = False,
) -> None:
    """Say what every task has read and what became of it, and what every model's evaluator has decided.

    Reads Redis only, and changes nothing there. --digest reads the references too.

    For example:

        driftline status --json | jq '.models[].open_alerts'
    """
    from schemas.config import load
    from streams.edges.redis_store import RedisStore

    loaded = load(config)
    store = RedisStore(loaded.redis.url)
    if digest:
        from streams.digest import digest as digest_of
        from streams.digest import parts
        from streams.stored import read_state

        state = read_state(loaded, store)
        if as_json:
            say_json({"digest": digest_of(store, state), "parts": parts(store, state)})
        else:
            typer.echo(digest_of(store, state))
        return
    from streams.status import read_status

    found = read_status(loaded, store)
    if as_json:
        say_json(found)
    elif not found.tasks:
        typer.echo(f"group {loaded.group} has no state yet: start `driftline run`")
    else:
        _show(found)


def _show(found: Status) -> None:
    rows = []
    for task in found.tasks:
        for topic, offset in task.offsets.items():
            outcomes = task.outcomes.get(topic, {})
            waiting = task.waiting if topic == list(task.offsets)[-1] and len(task.offsets) > 1 else 0
            text = ", ".join(f"{name} {count:,}" for name, count in outcomes.items())
            rows.append((f"{task.group}/{task.partition}", topic, offset, text or "nothing read yet", waiting))
    of_tasks = ("task", "topic", "offset", "outcomes", "waiting")
    say_table(f"tasks of group {found.group}", of_tasks, rows, right=("offset", "waiting"))
    of_models = ("model", "watermark", "windows", "open alerts", "transitions", "retrain request", "unpublished")
    say_table("models", of_models, [_model(m) for m in found.models], right=("windows", "unpublished"))
    alerts = [row for m in found.models for row in _alerts(m)]
    if alerts:
        say_table(
            "open alerts", ("model", "version", "segment", "family", "subject", "severity", "since", "alert"), alerts
        )
    windows = [row for m in found.models for row in _windows(m)]
    if windows:
        say_table(
            "last windows", ("model", "version", "kind", "window", "n", "most conspicuous"), windows, right=("n",)
        )
    labels = [row for m in found.models for row in _labels(m)]
    if labels:
        of_labels = ("model", "evaluated", "window until", "labels", "coverage", "delay p50", "p90", "p99")
        say_table("labels of the latest window", of_labels, labels, right=("labels", "coverage"))
    for m in found.models:
        if m.request is not None and m.request.state == "proposed":
            console().print(f"approve it: driftline approve {m.request.request} --model {m.name}", markup=False)


def _model(m: ModelStatus) -> tuple[object, ...]:
    request = f"{m.request.state} {m.request.request}" if m.request else "none"
    transitions = ", ".join(f"{n} {name}" for name, n in m.transitions.items()) or "none"
    return m.name, _time(m.watermark), m.windows, len(m.open_alerts), transitions, request, m.unpublished


def _alerts(m: ModelStatus) -> Iterator[tuple[object, ...]]:
    for a in m.open_alerts:
        version = f"{a.version} {a.variant}".strip()
        yield m.name, version, a.segment or "all", a.family, a.subject, a.severity, _time(a.opened), a.alert_id


def _windows(m: ModelStatus) -> Iterator[tuple[object, ...]]:
    for record in m.last_windows["drift"]:
        if record.get("segment"):
            continue  # of all traffic only: the rest is in --json
        cells = [(c["psi"], name, c["rejected"]) for name, c in record["cells"].items() if c["psi"] is not None]
        most = max(cells, default=None)
        text = f"{most[1]} PSI {most[0]:.3f}{' (rejected)' if most[2] else ''}" if most else "too few events"
        yield m.name, record["version"], "drift", _time(record["window"][0]), record["rows"], text
    for record in m.last_windows["performance"]:
        if record.get("segment"):
            continue
        known = [(name, x["value"]) for name, x in record["metrics"].items() if x["value"] is not None]
        text = ", ".join(f"{name} {value:.3f}" for name, value in known)
        yield m.name, record["version"], "performance", _time(record["window"][0]), record["labels"], text


def _labels(m: ModelStatus) -> Iterator[tuple[object, ...]]:
    when = {"mature": "at maturity", "final": "at the horizon"}
    for which, c in m.coverage.items():
        share = "no predictions" if c.coverage is None else f"{100 * c.labels // c.remembered}%"
        delays = [_delay(late) for late in (c.delay_p50_ms, c.delay_p90_ms, c.delay_p99_ms)]
        yield m.name, when.get(which, which), _time(c.end), f"{c.labels:,} of {c.remembered:,}", share, *delays


def _delay(ms: int | None) -> str:
    """A delay with two digits or so: a quantile of them is no more exact than that."""
    if ms is None:
        return "none"
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if ms >= 2 * length:
            return f"{ms / length:.2g} {unit}" if ms < 10 * length else f"{ms // length} {unit}"
    return f"{ms} ms"


def _time(ms: int | None) -> str:
    from schemas.times import rfc3339

    return "not begun" if ms is None else rfc3339(ms)
