"""Event times of a batch, as int64 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.times import LATEST_MS, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LAST_TIME = LATEST_MS
"""The first moment that is no event time: a mistake of units, not a future."""


def times_of(values: Sequence[Any]) -> NDArray[np.int64]:
    """Event times in ms; -1 where a text is no time."""
    if set(map(type, values)) == {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass
    return np.fromiter(map(time_of, values), np.int64, len(values))


def time_of(value: int | str) -> int:
    """One event time in ms; -1 when it is none."""
    try:
        return parse_time(value)
    except ValueError:
        return -1
