"""Reading a reference table: from memory, CSV, Parquet or JSON lines.

polars and pyarrow are imported when a table needs them, and nowhere at run time.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from detectors.reference.columns import Column, column
from schemas.errors import ConfigError, ReferenceMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".jsonl", ".jsonl.gz")
"""File names that can be read end in one of these."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length. `nested` holds the members of `features` objects, None where the table has none."""

    columns: dict[str, Column]
    nested: dict[str, Column] | None
    rows: int


def read_table(source: object) -> Table:
    """Read a mapping of column to values, a polars DataFrame, a pyarrow Table, or the file at a path.

    Raises:
        ConfigError: the file cannot be read, or `source` is nothing that holds a table.
        ReferenceMismatch: columns differ in length.
    """
    if isinstance(source, (str, Path)):
        return _read_file(Path(source))
    if isinstance(source, Mapping):
        return _table({str(name): values for name, values in source.items()})
    package = type(source).__module__.partition(".")[0]
    if package in {"polars", "pyarrow"}:
        import polars as pl  # noqa: PLC0415  # only tables need it

        frame = pl.from_arrow(source) if package == "pyarrow" else source
        if isinstance(frame, pl.LazyFrame):
            frame = frame.collect()
        if isinstance(frame, pl.DataFrame):
            return _from_polars(frame)
    what = f"a reference cannot be built from a {type(source).__module__}.{type(source).__qualname__}"
    raise ConfigError(what, "give a mapping of columns, a polars DataFrame, a pyarrow Table or a path")


def _read_file(path: Path) -> Table:
    name = path.name.lower()
    try:
        if name.endswith((".jsonl", ".jsonl.gz")):
            with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as lines:
                return _from_lines(lines, path)
        import polars as pl  # noqa: PLC0415  # only tables need it

        if name.endswith((".csv", ".csv.gz")):
            data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
            # All rows take part in inferring the types: a column that is whole for its first hundred rows is common.
            return _from_polars(pl.read_csv(data, infer_schema_length=None) if data.strip() else pl.DataFrame())
        if name.endswith(".parquet"):
            return _from_polars(pl.read_parquet(path))
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        # polars raises its own exceptions, which share no base with anything outside polars.
        if type(error).__module__.partition(".")[0] == "polars":
            raise _unreadable(path, error) from error
        raise
    what = f"{path} is of no known kind of table"
    raise ConfigError(what, f"use a file that ends in one of {', '.join(SUFFIXES)}")


def _unreadable(path: Path, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
    return ConfigError(f"the table {path} cannot be read: {reason}", "check the path and the file")


def _from_lines(lines: Iterable[bytes], path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except ValueError as error:
            what = f"line {number} of {path} is no JSON: {str(error).partition(': line')[0]}"
            raise ConfigError(what, "write one event per line") from error
        if not isinstance(row, dict):
            what = f"line {number} of {path} is not a JSON object"
            raise ConfigError(what, "write one event per line")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return _table({name: [row.get(name) for row in rows] for name in names})


def _from_polars(frame: pl.DataFrame) -> Table:
    return _table({series.name: _values(series) for series in frame.iter_columns()})


def _values(series: pl.Series) -> Any:  # noqa: ANN401  # a list, an array, or a finished column
    import polars as pl  # noqa: PLC0415  # only tables need it

    dtype = series.dtype
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        # Times become milliseconds; as a feature they are still no number.
        return Column("time", series.cast(pl.Datetime("ms")).cast(pl.Float64).to_numpy())
    if dtype.is_integer():
        return series.to_numpy() if not series.null_count() else series.to_list()
    if dtype.is_numeric() or dtype == pl.Boolean:
        kind = "boolean" if dtype == pl.Boolean else "numeric"
        values = series.cast(pl.Float64).to_numpy()
        return Column(kind if len(series) > series.null_count() else "empty", values)
    return series.to_list()


def _table(columns: dict[str, Any]) -> Table:
    nested = None
    objects = columns.get("features")
    if objects is not None and not isinstance(objects, Column) and any(isinstance(o, Mapping) for o in objects):
        del columns["features"]
        rows = [o if isinstance(o, Mapping) else {} for o in objects]
        names = dict.fromkeys(str(name) for row in rows for name in row)
        nested = {name: column([row.get(name) for row in rows]) for name in names}
    made = {name: v if isinstance(v, Column) else column(_sequence(name, v)) for name, v in columns.items()}
    lengths = {len(c.values) for c in (*made.values(), *(nested or {}).values())}
    if len(lengths) > 1:
        what = f"the columns of the table differ in length ({', '.join(map(str, sorted(lengths)))} rows)"
        raise ReferenceMismatch(what, "give every column one value per row")
    return Table(made, nested, max(lengths, default=0))


def _sequence(name: str, values: Any) -> Any:  # noqa: ANN401  # whatever a mapping holds
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return values
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__") or isinstance(values, np.ndarray):
        what = f"column {name!r} is not a one-dimensional sequence"
        raise ReferenceMismatch(what, "give a list or a one-dimensional array per column")
    return list(values)
