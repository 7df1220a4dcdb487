"""The compiled step of the e-detector: one row per bet, each update in time proportional to the number of bets.

Everything is on the scale where values lie in [0, 1]. A bet on a fall looks at 1 - x, with its own mean, so that to
this file every bet is one on a rise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray  # noqa: TC002  # numba reads the annotations' names when it compiles

from detectors.compiled import compiled

STAKE, MEAN, WEIGHT, SIDE = 0, 1, 2, 3
"""Columns of `bets`: the stake (lambda), the mean that it bets against, its weight, and +1 (a rise) or -1 (a fall)."""
SUM, BEST, N, TOTAL, UPDATES = 0, 1, 2, 3, 4
"""Columns of `sums`: the sum over all starts, the product from the best start, and since then: values, sum, updates."""
ALARMED, DIRECTION = 0, 1
"""Entries of `flags`: whether the latest update was an alarm, and the direction of the latest alarm (0: none yet)."""
LARGEST_FACTOR = math.exp(500)
"""A pane's factor is cut here: any threshold is passed then, and the sums stay far from overflow. Cutting an e-value
leaves one."""
_LARGEST_LOG = 500.0


@compiled
def add(
    bets: NDArray[np.float64],
    sums: NDArray[np.float64],
    flags: NDArray[np.int64],
    limits: tuple[float, float],
    n: int,
    total: float,
    total_sq: float,
    dispersion: float,
) -> bool:
    """Add `n` > 0 values with these sums as one update; return whether it is an alarm. Forgets all after an alarm.

    `limits` are the threshold and the largest factor; the factor is taken to the power 1 / `dispersion`.
    """
    arl, largest = limits
    if flags[ALARMED]:
        sums[:] = 0.0
        flags[ALARMED] = 0
    rise, fall = 0.0, 0.0
    for k in range(len(bets)):
        stake, mean = bets[k, STAKE], bets[k, MEAN]
        y, y_sq = total, total_sq
        if bets[k, SIDE] < 0:
            y, y_sq = n - total, max(0.0, n - 2 * total + total_sq)
        if n == 1:
            factor = (1 + stake * (y - mean)) ** (1 / dispersion)
        else:
            # As if there were `ones` values z = y_sq / y and otherwise zeros: see the class's module.
            ones = min(float(n), y * y / y_sq) if y_sq > 0 else 0.0
            z = y_sq / y if y > 0 else 0.0
            log = ones * math.log1p(stake * (min(z, 1.0) - mean)) + (n - ones) * math.log1p(-stake * mean)
            factor = math.exp(min(log / dispersion, _LARGEST_LOG))
        factor = min(factor, largest)
        sums[k, SUM] = (1 + sums[k, SUM]) * factor
        if sums[k, BEST] <= 1:
            sums[k, BEST] = 1.0
            sums[k, N:] = 0.0
        sums[k, BEST] *= factor
        sums[k, N] += n
        sums[k, TOTAL] += total
        sums[k, UPDATES] += 1
        if bets[k, SIDE] > 0:
            rise += bets[k, WEIGHT] * sums[k, SUM]
        else:
            fall += bets[k, WEIGHT] * sums[k, SUM]
    if rise + fall < arl:
        return False
    flags[ALARMED] = 1
    flags[DIRECTION] = 1 if rise >= fall else -1
    return True


@compiled
def add_each(
    bets: NDArray[np.float64],
    sums: NDArray[np.float64],
    flags: NDArray[np.int64],
    limits: tuple[float, float],
    values: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Add values one by one; return which of them are alarms."""
    alarms = np.zeros(len(values), np.bool_)
    for i in range(len(values)):
        alarms[i] = add(bets, sums, flags, limits, 1, values[i], values[i] * values[i], 1.0)
    return alarms


@compiled
def add_panes(  # numba takes arrays, not objects
    bets: NDArray[np.float64],
    sums: NDArray[np.float64],
    flags: NDArray[np.int64],
    limits: tuple[float, float],
    n: NDArray[np.int64],
    total: NDArray[np.float64],
    total_sq: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Add panes one by one; return which of them are alarms. A pane without values changes nothing."""
    alarms = np.zeros(len(n), np.bool_)
    for i in range(len(n)):
        if n[i] > 0:
            alarms[i] = add(bets, sums, flags, limits, n[i], total[i], total_sq[i], 1.0)
    return alarms
