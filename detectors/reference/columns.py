"""Columns of a reference table: what kind of values they hold, and their values as one kind or another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.events import category_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_EXACT = 1 << 53  # whole numbers up to here are exact as float64; identifiers beyond keep their digits as objects
_BY_DTYPE = {"b": "boolean", "i": "integer", "u": "integer", "f": "numeric"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `kind` is what its values suggest: a kind of `Subject`, "empty", or "unsupported" (lists, dates).

    `values` is float64[n] with NaN for missing (kinds numeric, integer, boolean, empty), otherwise object[n] with None;
    also object[n] for whole numbers that a float64 does not hold exactly.
    """

    kind: str
    values: NDArray[Any]


def column(values: Sequence[Any] | NDArray[Any]) -> Column:
    """Return the column of these values. None and NaN are missing.

    Booleans only: boolean; whole numbers only: integer; numbers: numeric; anything with text in it, or with numbers
    and booleans mixed: categorical.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in _BY_DTYPE and not _large(values):
        return Column(_BY_DTYPE[values.dtype.kind], values.astype(np.float64))
    plain = [_plain(v) for v in values]
    types = {type(v) for v in plain if v is not None}
    if not types:
        return Column("empty", np.full(len(plain), np.nan))
    kind = "unsupported"
    if types == {bool}:
        kind = "boolean"
    elif types <= {int, float}:
        kind = "integer" if types == {int} else "numeric"
    elif types <= {int, float, bool, str}:
        kind = "categorical"
    if kind in {"categorical", "unsupported"} or (kind == "integer" and _large(plain)):
        objects = np.empty(len(plain), object)
        objects[:] = plain
        return Column(kind, objects)
    return Column(kind, np.array([_float(v) for v in plain], np.float64))


def _float(value: Any) -> float:  # noqa: ANN401  # None or a number
    """Return a number as a float, NaN for None; a whole number that no float holds is an infinity, which is none."""
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.copysign(math.inf, value > 0 or -1)


def _large(values: Sequence[Any] | NDArray[Any]) -> bool:
    """Return whether some whole number would lose digits as a float64."""
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "iu" and len(values) > 0 and max(-int(values.min()), int(values.max())) > _EXACT
    return any(v is not None and abs(v) > _EXACT for v in values)


def _plain(value: object) -> object:
    """Return a Python value for a numpy one, and None for a NaN."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def as_numbers(source: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the values as float64[n] (NaN: missing) and where they are no finite number, bool[n].

    Text that spells a number counts as that number, because CSV knows no other way.
    """
    plain = source.values.dtype == np.float64
    numbers = source.values.copy() if plain else np.array([_number(v) for v in source.values], np.float64)
    wrong = np.isinf(numbers)
    numbers[wrong] = np.nan
    return numbers, wrong


def _number(value: object) -> float:
    """Return a number for a value, NaN for None, infinity for what is no number."""
    if value is None:
        return math.nan
    try:
        usable = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        return float(value) if usable else math.inf  # type: ignore[arg-type]  # narrowed by `usable`
    except (ValueError, OverflowError):
        return math.inf


def as_texts(source: Column) -> list[str | None]:
    """Return the category of each value (`schemas.events.category_text`), None where it is missing."""
    values: list[Any] = source.values.tolist()
    if source.kind == "boolean":
        return [None if math.isnan(v) else ("true" if v else "false") for v in values]
    known: dict[Any, str | None] = {}
    texts: list[str | None] = []
    for value in values:
        # True == 1 in Python, and they are two categories here.
        key = (type(value), value)
        if key not in known:
            missing = value is None or (isinstance(value, float) and math.isnan(value))
            known[key] = None if missing else category_text(value)
        texts.append(known[key])
    return texts


def as_booleans(source: Column) -> tuple[list[str | None], NDArray[np.bool_]]:
    """Return "true", "false" or None (missing) for each value, and where it is neither; 1 and 0 count as booleans."""
    texts = [{"1": "true", "0": "false"}.get(t, t) if t is not None else None for t in as_texts(source)]
    wrong = np.array([t is not None and t not in {"true", "false"} for t in texts], bool)
    return [None if w else t for t, w in zip(texts, wrong, strict=True)], wrong
