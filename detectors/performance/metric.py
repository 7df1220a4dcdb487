"""One performance figure with its sampling error, and the question whether it got worse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

WORSE: dict[str, Literal["lower", "higher"]] = {
    "accuracy": "lower",
    "precision": "lower",
    "recall": "lower",
    "f1": "lower",
    "roc_auc": "lower",
    "mae": "higher",
    "rmse": "higher",
}
"""The direction in which each metric gets worse. `bias` has none: both directions are wrong."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A performance metric of one vector of outcomes.

    `value` is None where the outcomes do not define it (no predicted positive: no precision), `standard_error` where
    it cannot be estimated. `n` is the number of outcomes that the figure rests on: those predicted positive for
    precision, the smaller class for the AUC.
    """

    value: float | None
    standard_error: float | None
    n: int


NOTHING = Metric(None, None, 0)
"""A metric that the outcomes do not define."""


def wilson_error(successes: float, n: int) -> float:
    """Return the standard error of a rate: half the width of Wilson's interval at one standard deviation.

    Unlike sqrt(p(1-p)/n) it is not zero when all or none succeed. Source: Wilson (1927), JASA 22, 209-212.
    """
    rate = successes / n
    return math.sqrt(rate * (1 - rate) / n + 1 / (4 * n * n)) / (1 + 1 / n)


def rate(successes: int, n: int) -> Metric:
    """Return the metric of `successes` among `n`; undefined for n = 0."""
    return Metric(successes / n, wilson_error(successes, n), n) if n else NOTHING


def drop_p_value(reference: Metric, current: Metric, worse: Literal["lower", "higher"]) -> float:
    """Return the one-sided p-value of "the current metric is not worse than the reference's".

    z = difference / sqrt(error of the reference^2 + error of the window^2), normal approximation. The window's error is
    the larger of its own and the reference's scaled to the window's n: under the null they estimate the same, and a
    rate near 0 or 1 whose estimate strayed outwards would otherwise look far too certain (a recall of 0.1 that comes
    out as 3 of 100 has p = 0.008, its own error says 3e-5). 1.0 when either metric or its error is undefined.
    """
    if reference.value is None or current.value is None:
        return 1.0
    if reference.standard_error is None or current.standard_error is None:
        return 1.0
    expected = reference.standard_error * math.sqrt(reference.n / current.n)
    error = math.hypot(reference.standard_error, max(current.standard_error, expected))
    change = reference.value - current.value if worse == "lower" else current.value - reference.value
    if error == 0:
        return 1.0 if change <= 0 else 0.0
    return 0.5 * math.erfc(change / error / math.sqrt(2))
