"""Two outcome vectors side by side: which metrics got worse, by how much, and how sure that is.

Idea: each metric has the test that holds at its sample size, whatever the metric's own standard error says. Rates and F1:
Fisher's exact test. Quantiles of the residual: Fisher's exact test on the outcomes beyond the reference's quantile.
Means (log loss, Brier, mae, bias), areas, rmse and ece: normal approximation with the larger of both estimates of the
error, in the window and in the reference (`drop_p_value`). Macro averages: the same, over the classes with at least 20 outcomes
in both vectors: a class that was met twice says nothing, and weighs as much as any other in a macro average.

Guarantee: Fisher's test: P(p <= a) <= a for independent outcomes, at any n. The others, by simulation (30,000 windows of
100; a = 0.05 to 0.001; calibrated, over-confident scores; normal, t(4), integer errors; a reference of 20,000): at most
1.1 a, mostly half; macro F1 with rare classes up to 2 a at 0.001. The tests hold all of them to a at n = 30 and 200, and
ROC AUC, log loss, Brier and ece to 0.01 with a reference of 100 and 400 below windows of thousands.
Correlated outcomes break it, as they break every test here.

Cost: 1 ms for all metrics of a binary task, 0.5 ms multiclass, 1.3 ms regression (`python -m loadtest detectors`, cases
"performance: compare ..."); Fisher's test is most of it.
Merge: outcome vectors add up exactly (`merge`), then they are compared.
References: Fisher 1935, The Design of Experiments; those of the metrics stand with them.

>>> import numpy as np
>>> from detectors.performance import count_classes
>>> truth = np.arange(1000) % 2
>>> good = count_classes(truth, np.where(np.arange(1000) < 100, 1 - truth, truth), "binary", 2)
>>> poor = count_classes(truth[:200], np.where(np.arange(200) < 50, 1 - truth[:200], truth[:200]), "binary", 2)
>>> found = compare(good, poor, "binary", ("", "yes"))["accuracy"]
>>> found.reference.value, found.current.value, round(found.worse_by, 2), found.p_value < 1e-6
(0.9, 0.75, 0.15, True)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.performance import classification, layout
from detectors.performance.calibration import understated
from detectors.performance.metric import WORSE, Metric, drop_p_value
from detectors.performance.residuals import QUANTILES, quantile_p_value
from detectors.performance.summary import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_AREAS: Final = frozenset({"roc_auc", "pr_auc"})
LEAST_OF_CLASS: Final = 20
"""Outcomes of a class in both vectors from which it takes part in the test of a macro average: with fewer, the normal
approximation rejected up to 12 times too often at 0.001 (four classes, 1 % to 40 %)."""
RELATIVE: Final = frozenset({"log_loss", "brier", "mae", "rmse", "absolute_p50", "absolute_p95"})
"""Metrics whose unit says nothing by itself: a change is told as a share of the reference's value."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric in the reference and now, the p-value of "it is not worse", and how much worse it is.

    `worse_by` is the change towards the worse (negative: better): absolute for rates, areas and the ECE; relative to the
    reference for log loss, Brier and the sizes of errors; for bias and residual quantiles the size of the change as a
    share of the reference's mae; not divided where that is 0. None where either value is undefined.
    """

    reference: Metric
    current: Metric
    p_value: float
    worse_by: float | None


def compare(
    reference: NDArray[np.int64],
    current: NDArray[np.int64],
    task: str,
    classes: Sequence[str],
    names: Iterable[str] | None = None,
) -> dict[str, Comparison]:
    """Return the comparison of each metric in `names` (default: all of the task) of two outcome vectors.

    Raises:
        ValueError: a vector does not have the length of its task and classes, or the task has no such metric.
    """
    was, now = metrics(reference, task, classes), metrics(current, task, classes)
    chosen = tuple(was) if names is None else tuple(names)
    if unknown := [name for name in chosen if name not in was]:
        message = f"no metric {unknown[0]!r} of a {task} task, which has {', '.join(was)}"
        raise ValueError(message)
    scale = was["mae"].value if task == "regression" else None
    found = {}
    for name in chosen:
        if name in QUANTILES:
            p_value = quantile_p_value(reference, current, name)
        elif task == "multiclass" and name in classification.MACRO:
            p_value = _macro_p_value(reference, current, len(classes), name)
        elif name in _AREAS and layout.confusion(current, len(classes)).sum(axis=1).min() < LEAST_OF_CLASS:
            p_value = 1.0  # of two positives and three negatives, one order in ten is the worst there is
        elif name == "ece":
            p_value = drop_p_value(was[name], _less(now[name], understated(reference, current)), WORSE[name])
        else:
            p_value = drop_p_value(was[name], now[name], WORSE[name])
        found[name] = Comparison(
            was[name], now[name], p_value, _worse_by(name, was[name].value, now[name].value, scale)
        )
    return found


def _less(metric: Metric, by: float) -> Metric:
    return metric if metric.value is None or not by else replace(metric, value=metric.value - by)


def _worse_by(name: str, was: float | None, now: float | None, scale: float | None) -> float | None:
    if was is None or now is None:
        return None
    change = was - now if WORSE[name] == "lower" else now - was
    if name in RELATIVE:
        scale = was
    elif WORSE[name] == "apart":
        change = abs(change)
    else:
        return change
    return change / abs(scale) if scale else change


def _macro_p_value(reference: NDArray[np.int64], current: NDArray[np.int64], n_classes: int, name: str) -> float:
    was, now = layout.confusion(reference, n_classes), layout.confusion(current, n_classes)
    enough = np.minimum(classification.support(was, name), classification.support(now, name)) >= LEAST_OF_CLASS
    return drop_p_value(classification.macro(was, name, enough), classification.macro(now, name, enough), WORSE[name])
