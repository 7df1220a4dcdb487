"""E-detector: an alarm when betting against "the mean is still the baseline" has paid off, with a bound on false alarms.

Idea: a gambler stakes a share of his money on every value, at odds that are fair as long as the mean is m. While it is,
no way of betting earns money on average; once the mean has risen, betting on a rise makes money exponentially fast. A
gambler starts anew at every moment, because nobody knows when the change comes; what all of them own together is the
Shiryaev-Roberts sum. Several stakes (bets) play side by side, because nobody knows how large the change will be.

For values in [0, 1], the stake lambda and the weight w of each bet,

    R_t = (1 + R_(t-1)) (1 + lambda (x_t - m)),   M_t = sum over the bets of w R_t,   alarm when M_t >= arl

and m is the upper end of what counts as no change: the baseline, plus its sampling error where `baseline_n` says how
many values it was estimated on (the upper end of Wilson's interval at 1.64 standard errors, one-sided 95 %), plus the
tolerance. A bet on a fall does the same with 1 - x and the lower end. Two-sided shares the weights between both. After
an alarm the next update starts anew.

Bets: stakes 0.9/m, 0.45/m, 0.225/m, ... for as long as u = lambda sqrt(m (1 - m)) >= 0.01, weights proportional to
1 / ((u/0.2)^2 + (u/0.2)^-2), so that changes which take some hundred values to be seen have the most.

Panes (`update_many`): a pane is one update whose factor is the product of its values' factors. For bits the product is
(1 + lambda (1 - m))^k (1 - lambda m)^(n - k), and order plays no part. For other values the product is not known from n,
the sum s and the sum of squares q, but its least possible value is: with z = q / s, the product for s^2/q values z and
otherwise zeros. (log(1 + lambda (x - m)) lies above the parabola that meets it at 0 and touches it at z, since its third
derivative is positive; the sum of a parabola needs n, s and q only.) Less than an e-value is an e-value, so the guarantee
holds; the price is what skewness could have told. Without q, z = 1: values are taken for the most extreme ones with that
sum, which costs much when they vary little.

Panes of values that depend on each other: a pane's factor may be taken to the power 1 / d for any d >= 1 that is known before
the pane. It stays an e-value (Jensen's inequality), and where sums of panes vary d times as widely as independent values
would let them, that is what keeps the rate of false alarms near the bound. `Dispersion` estimates d.

Guarantee: if at every update E[x_t | the past] <= m (two-sided: within both ends), the mean number of updates until a
false alarm is at least `arl`, whatever the distribution, at any time of looking; in the long run there is at most one
false alarm per `arl` updates (values, or panes when fed with panes). M_t - t is a supermartingale, so E[T] >= E[M_T] >=
arl at the alarm T. The bound is nearly tight: 0.98 false alarms per 100,000 at arl=100,000. Conditions: the values lie
within `bounds`; the baseline is true, or `baseline_n` independent values were used for it (then the bound holds with 95 %
confidence in the baseline); no dependence in time: after an error the next one must not be more likely. On errors with
autocorrelation 0.3 there are 26 per 100,000 in place of 0.98, on panes of 100 of them 6.0 in place of 0.30
(`python -m loadtest quality`). A baseline that
has seasons needs their highest level, or the tolerance to match.

Cost: 8 bets at m = 0.2 (7 at 0.5, 10 at 0.01), nine numbers each. 40 ns a value and 0.4 us a pane in `update_each` and
`update_panes`, 1.0 and 2.2 us in a call of their own (`python -m loadtest detectors`).
There is no merge of two detectors: their values would interleave in time. Merge the panes instead and feed one.

State: format 1, the parameters and per bet its sums; see `EDetector.to_state`.

References: Shin, Ramdas & Rinaldo, E-detectors: a nonparametric framework for sequential change detection, NEJSDS 2024
(Shiryaev-Roberts e-detectors, their mixtures, bounded means); Waudby-Smith & Ramdas, Estimating means of bounded random
variables by betting, JRSS B 2024 (the factor of a bet). Deviations: the grid of bets and its weights are ours, chosen by
simulation on 0.2 -> 0.3, 0.25, 0.22, 0.5; the bound on panes is ours.

>>> detector = EDetector(0.2, arl=100_000)
>>> values = [i % 5 == 0 for i in range(2000)] + [i % 2 == 0 for i in range(200)]
>>> next(i for i, x in enumerate(values) if detector.update(x)), detector.direction
(2050, 1)
>>> detector.n, round(detector.mean, 2)
(51, 0.51)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from detectors.sequential import e_detector_kernel as kernel
from detectors.sequential.state import count, flag, items, number, reading, sign
from detectors.sequential.values import as_panes, as_values, bounded_pane, bounded_panes, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

FORMAT: Final = 1
"""Version of the state that `EDetector.to_state` writes."""
Alternative = Literal["greater", "less", "two-sided"]
"""Which change is looked for: a rise of the mean, a fall, or either."""

_MARGIN = 1.64
"""Standard errors between the estimated baseline and m: one-sided 95 %. Without it, a baseline estimated on 2,000 values
that happens to be too low breaks the bound (3.4 false alarms per 100,000 instead of 1)."""
_LARGEST_SHARE = 0.9
"""The largest stake as a share of 1/m, at which one value 0 would lose everything."""
_SMALLEST_U = 0.01
"""The smallest stake in units of one standard deviation: what it is good for takes some 200,000 values to see."""
_CENTRAL_U = 0.2
"""Where the weights are largest; a stake is at its best for a change of u standard deviations. Mean delays at arl = 100,000,
for 0.2 -> 0.3 and 0.2 -> 0.25: 240 and 754 labels; with 0.15 246 and 733, with uniform weights 276 and 802."""
_LEAST_MEAN = 1e-9
"""An end below this counts as this: at m = 0 a single value above 0 would be proof, and a stake has no bound."""
_LARGEST_ARL = 1e15
"""Beyond it sums of floats lose the ones that are added to them."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an e-detector was made with; see `EDetector`."""

    baseline: float
    arl: float
    alternative: Alternative
    tolerance: float
    baseline_n: int | None
    bounds: tuple[float, float]
    confirm: int


