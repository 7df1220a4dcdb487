"""Vectors of the join, put together as `streams.engine.outcomes` says they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.oracle import delays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Vector = NDArray[np.int64]

HOUR = 3_600_000


def block(counts: Vector, late: Iterable[int] | None = None) -> Vector:
    """Outcomes, and the delays of their labels (ms): an hour each unless they are given."""
    said = [HOUR] * int(counts[0]) if late is None else late
    return np.concatenate([counts, np.array(delays.histogram(said), np.int64)])


def by_arrival(counts: Vector, late: Iterable[int] | None = None) -> Vector:
    """A stream's vector of one pane of labels."""
    return np.concatenate([[counts[0], 0, 1], block(counts, late)])


def by_prediction(early: Vector, rest: Vector | None = None, remembered: int | None = None) -> Vector:
    """A stream's vector of one window: outcomes up to maturity, then the others; every prediction has a label by default."""
    rest = np.zeros_like(early) if rest is None else rest
    n = int(early[0] + rest[0])
    head = [n, 0, 1, n if remembered is None else remembered]
    return np.concatenate([head, block(early), block(rest, [5 * HOUR] * int(rest[0]))])
