"""The `monitors` of a model: what is watched, and what is watched when nothing is said."""

from functools import cache
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from schemas.settings import Strict, not_empty

Task = Literal["binary", "multiclass", "regression"]
"""What kind of answer a model gives."""

DriftSubject = Literal["features", "prediction", "score"]
PerformanceMetric = Literal[
    "accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "specificity",
    "pr_auc",
    "log_loss",
    "brier",
    "ece",
    "mae",
    "rmse",
    "bias",
    "residual_p05",
    "residual_p50",
    "residual_p95",
    "absolute_p50",
    "absolute_p95",
]
SequentialMetric = Literal["error_rate"]
QualitySubject = Literal["features"]
ServiceSubject = Literal["no_data"]
LabelSubject = Literal["rate", "delay", "class_balance"]
ProxySubject = Literal["low_confidence", "estimated_error_rate", "calibration"]
PROXIES: Final[tuple[ProxySubject, ...]] = ("low_confidence", "estimated_error_rate", "calibration")
"""What stands in for performance until the labels are in; in the order it is shown."""

METRICS: Final[dict[Task, tuple[PerformanceMetric, ...]]] = {
    "binary": (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "specificity",
        "pr_auc",
        "log_loss",
        "brier",
        "ece",
    ),
    "multiclass": ("accuracy", "precision", "recall", "f1"),
    "regression": (
        "mae",
        "rmse",
        "bias",
        "residual_p05",
        "residual_p50",
        "residual_p95",
        "absolute_p50",
        "absolute_p95",
    ),
}
"""The performance metrics that a task has, in the order they are shown."""

DEFAULT_METRICS: Final[dict[Task, tuple[PerformanceMetric, ...]]] = {
    "binary": ("accuracy", "precision", "recall", "f1", "roc_auc"),
    "multiclass": ("accuracy", "precision", "recall", "f1"),
    "regression": ("mae", "rmse"),
}
"""Those that are watched when nothing is said. The budget is shared: each further one makes all of them slower to alert."""

SEQUENTIAL_TASKS: Final[frozenset[Task]] = frozenset({"binary", "multiclass"})
"""Tasks whose outcomes are right or wrong, so that there is an error rate to watch."""
PROXY_TASKS: Final[frozenset[Task]] = frozenset({"binary"})
"""Tasks whose events say how sure the model is (`score`)."""
CLASS_TASKS: Final[frozenset[Task]] = frozenset({"binary", "multiclass"})
"""Tasks whose labels are classes, so that there is a balance of them."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Monitor(Strict):
    """One entry of `monitors`: exactly one family, and which of its subjects or metrics."""

    drift: Annotated[tuple[DriftSubject, ...], BeforeValidator(_as_list), AfterValidator(not_empty)] | None = None
    """Compare the distribution of these with the reference."""
    quality: QualitySubject | None = None
    """Look for missing values, wrong types, unseen categories, values out of range and constant features."""
    performance: (
        Annotated[tuple[PerformanceMetric, ...], BeforeValidator(_as_list), AfterValidator(not_empty)] | None
    ) = None
    """Compute these over each window of labelled predictions."""
    sequential: SequentialMetric | None = None
    """Watch this from outcome to outcome."""
    proxy: Annotated[tuple[ProxySubject, ...], BeforeValidator(_as_list), AfterValidator(not_empty)] | None = None
    """Watch these until the labels are in: what scores alone, and the first labels, say about performance."""
    service: Annotated[tuple[ServiceSubject, ...], BeforeValidator(_as_list), AfterValidator(not_empty)] | None = None
    """Watch the stream of predictions: whether it falls silent."""
    labels: Annotated[tuple[LabelSubject, ...], BeforeValidator(_as_list), AfterValidator(not_empty)] | None = None
    """Watch the stream of labels: how many come, how late, and of which classes."""

    @model_validator(mode="after")
    def _one_family(self) -> "Monitor":
        families = (self.drift, self.quality, self.performance, self.sequential, self.proxy, self.service, self.labels)
        if sum(part is not None for part in families) != 1:
            message = "one of drift, quality, performance, sequential, proxy, service, labels in each entry"
            raise ValueError(message)
        return self


@cache
def default_monitors(task: Task) -> tuple[Monitor, ...]:
    """Return what is watched when a model says nothing: everything that its reference and its labels allow."""
    monitors = [
        Monitor(drift=("features", "prediction", "score")),
        Monitor(quality="features"),
        Monitor(performance=DEFAULT_METRICS[task]),
    ]
    if task in SEQUENTIAL_TASKS:
        monitors.append(Monitor(sequential="error_rate"))
    if task in PROXY_TASKS:
        monitors.append(Monitor(proxy=PROXIES))
    monitors.append(Monitor(service=("no_data",)))
    monitors.append(Monitor(labels=("rate", "delay", "class_balance") if task in CLASS_TASKS else ("rate", "delay")))
    return tuple(monitors)


def check_monitors(monitors: tuple[Monitor, ...], task: Task) -> None:
    """Refuse what `task` cannot have.

    Raises:
        ValueError: a metric that the task does not have; the message says what it may have.
    """
    if not monitors:
        message = "at least one monitor, or no `monitors` at all for the default ones"
        raise ValueError(message)
    metrics = {metric for monitor in monitors for metric in monitor.performance or ()}
    if not metrics <= set(METRICS[task]):
        message = f"for task {task} the performance metrics {', '.join(METRICS[task])}"
        raise ValueError(message)
    if task not in SEQUENTIAL_TASKS and any(monitor.sequential for monitor in monitors):
        message = f"for task {task} no sequential monitor: it has no error rate"
        raise ValueError(message)
    if task not in PROXY_TASKS and any(monitor.proxy for monitor in monitors):
        message = f"for task {task} no proxy monitor: its events have no score of a positive class"
        raise ValueError(message)
    if task not in CLASS_TASKS and any("class_balance" in (monitor.labels or ()) for monitor in monitors):
        message = f"for task {task} no class_balance: its labels are no classes"
        raise ValueError(message)
