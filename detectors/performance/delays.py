"""How late labels come: a histogram of delays in bins that are the same everywhere, and its quantiles.

Idea: a delay is the time of the label minus the event time of its prediction, whole milliseconds. Delays reach from
milliseconds (a click) to years (a loan), so the bins grow with them: each power of two in four equal parts, the linearly
interpolated mapping of DDSketch (Masson, Rim & Lee 2019, PVLDB 12, 2195) with integers alone.

Statistic: bin 0 holds the delays of 0 and below (the truth was known before the prediction); bin ``1 + 4e + k`` holds
``2**e * (1 + k/4) <= delay < 2**e * (1 + (k+1)/4)``, e = 0..36, k = 0..3; the last holds 2**37 ms (4.3 years) and more.
Of the bins below 4 ms some hold no whole number and stay empty.

Guarantee: `delay_quantile` is off by at most an eighth of the true order statistic, and exact below 8 ms; in the last bin
it is a lower bound. The counts are exact.

Cost: 6 ns a delay (`python -m loadtest detectors`, case "performance: count, delays"); 1,200 bytes of state (150 counters of 8 bytes).

Merge law: counts add up, in any order and grouping; no delay at all is the neutral element.

State format: int64[150], part of an outcome block (``streams.engine.outcomes``).

>>> import numpy as np
>>> counts = np.zeros(DELAY_BINS, np.int64)
>>> count_delays(counts, np.zeros(4, np.int64), np.array([-5, 1_000, 1_100, 86_400_000]))
>>> delay_quantile(counts, 0.5), delay_quantile(counts, 0.99)
(959, 92274687)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

DELAY_OCTAVES: Final = 37
"""Powers of two that bins cover, from 1 ms to 2**37 ms = 4.3 years: longer than any horizon that memory would pay for."""
DELAY_PARTS: Final = 4
"""Equal bins between two powers of two: a quantile is off by an eighth at most. 8 would double the state for a sixteenth."""
DELAY_BINS: Final = 2 + DELAY_OCTAVES * DELAY_PARTS
"""Length of a delay histogram: one bin for 0 and below, those of the octaves, one beyond them."""
QUANTILES: Final = (0.5, 0.9, 0.99)
"""What records and alerts say of delays: the usual one, that of the slow tenth, and that of the slowest hundredth."""


@compiled
def delay_bin(delay: int) -> int:
    """Return the bin of a delay in ms."""
    if delay <= 0:
        return 0
    e, rest = 0, delay
    for step in (32, 16, 8, 4, 2, 1):
        if rest >> step:
            rest >>= step
            e += step
    if e >= DELAY_OCTAVES:
        return DELAY_BINS - 1
    return 1 + DELAY_PARTS * e + (DELAY_PARTS * (delay - (1 << e)) >> e)


@compiled
def count_delays(arena: NDArray[np.int64], begin: NDArray[np.int64], delay: NDArray[np.int64]) -> None:
    """Add each delay i (int64[n], ms) to the histogram of `DELAY_BINS` counters that begins at ``arena[begin[i]]``."""
    for i in range(len(begin)):
        arena[begin[i] + delay_bin(delay[i])] += 1


def delay_edges() -> NDArray[np.int64]:
    """Return the lower edge of every bin in ms, rounded up to a whole one: int64[150]; that of bin 0 is 0."""
    k = np.arange(DELAY_OCTAVES * DELAY_PARTS)
    low = -(-((DELAY_PARTS + k % DELAY_PARTS) << (k // DELAY_PARTS)) // DELAY_PARTS)
    return np.concatenate([[0], low, [1 << DELAY_OCTAVES]]).astype(np.int64)


def delay_quantile(counts: NDArray[np.int64], q: float) -> int | None:
    """Return the delay in ms that a share `q` of all delays does not exceed: the middle of the bin of that order statistic.

    None when nothing was counted. The order statistic is the ``ceil(q * n)``-th smallest (at least the first): the
    inverse of the empirical distribution function.

    Raises:
        ValueError: `counts` is no delay histogram, or `q` is outside [0, 1].
    """
    if counts.shape != (DELAY_BINS,):
        message = f"a delay histogram has {DELAY_BINS} counters, got the shape {counts.shape}"
        raise ValueError(message)
    if not 0 <= q <= 1:
        message = f"a quantile lies in 0 to 1, not at {q}"
        raise ValueError(message)
    n = int(counts.sum())
    if n == 0:
        return None
    rank = min(n, max(1, math.ceil(q * n)))
    at = int(np.searchsorted(np.cumsum(counts), rank))
    edges = delay_edges()
    if at in (0, DELAY_BINS - 1):
        return int(edges[at])
    return int(edges[at] + edges[at + 1] - 1) // 2
