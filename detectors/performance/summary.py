"""From an outcome vector to its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.performance import classification, layout
from detectors.performance.regression import regression

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detectors.performance.metric import Metric


def metrics(vector: NDArray[np.int64], task: str, classes: Sequence[str]) -> dict[str, Metric]:
    """Return every metric that an outcome vector (`detectors.performance.layout`) yields for its task.

    binary: accuracy, precision, recall, f1, specificity, roc_auc, pr_auc, log_loss, brier, ece. multiclass: accuracy
    and macro precision, recall, f1 over `classes`. regression: mae, rmse, bias, residual_p05, residual_p50,
    residual_p95, absolute_p50, absolute_p95. A metric that the outcomes do not define has the value None.

    Raises:
        ValueError: the vector does not have the length of its task and classes.
    """
    if len(vector) != layout.width(task, len(classes)):
        message = f"an outcome vector of {task} with {len(classes)} classes has another length than {len(vector)}"
        raise ValueError(message)
    if task == "regression":
        return regression(vector)
    return classification.binary(vector) if task == "binary" else classification.multiclass(vector, len(classes))
