"""Quantiles of the residual from its log-spaced histogram.

The q-quantile is where the cumulated counts reach q * n, linear within a bin; as order statistic number q * n of the
same errors lies in that bin, the two differ by at most the bin's width (`bin_error`): an eighth of its smaller edge,
and 2**-31 around 0.

Whether a quantile moved is asked of the shares beyond it (`quantile_p_value`): residuals that are whole numbers have
quantiles that jump from one to the next, and no error of the quantile itself tells that.

The error is Woodruff's (1952, JASA 47, 635-646): half the distance between the quantiles at q plus and minus the
standard error of a rate q, which asks nothing of the density.

>>> import numpy as np
>>> from detectors.performance import count_errors
>>> vector = count_errors(np.arange(-500.0, 501.0), np.zeros(1001))
>>> [round(residual_quantile(vector, q).value) for q in (0.1, 0.5, 0.9)]
[-401, 0, 401]
>>> round(absolute_quantile(vector, 0.5).value)
251
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance import layout
from detectors.performance.metric import NOTHING, Metric, drop_p_value, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTILES: Final = {
    "residual_p05": 0.05,
    "residual_p50": 0.5,
    "residual_p95": 0.95,
    "absolute_p50": 0.5,
    "absolute_p95": 0.95,
}
"""The metrics that are quantiles of prediction - label, or of its size: the median, and nine in ten between the outer two."""

_ZERO = layout.RESIDUAL_BINS // 2
_LEAST = 2  # an error needs two values


def residual_quantile(vector: NDArray[np.int64], q: float) -> Metric:
    """Return the `q`-quantile of prediction - label over the outcomes in range, in the label's unit.

    Raises:
        ValueError: q is not between 0 and 1.
    """
    return _quantile(layout.residuals(vector), layout.residual_edges(), q)


def absolute_quantile(vector: NDArray[np.int64], q: float) -> Metric:
    """Return the `q`-quantile of the absolute error; otherwise as `residual_quantile`."""
    return _quantile(_sizes(vector), np.append(0.0, layout.residual_edges()[_ZERO + 1 :]), q)


def quantile(vector: NDArray[np.int64], name: str) -> Metric:
    """Return the metric `name` of `QUANTILES`."""
    of = residual_quantile if name.startswith("residual") else absolute_quantile
    return of(vector, QUANTILES[name])


def quantile_p_value(reference: NDArray[np.int64], current: NDArray[np.int64], name: str) -> float:
    """Return the p-value of "the quantile `name` of `QUANTILES` is not worse in `current`"; 1.0 where one has no outcome.

    Worse is, for an absolute error, that more outcomes lie in the bins above that of the reference's quantile, by Fisher's
    exact test; for a residual, that more lie above or more lie below, twice the smaller of both.
    """
    signed = name.startswith("residual")
    was, now = (layout.residuals(v) if signed else _sizes(v) for v in (reference, current))
    if not was.sum() or not now.sum():
        return 1.0
    at = int(np.searchsorted(np.cumsum(was), QUANTILES[name] * was.sum()))

    def more(part: slice) -> float:
        before, after = (rate(int(counts[part].sum()), int(counts.sum())) for counts in (was, now))
        return drop_p_value(before, after, "higher")

    above = more(slice(at + 1, None))
    return min(1.0, 2 * min(above, more(slice(at)))) if signed else above


def _sizes(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the histogram of the absolute errors, int64[513]: around 0, then ascending."""
    counts = layout.residuals(vector)
    folded = counts[_ZERO:].copy()
    folded[1:] += counts[:_ZERO][::-1]
    return folded


def kurtosis(vector: NDArray[np.int64]) -> float:
    """Return E[e^4] / E[e^2]^2 of the binned errors, at least 1; each bin stands for the middle of its edges.

    Both moments are off in the same direction, so for errors that fill several bins the ratio is right within 1 %.
    """
    counts, edges = layout.residuals(vector), layout.residual_edges()
    held = np.flatnonzero(counts)
    middle = (edges[held] + edges[held + 1]) / 2
    largest = float(np.abs(middle).max(initial=0.0))
    if largest == 0:
        return 1.0
    square = (middle / largest) ** 2
    n = counts[held]
    return max(1.0, float(n @ square**2) * float(n.sum()) / float(n @ square) ** 2)


def _quantile(counts: NDArray[np.int64], edges: NDArray[np.float64], q: float) -> Metric:
    if not 0 < q < 1:
        message = f"a quantile lies between 0 and 1, got {q}"
        raise ValueError(message)
    n = int(counts.sum())
    if not n:
        return NOTHING
    held = np.flatnonzero(counts)
    upto = np.cumsum(counts[held])

    def at(share: float) -> tuple[float, float]:
        rank = min(max(share, 0.0), 1.0) * n
        i = min(int(np.searchsorted(upto, rank)), len(held) - 1)
        low, high, count = float(edges[held[i]]), float(edges[held[i] + 1]), int(counts[held[i]])
        inside = (rank - int(upto[i]) + count) / count
        return low + (high - low) * inside, high - low

    value, width = at(q)
    if n < _LEAST:
        return Metric(value, None, n, width)
    error = math.sqrt(q * (1 - q) / n)
    return Metric(value, (at(q + error)[0] - at(q - error)[0]) / 2, n, width)
