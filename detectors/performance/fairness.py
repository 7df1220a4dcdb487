"""Differences between segments (regions, age bands) in how often a model says yes, and how often it is right.

Rates of each segment: selection rate P(predicted = 1) (demographic parity), true positive rate P(predicted = 1 |
actual = 1) (equal opportunity; Hardt, Price & Srebro 2016, NeurIPS), false positive rate P(predicted = 1 | actual = 0)
(with the former: equalised odds). Each segment is compared with one base segment, by difference and by ratio; a ratio of
selection rates below 0.8 is the "four-fifths rule" (29 CFR 1607.4 D).

Errors: difference, the root of the squared Wilson errors; ratio, the delta method on its logarithm with half a success
and half a failure added to each side. p-values: Fisher's exact test, two-sided, valid at any size; over all comparisons
of one call corrected by Holm's step-down (1979, Scand. J. Stat. 6, 65-70), so that the probability of any false claim is
at most the level, whatever depends on what.

Guarantee: the probability of any false claim among all comparisons of one call is at most the level that `corrected` is
compared with, for independent outcomes. Cost: 0.7 ms a comparison. Merge: outcome vectors of a segment add up exactly.
References: in the text above.

When not to use it: for a claim of cause. A difference may come from the segments' own base rates; and a segment that is
small has little power, which `differences` says by leaving it out (`too_small`) rather than by a large p-value.

>>> import numpy as np
>>> from detectors.performance import count_classes
>>> rng = np.random.default_rng(1)
>>> actual = rng.integers(0, 2, 1000)
>>> said = {"north": rng.random(1000) < 0.5, "south": rng.random(1000) < 0.3}
>>> found = differences({k: count_classes(actual, v.astype(int), "binary", 2) for k, v in said.items()}, base="north")
>>> [(d.rate, round(d.difference, 2), d.corrected < 0.001) for d in found.differences if d.segment == "south"]
[('selection_rate', -0.18, True), ('true_positive_rate', -0.19, True), ('false_positive_rate', -0.18, True)]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance import layout
from detectors.performance.metric import Metric, rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

RATES: Final = ("selection_rate", "true_positive_rate", "false_positive_rate")
"""The rates that are compared, in this order."""
LEAST: Final = 50
"""Outcomes that a rate needs in a segment to be compared, by default: as for a window's drift (below: insufficient data)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A rate in one segment against the base segment.

    `difference` is segment - base, `ratio` segment / base (None where the base is 0), each with its standard error.
    `p_value` is of this comparison alone, `corrected` what remains of it among all (Holm).
    """

    rate: str
    segment: str
    difference: float
    difference_error: float
    ratio: float | None
    ratio_error: float | None
    p_value: float
    corrected: float


@dataclass(frozen=True, slots=True)
class Fairness:
    """The rates by segment and name, the comparisons with `base`, and the (rate, segment) pairs with too few outcomes."""

    base: str
    rates: dict[str, dict[str, Metric]]
    differences: tuple[Difference, ...]
    too_small: tuple[tuple[str, str], ...]


def differences(outcomes: Mapping[str, NDArray[np.int64]], *, base: str | None = None, least: int = LEAST) -> Fairness:
    """Return the differences between segments from their binary outcome vectors.

    `base` is the segment that the others are compared with: by default the one with the most outcomes (of equals the
    first by name). A rate that rests on fewer than `least` outcomes in a segment, or in the base, is not compared.

    Raises:
        ValueError: there is no segment, `base` is none of them, or a vector is not one of a binary task.
    """
    width = layout.width("binary", layout.BINARY_CLASSES)
    if not outcomes:
        message = "differences need at least one segment"
        raise ValueError(message)
    for segment, vector in outcomes.items():
        if len(vector) != width:
            message = f"segment {segment!r} has {len(vector)} counts, a binary outcome vector has {width}"
            raise ValueError(message)
    if base is None:
        base = min(outcomes, key=lambda name: (-int(outcomes[name][layout.N]), name))
    if base not in outcomes:
        message = f"the base segment {base!r} is none of {', '.join(sorted(outcomes))}"
        raise ValueError(message)
    rates = {segment: rates_of(vector) for segment, vector in outcomes.items()}
    pairs = [(name, segment) for name in RATES for segment in rates if segment != base]
    small = [(name, segment) for name, segment in pairs if min(rates[segment][name].n, rates[base][name].n) < least]
    judged = [pair for pair in pairs if pair not in small]
    p_values = [_p_value(rates[segment][name], rates[base][name]) for name, segment in judged]
    found = tuple(
        _difference(name, segment, rates[segment][name], rates[base][name], p, corrected)
        for (name, segment), p, corrected in zip(judged, p_values, holm(p_values), strict=True)
    )
    return Fairness(base, rates, found, tuple(small))


def rates_of(vector: NDArray[np.int64]) -> dict[str, Metric]:
    """Return the three rates of a binary outcome vector."""
    counts = layout.confusion(vector, layout.BINARY_CLASSES)
    (_, false_positives), (_, true_positives) = counts.tolist()
    negatives, positives = counts.sum(axis=1).tolist()
    return {
        "selection_rate": rate(true_positives + false_positives, negatives + positives),
        "true_positive_rate": rate(true_positives, positives),
        "false_positive_rate": rate(false_positives, negatives),
    }


def holm(p_values: list[float]) -> list[float]:
    """Return the p-values corrected by Holm's step-down, in their order."""
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    found: list[float] = corrected.tolist()
    return found


def _p_value(one: Metric, base: Metric) -> float:
    from scipy.stats import fisher_exact  # noqa: PLC0415  # 0.9 s of every worker's start, and workers compare no segments

    table = [[m.successes, m.n - (m.successes or 0)] for m in (one, base)]
    return min(1.0, float(fisher_exact(table).pvalue))


def _difference(name: str, segment: str, one: Metric, base: Metric, p_value: float, corrected: float) -> Difference:
    (value, error), (base_value, base_error) = ((m.value or 0.0, m.standard_error or 0.0) for m in (one, base))
    ratio = value / base_value if base_value else None
    spread = sum(1 / ((m.successes or 0) + 0.5) - 1 / (m.n + 1) for m in (one, base))
    return Difference(
        rate=name,
        segment=segment,
        difference=value - base_value,
        difference_error=math.hypot(error, base_error),
        ratio=ratio,
        ratio_error=None if ratio is None else ratio * math.sqrt(spread),
        p_value=p_value,
        corrected=corrected,
    )
