"""Where a model is worst: the segments whose labelled answers are significantly worse than the rest of the same window.

Idea: a model that is right nine times in ten may be right six times in ten in one country, and all-traffic figures do not
show it. Each segment is compared with the *rest* (all traffic minus the segment: integers, so exact), never with the
whole, which contains it. Many segments are looked at, so the p-values are corrected together, and what is listed is ranked
by how much worse a segment *surely* is: a segment of twelve labels with six errors does not stand before one of ten
thousand that loses five points.

Statistic, with the metric m in the segment and m' in the rest:

- p-value of "the segment is not worse than the rest": Fisher's exact test for rates and F1, for the others what
  `detectors.performance.comparison` uses (normal approximation; Fisher's on quantiles).
- `corrected`: Holm's step-down over all segments that were judged (Holm 1979).
- `worse_by`: the difference towards the worse (as in `Comparison.worse_by`: absolute for rates, relative for log loss,
  Brier and sizes of errors).
- `lower`: a lower confidence bound of it at level / (segments judged), so that all bounds hold together. Rates and F1:
  Newcombe's hybrid of two Wilson intervals (method 10); the others: difference minus z standard errors, of a ratio those of the
  rest times the ratio; the ECE without what its smaller sample may understate. Not below 0.

The list is ordered by `lower`, the largest first: the bound shrinks what noise could have made, most where labels are few.

Guarantee: the probability that the list names any segment which is no worse than its rest is at most `level` a call, for
independent outcomes and rates, or F1 of a binary task, whose test is exact. The others, by simulation at level 0.1 and 0.01 (`python
-m loadtest levels --only worst --scale 0.25`, 500 calls in each case: ten segments of 100 beside 9,000, ten of 1,000, 20,000 beside
100 and beside 600; scores that are right and that are off, normal, t(4) and skewed errors, three classes): in the 100 cases that
judged anything 0.6 of the level on average at 0.1, the highest 1.2 (standard error 0.15); 0.45 at 0.01, the highest 1.8 (0.6). Where
one segment is nearly all traffic its rest is the small sample, so each side's error is the larger of its own and the other's scaled
(`detectors.performance.metric.difference_error`), and the ECE allows for what the smaller sample understates; without these, rmse
of skewed errors named it 10 times, the ECE of scores that are off 10 to 30 times as often as 0.01. All `lower` of a call hold
with the same probability: tests hold those of accuracy, F1, mae and rmse to 0.1 with one worse segment. Holm's
step-down needs no independence between tests, so segments may overlap (a country, and the same country in one channel), be nested,
or share the rest. It controls false names, not double ones: where a small segment is bad, each larger one that contains it
is truly worse than its rest and may be named with it; read the list from the top. A call is one window: over W windows the
expected number of windows with a false name is W * level. The listed `worse_by` are picked for being large and overstate;
`lower` does not.

When not to use it: for a claim of cause (a segment's base rate may differ: a country with more fraud has another precision at
the same quality); to watch a segment over time (give it its own monitor: the reference says what is usual there, while here
a segment that has always been harder is named in every window); with labels that come later in one segment than in another.

Bias and residual quantiles are worse when they are *apart* either way: one bad segment moves the rest of all others, and where it
is large they may be named too, behind it.

Cost: rates 8 us a segment, ROC AUC 0.3 ms, all others 1 to 1.4 ms (the command stands in docs/detectors/worst_segments.md).
No state; merge: outcome vectors of a segment add up exactly over panes and partitions.

References: Holm 1979, Scandinavian Journal of Statistics 6, 65-70; Newcombe 1998, Statistics in Medicine 17, 873-890;
Fisher 1935, The Design of Experiments. Chung, Kraska, Polyzotis, Tae & Whang 2019, Slice Finder, ICDE, for the task; unlike
there, segments are those that the owner declares, and the family-wise error is controlled, not the false discovery rate.

>>> import numpy as np
>>> from detectors.performance import count_classes, merge
>>> def outcomes(n, wrong):
...     return count_classes(np.zeros(n, int), (np.arange(n) < wrong).astype(int), "binary", 2)
>>> segments = {"de": outcomes(5000, 500), "fr": outcomes(3000, 290), "it": outcomes(800, 160), "mt": outcomes(12, 6)}
>>> found = worst_segments(segments, merge(*segments.values()), "binary", ("", "yes"), "accuracy")
>>> [(w.segment, round(w.worse_by, 3), round(w.lower, 3)) for w in found]
[('it', 0.101, 0.064)]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import numpy as np
from scipy.special import ndtri

from detectors.performance import classification, layout
from detectors.performance.auc import roc_auc
from detectors.performance.calibration import understated
from detectors.performance.comparison import RELATIVE, Comparison, compare
from detectors.performance.fairness import holm
from detectors.performance.metric import WORSE, Metric, difference_error, drop_p_value, rate
from detectors.shares import rise_p_values

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

MIN_SUPPORT: Final = 100
"""Labels that a metric must rest on, in the segment and in its rest, to be judged: the normal approximations were measured
from 100 on, and an exact test on fewer finds only what is worse by tens of points while its turn in Holm's order costs all others."""
LEVEL: Final = 0.01
"""Probability of any false name a call: with ten-minute windows one in 17 hours, so a name alone is evidence, not an alert."""

