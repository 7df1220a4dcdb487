"""One performance figure with its sampling error, and the question whether it got worse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from detectors.shares import rise_p_values

Worse = Literal["lower", "higher", "apart"]
"""How a metric gets worse; "apart": a change either way."""

WORSE: Final[dict[str, Worse]] = {
    "accuracy": "lower",
    "precision": "lower",
    "recall": "lower",
    "f1": "lower",
    "specificity": "lower",
    "roc_auc": "lower",
    "pr_auc": "lower",
    "log_loss": "higher",
    "brier": "higher",
    "ece": "higher",
    "mae": "higher",
    "rmse": "higher",
    "bias": "apart",
    "residual_p05": "apart",
    "residual_p50": "apart",
    "residual_p95": "apart",
    "absolute_p50": "higher",
    "absolute_p95": "higher",
}
"""The direction in which each metric gets worse."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A performance metric of one vector of outcomes.

    `value` is None where the outcomes do not define it (no predicted positive: no precision), `standard_error` where
    it cannot be estimated. `n` is the number of outcomes that the figure rests on: those predicted positive for
    precision, the smaller class for the ROC AUC, the positives for the PR AUC. `bin_error` is the most by which the
    value can differ from that of the same outcomes without bins, beside the sampling error; 0.0 where no bin is used.
    `successes` of a rate (and of F1, which rises with a rate) are what an exact test needs; None elsewhere.
    """

    value: float | None
    standard_error: float | None
    n: int
    bin_error: float = 0.0
    successes: int | None = None


NOTHING: Final = Metric(None, None, 0)
"""A metric that the outcomes do not define."""

_LEAST = 2  # a variance needs two values


def wilson_error(successes: float, n: int) -> float:
    """Return the standard error of a rate: half the width of Wilson's interval at one standard deviation.

    Unlike sqrt(p(1-p)/n) it is not zero when all or none succeed. Source: Wilson (1927), JASA 22, 209-212.
    """
    share = successes / n
    return math.sqrt(share * (1 - share) / n + 1 / (4 * n * n)) / (1 + 1 / n)


def rate(successes: int, n: int) -> Metric:
    """Return the metric of `successes` among `n`; undefined for n = 0."""
    return Metric(successes / n, wilson_error(successes, n), n, successes=successes) if n else NOTHING


def mean(total: float, square_total: float, n: int) -> Metric:
    """Return the mean of `n` values from their sum and sum of squares; its error is s / sqrt(n), none for n = 1."""
    if not n:
        return NOTHING
    value = total / n
    if n < _LEAST:
        return Metric(value, None, n)
    return Metric(value, math.sqrt(max(0.0, square_total / n - value * value) / (n - 1)), n)


def drop_p_value(reference: Metric, current: Metric, worse: Worse) -> float:
    """Return the p-value of "the current metric is not worse than the reference's".

    Rates (accuracy, precision, recall, specificity) and F1: Fisher's exact test, valid at any n. F1 = 2J / (1 + J) with
    the rate J = TP / (TP + FP + FN), so it is worse exactly when J is.

    The others: z = difference / `difference_error`, normal approximation.

    One-sided for "lower" and "higher", two-sided for "apart". 1.0 when either metric or its error is undefined.
    """
    if reference.value is None or current.value is None:
        return 1.0
    if reference.standard_error is None or current.standard_error is None:
        return 1.0
    if reference.successes is not None and current.successes is not None and worse != "apart":
        return _fisher(reference, reference.successes, current, current.successes, worse)
    error = difference_error(reference.standard_error, reference.n, current.standard_error, current.n)
    change = current.value - reference.value
    if worse == "lower":
        change = -change
    elif worse == "apart":
        change = abs(change)
    if error == 0:
        return 1.0 if change <= 0 else 0.0
    return (1.0 if worse == "apart" else 0.5) * math.erfc(change / error / math.sqrt(2))


def difference_error(reference: float, reference_n: int, current: float, n: int) -> float:
    """Return the standard error of a difference of two metrics that rest on `reference_n` and `n` outcomes.

    Each of both errors is the larger of its own and the other's scaled to its n: if nothing changed they estimate the same,
    and a mean whose estimate strayed inwards would otherwise look far too certain. That is the reference's turn as well
    where it is the smaller one: 100 outcomes that met no large error have a small rmse, and a small error of it.
    """
    scale = math.sqrt(reference_n / n)
    return math.hypot(max(reference, current / scale), max(current, reference * scale))


def _fisher(reference: Metric, reference_hits: int, current: Metric, hits: int, worse: Worse) -> float:
    """Return the probability of this many successes or fewer (more, for "higher") among all with the same total."""
    if worse == "lower":  # fewer successes are more failures
        reference_hits, hits = reference.n - reference_hits, current.n - hits
    return float(rise_p_values(reference_hits, reference.n, hits, current.n))