def wilson(rate: float, n: int, deviations: float) -> tuple[float, float]:
    """Return Wilson's interval of a rate in [0, 1] estimated on `n` values, at so many standard errors (Wilson 1927).

    For values in [0, 1] that are no bits it is wider than needed: no variance is larger than that of bits.
    """
    z_sq = deviations * deviations
    centre = (rate + z_sq / (2 * n)) / (1 + z_sq / n)
    half = deviations / (1 + z_sq / n) * math.sqrt(rate * (1 - rate) / n + z_sq / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


class EDetector:
    """The detector of a change of a bounded mean.

    Args:
        baseline: the mean while nothing has changed, in the units of the values.
        arl: the least mean number of updates between false alarms, > 1. Fed with panes, updates are panes.
        alternative: "greater" (a rise), "less" (a fall) or "two-sided".
        tolerance: how far from the baseline a mean is nobody's business, >= 0, in the units of the values.
        baseline_n: number of independent values that the baseline is the mean of; None when it is known exactly.
        bounds: the least and the largest value there can be.
        confirm: an update's factor is cut at arl**(1/confirm), so that an alarm that starts from nothing rests on so many
            updates at least. For panes: one bad pane alone seldom is a change; with evidence carried over from quiet panes
            it can be (all of 50 labels wrong after 200 quiet panes: 4 % at arl 600, 0.5 % at 14,400). Costs up to that
            many panes of delay, and nothing of the guarantee.

    `direction` is +1 when the mean rose at the latest alarm, -1 when it fell, 0 before the first alarm. `n`, `mean` and
    `window_start` describe the values since the estimated change: the start from which the best bet has earned most.
    """

    __slots__ = ("_bets", "_flags", "_sums", "parameters")

    def __init__(  # all but the first have names and defaults
        self,
        baseline: float,
        *,
        arl: float = 100_000,
        alternative: Alternative = "greater",
        tolerance: float = 0.0,
        baseline_n: int | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        confirm: int = 1,
    ) -> None:
        """Start before the first value.

        Raises:
            ValueError: a parameter outside its range.
        """
        low, high = bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            message = f"bounds must be two finite numbers, the lower first, got {bounds}"
            raise ValueError(message)
        if not low <= baseline <= high:
            message = f"the baseline must lie between {low} and {high}, got {baseline}"
            raise ValueError(message)
        if not 1 < arl <= _LARGEST_ARL:
            message = f"arl must lie between 1 and {_LARGEST_ARL:g} updates, got {arl}"
            raise ValueError(message)
        if alternative not in get_args(Alternative):
            message = f"alternative must be one of {', '.join(get_args(Alternative))}, got {alternative!r}"
            raise ValueError(message)
        if not 0 <= tolerance < math.inf:
            message = f"tolerance must be at least 0, got {tolerance}"
            raise ValueError(message)
        # Floats, as they come back from a state: a restart writes the same bytes.
        self.parameters = Parameters(
            baseline=float(baseline),
            arl=float(arl),
            alternative=alternative,
            tolerance=float(tolerance),
            baseline_n=None if baseline_n is None else whole(baseline_n, "baseline_n (None: a known baseline)"),
            bounds=(float(low), float(high)),
            confirm=whole(confirm, "confirm"),
        )
        self._bets = _bets(self.parameters)
        self._sums = np.zeros((len(self._bets), 5))
        self._flags = np.zeros(2, np.int64)

    @property
    def _limits(self) -> tuple[float, float]:
        """The threshold, and what an update's factor is cut at."""
        arl, confirm = self.parameters.arl, self.parameters.confirm
        return arl, kernel.LARGEST_FACTOR if confirm == 1 else float(arl ** (1 / confirm))

    @property
    def null(self) -> tuple[float, float]:
        """The ends of what counts as no change: baseline -/+ its sampling error -/+ tolerance, within the bounds."""
        low, high = self.parameters.bounds
        lower, upper = _null(self.parameters)
        return low + (high - low) * lower, low + (high - low) * upper

    @property
    def value(self) -> float:
        """The e-detector M_t: at least `arl` means alarm; 0.0 before the first value."""
        return float(self._bets[:, kernel.WEIGHT] @ self._sums[:, kernel.SUM])

    @property
    def direction(self) -> int:
        """+1 when the mean rose at the latest alarm, -1 when it fell, 0 before the first alarm."""
        return int(self._flags[kernel.DIRECTION])

    @property
    def n(self) -> int:
        """Number of values since the estimated change; 0 before the first value."""
        return int(self._best()[kernel.N])

    @property
    def mean(self) -> float:
        """Mean of the values since the estimated change; 0.0 before the first value."""
        best, (low, high) = self._best(), self.parameters.bounds
        return float(low + (high - low) * (best[kernel.TOTAL] / best[kernel.N])) if best[kernel.N] else 0.0

    @property
    def window_start(self) -> int:
        """How many updates ago the estimated change came: 1 when only the latest update is after it; 0 before the first."""
        return int(self._best()[kernel.UPDATES])

    @property
    def reach(self) -> int:
        """How many updates ago the earliest start of any bet lies: `window_start` is never further back, now or next time."""
        return int(self._sums[:, kernel.UPDATES].max())

    def _best(self) -> NDArray[np.float64]:
        """Return the sums of the bet that has earned most; after an alarm, of those on its direction."""
        earned = self._sums[:, kernel.BEST]
        if self._flags[kernel.ALARMED]:
            earned = np.where(self._bets[:, kernel.SIDE] == self.direction, earned, -1.0)
        best: NDArray[np.float64] = self._sums[int(np.argmax(earned))]
        return best

    def update(self, x: float) -> bool:
        """Add one value; return whether the mean has changed.

        Raises:
            ValueError: the value lies outside the bounds.
        """
        low, high = self.parameters.bounds
        if not low <= x <= high:
            message = f"expected a value between {low:g} and {high:g}, got {x}"
            raise ValueError(message)
        y = (x - low) / (high - low)
        return bool(kernel.add(self._bets, self._sums, self._flags, self._limits, 1, y, y * y, 1.0))

    def update_each(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Add values one by one in one compiled loop; return for each what `update` would.

        Raises:
            ValueError: not one dimension, or a value outside the bounds; none was added.
        """
        low, high = self.parameters.bounds
        scaled = (as_values(values, low, high) - low) / (high - low)
        return kernel.add_each(self._bets, self._sums, self._flags, self._limits, scaled)

    def update_many(self, n: int, total: float, total_sq: float | None = None, *, dispersion: float = 1.0) -> bool:
        """Add a pane of `n` values with sum `total` and sum of squares `total_sq` as one update; return as `update`.

        n = 0 changes nothing. A pane of one value is that value. Without `total_sq` the guarantee is the same and a change
        of values that are no bits takes longer to see.

        `dispersion` says how much wider than for independent values sums of panes vary (`detectors.sequential.dispersion`);
        it must come from earlier panes. The pane then counts as n / dispersion values.

        Raises:
            ValueError: no `n` values within the bounds have these sums, or a dispersion below 1.
        """
        n = whole(n, "the number of values of a pane", 0)
        if not 1 <= dispersion < math.inf:
            message = f"a pane needs a dispersion of at least 1, got {dispersion}"
            raise ValueError(message)
        low, high = self.parameters.bounds
        scale = high - low
        y = (total - low * n) / scale
        y_sq = None if total_sq is None else (total_sq - 2 * low * total + low * low * n) / (scale * scale)
        y, squares = bounded_pane(n, y, y_sq)
        if n == 0:
            return False
        return bool(kernel.add(self._bets, self._sums, self._flags, self._limits, n, y, squares, float(dispersion)))

    def update_panes(self, n: ArrayLike, total: ArrayLike, total_sq: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Add panes one by one in one compiled loop; return for each what `update_many` would.

        Raises:
            ValueError: one of the panes is none; none was added.
        """
        low, high = self.parameters.bounds
        scale = high - low
        counts, sums, squares = as_panes(n, total, total if total_sq is None else total_sq)
        scaled = (sums - low * counts) / scale
        scaled_sq = None if total_sq is None else (squares - 2 * low * sums + low * low * counts) / (scale * scale)
        sums, squares = bounded_panes(counts, scaled, scaled_sq)
        return kernel.add_panes(self._bets, self._sums, self._flags, self._limits, counts, sums, squares)

    def to_state(self) -> dict[str, Any]:
        """Return everything that decides what happens next; `from_state` is its inverse.

        Keys: `format`, the parameters by their names, `alarmed` (whether the latest update was an alarm), `direction`, and
        `sums`: per bet, largest stake first and rises before falls, [R, largest product, and since its start: n, sum,
        updates]; values are scaled to [0, 1].
        """
        p = self.parameters
        return {
            "format": FORMAT,
            "baseline": p.baseline,
            "arl": p.arl,
            "alternative": p.alternative,
            "tolerance": p.tolerance,
            "baseline_n": p.baseline_n,
            "bounds": list(p.bounds),
            "confirm": p.confirm,
            "alarmed": bool(self._flags[kernel.ALARMED]),
            "direction": self.direction,
            "sums": self._sums.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EDetector:
        """Return the detector whose `to_state` this was.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no state of an e-detector.
        """
        with reading("an e-detector", state, FORMAT):
            low, high = items(state["bounds"], 2)
            known = state["baseline_n"]
            detector = cls(
                number(state["baseline"]),
                arl=number(state["arl"]),
                alternative=state["alternative"],
                tolerance=number(state["tolerance"]),
                baseline_n=None if known is None else count(known, 1),
                bounds=(number(low), number(high)),
                confirm=count(state["confirm"], 1),
            )
            for row, sums in zip(detector._sums, items(state["sums"], len(detector._sums)), strict=True):
                row[:] = [number(v, 0) for v in items(sums, 5)]
            detector._flags[:] = flag(state["alarmed"]), sign(state["direction"])
        return detector


def _null(p: Parameters) -> tuple[float, float]:
    """Return both ends of what counts as no change, for values scaled to [0, 1]."""
    low, high = p.bounds
    scale = high - low
    rate = (p.baseline - low) / scale
    lower, upper = (rate, rate) if p.baseline_n is None else wilson(rate, p.baseline_n, _MARGIN)
    return max(0.0, lower - p.tolerance / scale), min(1.0, upper + p.tolerance / scale)


def _bets(p: Parameters) -> NDArray[np.float64]:
    """Return one row (stake, mean, weight, side) per bet; weights sum to 1.

    Only + - * / and square roots: the same bets on every machine, so that a state finds its own again.
    """
    lower, upper = _null(p)
    sides = [(upper, 1)] if p.alternative != "less" else []
    sides += [(1 - lower, -1)] if p.alternative != "greater" else []
    rows = []
    for end, side in sides:
        mean = max(_LEAST_MEAN, end)
        deviation = math.sqrt(mean * max(0.0, 1 - mean))
        stakes = [_LARGEST_SHARE / mean]
        while stakes[-1] / 2 * deviation >= _SMALLEST_U:
            stakes.append(stakes[-1] / 2)
        weights = [_weight(stake * deviation) for stake in stakes]
        share = 1 / (sum(weights) * len(sides))
        rows += [(stake, mean, weight * share, side) for stake, weight in zip(stakes, weights, strict=True)]
    return np.array(rows, np.float64)


def _weight(u: float) -> float:
    square = (u / _CENTRAL_U) ** 2
    return square / (1 + square * square) if square > 0 else 1.0
