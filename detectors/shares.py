"""Exact one-sided test of "a share has not risen", for a window of n rows beside a reference of N rows (Fisher 1935).

`detectors.quality` asks it whether faults have become more frequent, `detectors.performance` whether successes have become
rarer (their failures more frequent).

Idea: under the null the rows of both samples are exchangeable. Given that both together hold k hits, the window's part X
is then hypergeometric, whatever the common share is:

    p = P(X >= x) = sum over j >= x of C(n, j) C(N, k - j) / C(N + n, k),  with k = reference hits + window hits

The reference's own sampling error is in it: no hit among N reference rows and one among n gives p = n / (N + n), not 0.

Guarantee: P(p <= a) <= a for every a, n, N and share, if the rows are independent. Being discrete, the test usually stays
well below a. Rows that come in bursts (a producer that fails for a minute) break it. The numbers are right to about
5e-9 relative for samples up to a million rows, 1e-5 up to a thousand million (the error of the log-gamma function).

Cost: 0.2 us a test plus 5 ns for each term that counts, at most about ten standard deviations of X; no state.

References: Fisher, The Design of Experiments, 1935; Agresti, Categorical Data Analysis, 3.5.

>>> float(rise_p_values(0, 9_900, 1, 100).round(12))
0.01
"""

from __future__ import annotations

from math import exp, lgamma, log
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_NEGLIGIBLE = 1e-17
"""A term smaller than this part of the sum cannot change it: half of a float's last digit is 1.1e-16."""


def rise_p_values(
    reference_hits: ArrayLike, reference_n: ArrayLike, hits: ArrayLike, n: ArrayLike
) -> NDArray[np.float64]:
    """Return P(X >= hits) of each test, float64 in the arguments' common shape; 1.0 where the window has no hit.

    Arguments are whole numbers that broadcast against each other: `reference_hits` of `reference_n` rows of the
    reference, `hits` of `n` rows of the window.

    Raises:
        ValueError: a number is negative, or there are more hits than rows.
    """
    a, big, x, small = (np.asarray(v, np.int64) for v in (reference_hits, reference_n, hits, n))
    if (np.minimum(a, x) < 0).any() or (a > big).any() or (x > small).any():
        message = "hits must lie between 0 and the number of rows, in the reference and in the window"
        raise ValueError(message)
    given = np.broadcast_arrays(a, big, x, small)
    found = np.ones(given[0].shape)
    a, big, x, small = (np.array(v).reshape(-1) for v in given)
    _tails(a, big, x, small, found.reshape(-1))
    return found


@compiled
def _tails(
    reference_hits: NDArray[np.int64],
    reference_n: NDArray[np.int64],
    hits: NDArray[np.int64],
    n: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    for i in range(len(out)):
        x, k, inside, outside = hits[i], reference_hits[i] + hits[i], n[i], reference_n[i]
        if x <= max(0, k - outside):  # X cannot be smaller
            out[i] = 1.0
        elif float(x) * (inside + outside) > float(k) * inside:  # as floats: products of counts leave int64
            out[i] = min(1.0, _sum(x, k, inside, outside))
        else:
            # Beyond the mean the terms fall; before it the other tail is the shorter sum.
            out[i] = max(0.0, 1.0 - _sum(k - x + 1, k, outside, inside))


@compiled
def _sum(x: Any, k: Any, inside: Any, outside: Any) -> Any:  # noqa: ANN401  # numba's own integers and floats
    """P(X >= x) for x beyond the mean, where each term is smaller than the one before."""
    total = _log_choose(inside + outside, k)
    term = exp(_log_choose(inside, x) + _log_choose(outside, k - x) - total)
    found = term
    for j in range(x, min(k, inside)):
        term *= (inside - j) / (j + 1.0) * (k - j) / (outside - k + j + 1.0)
        found += term
        if term <= _NEGLIGIBLE * found:  # also where both are 0: too small for a float
            break
    return found


@compiled
def _log_choose(n: Any, k: Any) -> Any:  # noqa: ANN401  # as above
    if k in (0, n):
        return 0.0
    if k in (1, n - 1):
        return log(n * 1.0)
    return lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)
