"""Event times of a batch, as int64 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.events import parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LAST_TIME = 7_258_118_400_000
"""The year 2200: a time beyond it is a mistake of units, not a future."""


def times_of(values: Sequence[Any]) -> NDArray[np.int64]:
    """Event times in ms; -1 where a text is no time."""
    if set(map(type, values)) == {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass
    return np.fromiter(map(time_of, values), np.int64, len(values))


def time_of(value: int | str) -> int:
    try:
        return parse_time(value)
    except ValueError:
        return -1
