"""Performance of a model from integer counters: what the outcome vector holds, the metrics it yields, and their comparison.

>>> import numpy as np
>>> from detectors.performance import count_classes, metrics
>>> actual = np.array([0, 0, 0, 1, 1, 1, 1, 1])
>>> predicted = np.array([0, 0, 1, 1, 1, 1, 1, 0])
>>> found = metrics(count_classes(actual, predicted, "binary", 2), "binary", ("", "fraud"))
>>> found["accuracy"].value, found["recall"].value, found["roc_auc"].value
(0.75, 0.8, None)
"""

from __future__ import annotations

from detectors.performance import layout
from detectors.performance.amounts import amount_metrics, count_amounts
from detectors.performance.calibration import Group, Reliability, reliability
from detectors.performance.comparison import Comparison, compare
from detectors.performance.costs import Cost, CostMatrix, cost
from detectors.performance.counting import count_outcomes
from detectors.performance.fairness import Difference, Fairness, differences
from detectors.performance.metric import WORSE, Metric, drop_p_value
from detectors.performance.outcomes import count_classes, count_errors, merge, reclassify
from detectors.performance.residuals import absolute_quantile, quantile_p_value, residual_quantile
from detectors.performance.summary import metrics

__all__ = [
    "WORSE",
    "Comparison",
    "Cost",
    "CostMatrix",
    "Difference",
    "Fairness",
    "Group",
    "Metric",
    "Reliability",
    "absolute_quantile",
    "amount_metrics",
    "compare",
    "cost",
    "count_amounts",
    "count_classes",
    "count_errors",
    "count_outcomes",
    "differences",
    "drop_p_value",
    "layout",
    "merge",
    "metrics",
    "quantile_p_value",
    "reclassify",
    "reliability",
    "residual_quantile",
]
