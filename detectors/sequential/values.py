"""Checking what a detector is fed with: values, and panes of values known by their sums."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

import numpy as np

from detectors.sequential.state import LARGEST_COUNT

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SLACK = 1e-9
"""Relative room that sums get for rounding: far more than 2**20 additions lose, far less than any effect."""


def plain(value: float) -> float:
    """Return a numpy scalar as Python's own number: a float32 compares as one, and 1e100 is none."""
    return value.item() if isinstance(value, np.generic) else value


def whole(value: int, name: str, least: int = 1) -> int:
    """Return a whole number of any integer type, `least` to 2**53, as Python's own: it goes into a state as JSON.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if not least <= found <= LARGEST_COUNT:
        message = f"{name} must be a whole number of at least {least}, got {value}"
        raise ValueError(message)
    return found


def as_values(values: ArrayLike, low: float = -math.inf, high: float = math.inf) -> NDArray[np.float64]:
    """Return finite values within [low, high] as a contiguous float64 array of one dimension.

    Raises:
        ValueError: there is another dimension, or a value that is not finite or lies outside.
    """
    array = np.ascontiguousarray(values, np.float64)
    if array.ndim != 1:
        message = f"expected an array of one dimension, got shape {array.shape}"
        raise ValueError(message)
    wrong = ~(np.isfinite(array) & (array >= low) & (array <= high))
    if wrong.any():
        where = f" between {low:g} and {high:g}" if math.isfinite(low) else ""
        message = f"expected finite values{where}, got {array[wrong][0]}"
        raise ValueError(message)
    return array


def as_panes(
    n: ArrayLike, total: ArrayLike, total_sq: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the counts, sums and sums of squares of panes as arrays of one length.

    Raises:
        ValueError: they differ in length, a count is no integer from 0 to 2**53, or a sum is not finite.
    """
    counts = np.ascontiguousarray(n)
    if counts.ndim != 1 or (
        len(counts) and not (counts.dtype.kind in "iu" and 0 <= int(counts.min()) <= int(counts.max()) <= LARGEST_COUNT)
    ):
        message = f"expected a list of integer counts from 0 to 2**53, got {n!r}"
        raise ValueError(message)
    sums, squares = as_values(total), as_values(total_sq)
    if not len(counts) == len(sums) == len(squares):
        message = f"panes need one count and two sums each, got {len(counts)}, {len(sums)} and {len(squares)}"
        raise ValueError(message)
    return counts.astype(np.int64), sums, squares


def bounded_panes(
    n: NDArray[np.int64], total: NDArray[np.float64], total_sq: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums and sums of squares that values in [0, 1] can have; without squares, those of the most extreme values.

    Rounding is clipped away, anything more is refused.

    Raises:
        ValueError: no `n` values in [0, 1] have such sums.
    """
    room = _SLACK * n
    sums = np.clip(total, 0, n)
    if (np.abs(sums - total) > room).any():
        at = int(np.argmax(np.abs(sums - total) > room))
        message = f"{n[at]} values within the bounds have no such sum (scaled to [0, 1]: {total[at]})"
        raise ValueError(message)
    if total_sq is None:
        return sums, sums
    squares = np.clip(total_sq, sums * sums / np.maximum(n, 1), sums)
    if (np.abs(squares - total_sq) > room).any():
        at = int(np.argmax(np.abs(squares - total_sq) > room))
        message = f"{n[at]} values within the bounds with this sum have no such sum of squares ({total_sq[at]}, scaled)"
        raise ValueError(message)
    return sums, squares


def bounded_pane(n: int, total: float, total_sq: float | None) -> tuple[float, float]:
    """Return for one pane what `bounded_panes` returns for many.

    Raises:
        ValueError: no `n` values in [0, 1] have such sums.
    """
    y = min(max(float(total), 0.0), float(n))
    least = y * y / n if n else 0.0
    y_sq = y if total_sq is None else min(max(float(total_sq), least), y)
    if not abs(y - total) <= _SLACK * n or (total_sq is not None and not abs(y_sq - total_sq) <= _SLACK * n):
        message = f"no {n} values within the bounds have these sums (scaled to [0, 1]: {total}, squares {total_sq})"
        raise ValueError(message)
    return y, y_sq