K = TypeVar("K", bound="Hashable")


@dataclass(frozen=True, slots=True)
class WorseSegment(Generic[K]):
    """A segment that is worse than the rest of the traffic.

    `labels` are the segment's labelled outcomes, `current` and `rest` its metric and that of all others. `worse_by` is how much
    worse it is, `lower` the least that all bounds together vouch for, `p_value` that of this segment alone, `corrected` what
    remains of it among the `judged` segments.
    """

    segment: K
    labels: int
    current: Metric
    rest: Metric
    worse_by: float
    lower: float
    p_value: float
    corrected: float
    judged: int


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a test says of one segment: both metrics, p-value, how much worse, and the lower bound of that."""

    current: Metric
    rest: Metric
    p_value: float
    worse_by: float
    lower: float


def worst_segments(
    segments: Mapping[K, NDArray[np.int64]],
    total: NDArray[np.int64],
    task: str,
    classes: Sequence[str],
    metric: str,
    *,
    min_support: int = MIN_SUPPORT,
    level: float = LEVEL,
) -> list[WorseSegment[K]]:
    """Return the segments that are worse than the rest of the window by `metric`, surest loss first; often none.

    `segments` are the outcome vectors (`detectors.performance.layout`) of each segment, `total` that of all traffic, which
    contains them; segments may overlap. A segment is judged where the metric rests on `min_support` outcomes both in it and
    in its rest. Equal lower bounds are ordered by p-value, then by name.

    Raises:
        ValueError: the task has no such metric, a vector has the wrong length or holds more outcomes than `total`, the
            level is not in (0, 1), or `min_support` is below 1.
    """
    if not 0 < level < 1 or min_support < 1:
        message = f"a level between 0 and 1 and a support of 1 or more are needed, got {level} and {min_support}"
        raise ValueError(message)
    width = layout.width(task, len(classes))
    if len(total) != width or any(len(v) != width for v in segments.values()):
        message = f"outcome vectors of {task} with {len(classes)} classes have {width} counts; one has not"
        raise ValueError(message)
    if metric not in _known(task):
        message = f"no metric {metric!r} of a {task} task, which has {', '.join(_known(task))}"
        raise ValueError(message)
    if not segments:
        return []
    names = list(segments)
    matrix = np.stack([np.asarray(segments[name], np.int64) for name in names])
    if (matrix[:, layout.N] > total[layout.N]).any():
        message = "a segment holds more outcomes than all traffic: `total` must contain every segment"
        raise ValueError(message)
    others = total - matrix
    found = (
        _rates(matrix, others, metric, min_support, level)
        if metric == "accuracy" or (task == "binary" and metric in RATES)
        else _one_by_one(matrix, others, task, classes, metric, min_support, level)
    )
    at = sorted(found)
    corrected = holm([found[i].p_value for i in at]) if at else []
    listed = [
        WorseSegment(
            segment=names[i],
            labels=int(matrix[i, layout.N]),
            current=found[i].current,
            rest=found[i].rest,
            worse_by=found[i].worse_by,
            lower=found[i].lower,
            p_value=found[i].p_value,
            corrected=p,
            judged=len(at),
        )
        for i, p in zip(at, corrected, strict=True)
        if p <= level and found[i].worse_by > 0
    ]
    return sorted(listed, key=lambda w: (-w.lower, w.p_value, str(w.segment)))


RATES: Final = ("accuracy", "precision", "recall", "specificity", "f1")
"""Metrics that are judged for all segments at once; macro averages of a multiclass task are not among them."""


def _known(task: str) -> tuple[str, ...]:
    binary = (*RATES, "roc_auc", "pr_auc", "log_loss", "brier", "ece")
    numeric = tuple(name for name in WORSE if name not in binary)
    return {"binary": binary, "multiclass": ("accuracy", *classification.MACRO), "regression": numeric}[task]


def _rates(
    matrix: NDArray[np.int64], others: NDArray[np.int64], metric: str, min_support: int, level: float
) -> dict[int, _Judged]:
    """Judge all segments by a rate, int64[S, width] each; F1 by the rate that it rises with."""
    (hits, n), (rest_hits, rest_n) = _successes(matrix, metric), _successes(others, metric)
    at = np.flatnonzero((n >= min_support) & (rest_n >= min_support))
    if not len(at):
        return {}
    hits, n, rest_hits, rest_n = hits[at], n[at], rest_hits[at], rest_n[at]
    p_values = rise_p_values(rest_n - rest_hits, rest_n, n - hits, n)
    z = -float(ndtri(level / len(at)))
    shape = _f1 if metric == "f1" else _same
    highest, lowest = shape(_wilson(hits, n, z)), shape(_wilson(rest_hits, rest_n, -z))
    here, there = shape(hits / n), shape(rest_hits / rest_n)
    worse = there - here
    lower = np.maximum(0.0, worse - np.hypot(there - lowest, highest - here))
    of = _f1_of if metric == "f1" else rate
    return {
        int(i): _Judged(of(int(a), int(b)), of(int(c), int(d)), float(p), float(w), float(low))
        for i, a, b, c, d, p, w, low in zip(at, hits, n, rest_hits, rest_n, p_values, worse, lower, strict=True)
    }


def _successes(matrix: NDArray[np.int64], metric: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return successes and outcomes of a rate for each row, int64[S]; of F1, true positives among all but true negatives."""
    n, errors = matrix[:, layout.N], matrix[:, layout.ERRORS]
    if metric == "accuracy":
        return n - errors, n
    negatives, false_positives, false_negatives, positives = matrix[:, layout.CONFUSION : layout.CONFUSION + 4].T
    among = {
        "precision": false_positives + positives,
        "recall": false_negatives + positives,
        "specificity": negatives + false_positives,
        "f1": positives + false_positives + false_negatives,
    }[metric]
    return (negatives if metric == "specificity" else positives), among


