"""Performance of a model from integer counters: what the outcome vector holds, and the metrics it yields.

>>> import numpy as np
>>> from detectors.performance import count_classes, metrics
>>> actual = np.array([0, 0, 0, 1, 1, 1, 1, 1])
>>> predicted = np.array([0, 0, 1, 1, 1, 1, 1, 0])
>>> found = metrics(count_classes(actual, predicted, "binary", 2), "binary", ("", "fraud"))
>>> found["accuracy"].value, found["recall"].value, found["roc_auc"].value
(0.75, 0.8, None)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.performance import classification, layout
from detectors.performance.metric import WORSE, Metric, drop_p_value
from detectors.performance.outcomes import count_classes, count_errors
from detectors.performance.regression import regression

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WORSE", "Metric", "count_classes", "count_errors", "drop_p_value", "layout", "metrics"]


def metrics(vector: NDArray[np.int64], task: str, classes: Sequence[str]) -> dict[str, Metric]:
    """Return every metric that an outcome vector (`detectors.performance.layout`) yields for its task.

    binary: accuracy, precision, recall, f1, roc_auc. multiclass: accuracy and macro precision, recall, f1 over
    `classes`. regression: mae, rmse, bias. A metric that the outcomes do not define has the value None.

    Raises:
        ValueError: the vector does not have the length of its task and classes.
    """
    if len(vector) != layout.width(task, len(classes)):
        message = f"an outcome vector of {task} with {len(classes)} classes has another length than {len(vector)}"
        raise ValueError(message)
    if task == "regression":
        return regression(vector)
    return classification.binary(vector) if task == "binary" else classification.multiclass(vector, len(classes))
