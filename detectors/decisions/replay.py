"""The reference played through the rule: how often would it have alarmed, and what threshold keeps the budget?

A cell's score in a window is s = -ln p. With confirmation "k of m" an alarm starts when s exceeds the threshold in this
window and in k - 1 of the m - 1 decided windows before it, so the largest threshold at which that happens is

    confirmed_t = min(s_t, the (k-1)-th largest of s_{t-1}, ..., s_{t-m+1}).

Margins are confirmed scores minus the formula's threshold, the largest over all cells in each window. Their peaks, at least
`GAP` windows apart, are the reference's own nearest misses. Above the k-th highest, u, exceedances of peaks are taken as
exponential with mean beta (the tail of -ln p is: exactly for independent windows). With k peaks in the reference's time the
expected number of later peaks above u + x, the estimate's own error considered, is

    k (1 + x / (k beta))^-k.

The threshold is raised by the x at which that is the budget, never lowered: the formula stays as a floor.

Guarantee: on exponential independent peaks the expected number of later ones is the budget (tested); on others as far as their
tail is exponential and the future is like the reference. Cost: 1 ms for 20 cells of 672 windows. Merge: none, it is a fit.

>>> import numpy as np
>>> margins = np.random.default_rng(1).exponential(size=672) - 5
>>> rise, expected = raised(margins, allowed=1.0)
>>> bool(rise > 0), round(expected, 3)
(True, 1.0)

Source: peaks over threshold, Pickands 1975 (Annals of Statistics 3), with shape 0; runs declustering, Smith & Weissman 1994
(JRSS B 56); the predictive form is the Pareto (Lomax) law of a future exponential value given k observed ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAP = 3
"""Windows without any rejection after which an episode is over."""
PEAKS = 20
"""Peaks that make the tail: with more, the fit reaches into the bulk, with fewer its error grows past a quarter."""
WINDOWS_A_PEAK = 12
"""The reference holds at least so many windows for each peak of the fit: below, most windows would be peaks."""


def confirmed(scores: NDArray[np.float64], confirm: tuple[int, int]) -> NDArray[np.float64]:
    """Return the largest threshold at which each window alarms, float64[C, T], from scores of the same shape.

    NaN (a window that decides nothing) is passed over, as live, and is -inf in the result, like the first k - 1 windows.
    """
    k, m = confirm
    out = np.full(scores.shape, -np.inf)
    for cell, row in enumerate(scores):
        known = np.flatnonzero(~np.isnan(row))
        decided = row[known]
        if k == 1:
            out[cell, known] = decided
            continue
        before = np.full((m - 1, len(decided)), -np.inf)
        for back in range(1, m):
            before[back - 1, back:] = decided[:-back]
        out[cell, known] = np.minimum(decided, np.sort(before, axis=0)[-(k - 1)])
    return out


def peaks(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the peaks of margins, float64[T], highest first: no two within `GAP` windows of each other."""
    order = np.argsort(-margins, kind="stable")
    taken = np.zeros(len(margins) + 2 * GAP + 1, bool)
    found = []
    for i in order.tolist():
        if margins[i] == -np.inf:
            break
        if not taken[i + GAP]:
            found.append(float(margins[i]))
            taken[i : i + 2 * GAP + 1] = True
    return np.array(found)


def raised(margins: NDArray[np.float64], allowed: float) -> tuple[float, float]:
    """Return (by how much thresholds must rise, the episodes then expected in the reference's time).

    `margins` is float64[T], the largest over the cells; `allowed` the episodes that the budget leaves in that time.
    """
    heights = peaks(margins)
    k = min(PEAKS, len(margins) // WINDOWS_A_PEAK, len(heights) - 1)
    if k < 1:
        return 0.0, 0.0
    u = float(heights[k])
    beta = max(float((heights[:k] - u).mean()), 1e-9)
    # A budget of more episodes than the fit has peaks is met below u; u is then on the safe side.
    needed = u + k * beta * ((k / allowed) ** (1 / k) - 1) if allowed < k else u
    rise = max(0.0, needed)
    return rise, float(k * (1 + (rise - u) / (k * beta)) ** -k)


def episodes(rejects: NDArray[np.bool_], alarms: NDArray[np.bool_]) -> int:
    """Return the number of incidents: from an alarm of any cell until no cell that alarmed has rejected for `GAP` windows.

    `rejects` and `alarms` are bool[C, T]: the cell rejects in the window, the rule opens an alert there.
    """
    count, last = 0, 0
    involved = np.zeros(len(rejects), bool)
    for t in np.flatnonzero(rejects.any(axis=0) | alarms.any(axis=0)).tolist():
        if t - last > GAP:
            involved[:] = False
        if alarms[:, t].any():
            count += not involved.any()
            involved |= alarms[:, t]
        if involved.any() and (rejects[:, t] & involved).any():
            last = t
    return count


def fewest(number: float) -> str:
    """Return a number of episodes for people: "0.7", or "less than 0.1"."""
    return "less than 0.1" if number < 0.1 else f"{math.floor(number * 10 + 0.5) / 10:.1f}"  # noqa: PLR2004  # in the text
