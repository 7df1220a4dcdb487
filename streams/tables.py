"""Plain tables of predictions and labels as the records they would have been: what ``driftline replay`` reads besides dumps.

One table is one topic with one partition: row n is the record at offset n, its record time is its event time. So the rows
should stand in the order in which they came; what is out of order beyond ``lateness`` is late, as it would be live.
"""

from __future__ import annotations

import datetime as dt
import gzip
import math
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import ConfigError
from schemas.events import Label, Prediction, category_text
from schemas.times import parse_time
from streams.logfile import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".jsonl", ".jsonl.gz")
"""File names of tables end in one of these."""
_NEEDED = {
    "predictions": ("prediction_id", "model", "model_version", "event_time"),
    "labels": ("prediction_id", "label"),
}
_TEXTS = ("prediction_id", "model", "model_version", "request_id", "variant", "status")
"""Fields that are text on the wire; a CSV that spells them with digits is read as numbers."""


def prediction_records(path: Path, topic: str) -> Iterator[Record]:
    """Read a table of predictions: fields of the event by name, every other column is a feature.

    Raises ConfigError when it cannot be read or lacks a column. A bad row becomes a record as it is, for the engine to
    dead-letter.
    """
    fields = set(Prediction.__struct_fields__)
    last = 0
    for number, row in enumerate(_rows(path, "predictions")):
        features = {**(row.pop("features", None) or {}), **{k: row.pop(k) for k in list(row) if k not in fields}}
        event = {k: v for k, v in _texts(row).items() if v is not None} | {"features": features}
        last = _time(row.get("event_time"), last)
        yield Record(topic, 0, number, last, str(event.get("prediction_id", "")).encode(), _json(event))


def label_records(path: Path, topic: str, times: dict[str, int] | None = None) -> Iterator[Record]:
    """Read a table of labels; one without ``event_time`` is known at its prediction's (``times``, by prediction id).

    Raises ConfigError when it cannot be read or lacks a column.
    """
    fields = set(Label.__struct_fields__)
    last = 0
    for number, row in enumerate(_rows(path, "labels")):
        event = {k: v for k, v in _texts(row).items() if k in fields and v is not None}
        key = str(event.get("prediction_id", ""))
        last = _time(row.get("event_time"), (times or {}).get(key, last))
        yield Record(topic, 0, number, last, key.encode(), _json({"event_time": last, **event}))


def table_records(predictions: Path, labels: Path | None, topics: tuple[str, str]) -> Iterator[Record]:
    """Both tables one after the other; ``topics`` are the names of the predictions and the labels topic.

    Raises ConfigError when one cannot be read or lacks a column.
    """
    times: dict[str, int] = {}
    for record in prediction_records(predictions, topics[0]):
        if labels is not None and record.key is not None:
            times.setdefault(record.key.decode(), record.timestamp)
        yield record
    if labels is not None:
        yield from label_records(labels, topics[1], times)


def _rows(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    import polars as pl  # noqa: PLC0415  # only tables need it, and it takes a while to import

    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise ConfigError(
            f"{path} is of no known kind of table", f"use a file that ends in one of {', '.join(SUFFIXES)}"
        )
    try:
        if name.endswith((".jsonl", ".jsonl.gz")):
            with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    row = orjson.loads(line)
                    if not isinstance(row, dict):
                        raise ConfigError(f"{path}, line {number}: not a JSON object", "write one event per line")
                    yield row
            return
        # All rows take part in inferring the types: a column that is whole for its first hundred rows is common.
        frame = pl.read_parquet(path) if name.endswith(".parquet") else pl.read_csv(path, infer_schema_length=None)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"the table {path} cannot be read: {reason}", "check the path and the file") from error
    missing = [c for c in _NEEDED[kind] if c not in frame.columns]
    if missing:
        what = f"the table {path} has no column {', '.join(map(repr, missing))}"
        raise ConfigError(what, f"a table of {kind} needs {', '.join(_NEEDED[kind])}")
    for row in frame.iter_rows(named=True):
        yield {name: _plain(value) for name, value in row.items()}


def _plain(value: object) -> object:
    """A JSON value: dates become milliseconds (UTC unless they say otherwise), NaN is missing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
        return (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
    return value


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    return {k: category_text(v) if k in _TEXTS and isinstance(v, int | float) else v for k, v in row.items()}


def _time(value: object, otherwise: int) -> int:
    """The milliseconds of an event time; ``otherwise`` when there is none that can be read."""
    try:
        return parse_time(value) if isinstance(value, int | str) else otherwise
    except ValueError:
        return otherwise


def _json(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event, default=str)