def _wilson(hits: NDArray[np.int64], n: NDArray[np.int64], z: float) -> NDArray[np.float64]:
    """Return the end of Wilson's interval on z's side."""
    share = hits / n
    middle = share + z * z / (2 * n)
    found: NDArray[np.float64] = (middle + z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    return np.clip(found, 0.0, 1.0)


def _same(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return share


def _f1(jaccard: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * jaccard / (1 + jaccard)


def _f1_of(true_positives: int, n: int) -> Metric:
    return classification.f1_score(true_positives, n - true_positives)


def _one_by_one(
    matrix: NDArray[np.int64],
    others: NDArray[np.int64],
    task: str,
    classes: Sequence[str],
    metric: str,
    min_support: int,
    level: float,
) -> dict[int, _Judged]:
    """Judge segments by a metric that has no vectorised test."""
    enough = np.minimum(matrix[:, layout.N], others[:, layout.N]) >= min_support
    compared: dict[int, Comparison] = {}
    for i in np.flatnonzero(enough).tolist():
        both = _compared(others[i], matrix[i], task, classes, metric)
        if min(both.current.n, both.reference.n) >= min_support and both.worse_by is not None:
            compared[i] = both
    z = -float(ndtri(level / max(1, len(compared))))
    found = {}
    for i, both in compared.items():
        now, was, size = both.current, both.reference, both.worse_by
        change = abs((now.value or 0.0) - (was.value or 0.0))
        # `size` may be relative to the rest or not, its bound is in the same unit: the error of a ratio has the rest's in it
        # as often as the ratio says.
        ratio = now.value / was.value if metric in RELATIVE and was.value and now.value else 1.0
        error = difference_error((was.standard_error or math.inf) * ratio, was.n, now.standard_error or math.inf, now.n)
        owed = understated(others[i], matrix[i]) if metric == "ece" else 0.0
        surely = max(0.0, 1 - (z * error + owed) / change) if change else 0.0
        found[i] = _Judged(now, was, both.p_value, size or 0.0, max(0.0, (size or 0.0) * surely))
    return found


def _compared(
    rest: NDArray[np.int64], one: NDArray[np.int64], task: str, classes: Sequence[str], metric: str
) -> Comparison:
    """Compare one metric; the area under the curve without computing all others beside it."""
    if metric != "roc_auc":
        return compare(rest, one, task, classes, (metric,))[metric]
    was, now = (roc_auc(*layout.score_histograms(v)) for v in (rest, one))
    size = None if was.value is None or now.value is None else was.value - now.value
    return Comparison(was, now, drop_p_value(was, now, WORSE[metric]), size)
