"""How old the features were when they were used: `event_time` minus `computed_at`, against a stated maximum age.

Idea: an owner says "99 % of the rows have features younger than an hour". A window keeps that promise if the share of
older rows is at most 1 %, and breaks it if so many older ones would be a coincidence.

Statistic: x of n rows are older than `max_age_ms`; p = P(X >= x), X ~ binomial(n, allowed share): the exact one-sided test of
"the share is at most the allowed one" (Clopper & Pearson 1934). It is the test that the (1 - allowed) quantile of the age
is at most `max_age_ms`, without a histogram.

Guarantee: P(p <= a) <= a whenever the true share is at most the allowed one and rows are independent. Ages come in bursts (one
refresh that failed makes every row after it old), so read the share before the p-value.

State: three counts (`AgeCounts`); merge law: they add up, exactly, in any order. Cost: 9 ns a row (the command stands in
docs/detectors/freshness.md).

Reference: C. J. Clopper, E. S. Pearson, Biometrika 26, 1934.

>>> counts = count_ages([10_000, 20_000, 30_000], [9_000, 1_000, None], max_age_ms=5_000)
>>> counts
AgeCounts(rows=3, older=1, unknown=1)
>>> counts + counts == AgeCounts(rows=6, older=2, unknown=2)
True
>>> freshness_test(AgeCounts(1000, 30, 0), allowed_share=0.01).p_value < 1e-6
True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtrc

from detectors.quality.checks import LEAST_N

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ALLOWED_SHARE = 0.01
"""The share of rows that may be older when nothing is said: a promise about the 99th percentile."""


@dataclass(frozen=True, slots=True)
class AgeCounts:
    """What a window knows of its ages: `rows`, of them `older` than the maximum, and `unknown` (a time is missing)."""

    rows: int
    older: int
    unknown: int

    def __post_init__(self) -> None:
        """Refuse counts that no window can have.

        Raises:
            ValueError: a count is negative, or older and unknown together exceed rows.
        """
        if min(self.rows, self.older, self.unknown) < 0 or self.older + self.unknown > self.rows:
            message = f"of {self.rows} rows, {self.older} older and {self.unknown} unknown cannot be"
            raise ValueError(message)

    def __add__(self, other: AgeCounts) -> AgeCounts:
        """The counts of both windows together."""
        return AgeCounts(self.rows + other.rows, self.older + other.older, self.unknown + other.unknown)


@dataclass(frozen=True, slots=True)
class FreshnessResult:
    """`share` of the `n` rows with a known age is older; `p_value` None when there are too few of them (`insufficient`)."""

    share: float
    allowed_share: float
    p_value: float | None
    n: int
    insufficient: bool

    @property
    def sentence(self) -> str:
        """The finding in plain English."""
        return f"the features of {self.share:.2%} of {self.n:,} rows are too old ({self.allowed_share:.2%} may be)"


def count_ages(
    event_time_ms: Sequence[float | None] | NDArray[np.int64],
    computed_at_ms: Sequence[float | None] | NDArray[np.int64],
    *,
    max_age_ms: int,
) -> AgeCounts:
    """Count the rows whose features were older than `max_age_ms` when the event happened.

    Both times are ms since the epoch, of one length; None or NaN is unknown. Features that are said to be computed after
    the event (clocks that differ) are not old.

    Raises:
        ValueError: the lengths differ, or the maximum age is negative.
    """
    used, made = np.asarray(event_time_ms, np.float64), np.asarray(computed_at_ms, np.float64)
    if used.ndim != 1 or used.shape != made.shape or max_age_ms < 0:
        message = f"two equally long columns and an age of 0 or more, not {used.shape}, {made.shape}, {max_age_ms} ms"
        raise ValueError(message)
    age = used - made  # whole ms below 2^53 are exact in a float
    unknown = int(np.isnan(age).sum())
    return AgeCounts(len(age), int((age > max_age_ms).sum()), unknown)


def freshness_test(counts: AgeCounts, *, allowed_share: float = ALLOWED_SHARE) -> FreshnessResult:
    """Test whether more rows are too old than `allowed_share` (0 to below 1) allows.

    Raises:
        ValueError: the allowed share is not in [0, 1).
    """
    if not 0 <= allowed_share < 1:
        message = f"an allowed share lies from 0 to below 1, not {allowed_share}"
        raise ValueError(message)
    n, x = counts.rows - counts.unknown, counts.older
    few = n < LEAST_N
    p = None if few else float(bdtrc(x - 1, n, allowed_share)) if x else 1.0
    return FreshnessResult(x / max(1, n), allowed_share, p, n, few)
