"""Performance monitors: what a window's outcomes say against the reference's, by every metric that can be named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.performance import count_classes, count_errors
from detectors.reference import Reference
from schemas.config import ModelConfig
from schemas.errors import StateMismatch
from schemas.identifiers import StreamKey
from schemas.monitors import DEFAULT_METRICS, METRICS, Task
from streams.engine import performance_family
from streams.engine.alerts import Change
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.families import Book
from streams.engine.plan import Model, compile_plan
from streams.engine.shape import HEADER
from streams.engine.store import ARRIVALS
from streams.engine.task import Task as EngineTask
from streams.engine.windows import Window
from tests.engine.outcome_vectors import by_prediction
from tests.engine.watched import TIME, label, prediction
from tests.oracle import delays, outcomes

STREAM = StreamKey("loans", "v1", "champion")
SIZE = 600_000
Vector = NDArray[np.int64]


def reference(task: Task, vector: Vector, classes: tuple[str, ...]) -> Reference:
    table: dict[str, Any] = {"x": [1.0, 2.0, 3.0] * 100, "prediction": [1.0] * 300}
    if task == "binary":
        table["prediction"] = ["yes", "no", "no"] * 100
    if task == "multiclass":
        table["prediction"] = [c for c in classes if c != "other"] * 100 + ["other"] * (300 - 100 * (len(classes) - 1))
    built = Reference.build(table, task=task, positive_class="yes" if task == "binary" else None)
    assert built.classes == classes
    return replace(built, outcomes=vector)


def model(task: Task, known: Reference, metrics: list[str] | None = None) -> Model:
    said: dict[str, Any] = {"task": task, "reference": "unused.json"}
    if task == "binary":
        said["positive_class"] = "yes"
    if metrics is not None:
        said["monitors"] = [{"performance": metrics}]
    config = ModelConfig.model_validate(said)
    return compile_plan("predictions", {"loans": config}, {"loans": [known]}, 0).models[0]


def windows(watched: Model, known: Reference, vectors: list[Vector]) -> tuple[list[Change], list[dict[str, Any]]]:
    book, changes, records = Book(), list[Change](), list[dict[str, Any]]()
    for i, vector in enumerate(vectors):
        window = Window(TIME + i * SIZE, TIME + (i + 1) * SIZE, {STREAM: (known.shape_hash, by_prediction(vector))})
        window.references[STREAM] = known
        said, kept = performance_family.step(book, watched, window)
        changes += said
        records += kept
    return changes, records


def binary(rng: np.random.Generator, n: int, *, wrong: float = 0.0) -> Vector:
    """Calibrated scores; with ``wrong``, that share of the labels is turned round."""
    score = rng.random(n)
    actual = (rng.random(n) < score) ^ (rng.random(n) < wrong)
    return count_classes(actual.astype(np.int64), (score > 0.5).astype(np.int64), "binary", 2, score)


def errors(rng: np.random.Generator, n: int, *, wrong: float = 0.0) -> Vector:
    return count_errors(rng.normal(3 * wrong, 1 + 3 * wrong, n), np.zeros(n))


@pytest.mark.parametrize(("task", "make", "classes"), [("binary", binary, ("", "yes")), ("regression", errors, ())])
def test_every_metric_of_a_task_can_be_watched_and_opens_when_it_got_worse(
    task: Task, make: Callable[..., Vector], classes: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(1)
    known = reference(task, make(rng, 20_000), classes)
    watched = model(task, known, list(METRICS[task]))
    calm, records = windows(watched, known, [make(rng, 1000) for _ in range(4)])
    assert calm == []
    assert set(records[0]["metrics"]) == set(METRICS[task])
    assert records[0]["labels"] == 1000
    worse, _ = windows(watched, known, [make(rng, 1000, wrong=0.3) for _ in range(3)])
    assert {c.subject for c in worse if c.transition == "opened"} == set(METRICS[task])


def test_by_default_few_metrics_share_the_budget() -> None:
    rng = np.random.default_rng(2)
    known = reference("binary", binary(rng, 20_000), ("", "yes"))
    worse, records = windows(model("binary", known), known, [binary(rng, 1000, wrong=0.3) for _ in range(3)])
    assert {c.subject for c in worse} == set(DEFAULT_METRICS["binary"])
    assert set(records[0]["metrics"]) == set(METRICS["binary"])


def test_a_window_written_with_another_layout_is_refused() -> None:
    known = reference("binary", binary(np.random.default_rng(3), 1000), ("", "yes"))
    watched = model("binary", known)
    window = Window(TIME, TIME + SIZE, {STREAM: (known.shape_hash, np.zeros(HEADER + 2 * 206, np.int64))})
    with pytest.raises(StateMismatch, match="415 counters"):
        performance_family.step(Book(), watched, window)


def test_a_versions_reference_with_other_classes_is_read_by_their_names() -> None:
    rng = np.random.default_rng(4)

    def vector(n: int, classes: int, wrong: float) -> Vector:
        actual = rng.integers(0, 2, n)
        predicted = np.where(rng.random(n) < wrong, 1 - actual, actual)
        return count_classes(actual, predicted, "multiclass", classes)

    own = reference("multiclass", vector(5000, 3, 0.1), ("a", "b", "other"))
    versions = reference("multiclass", vector(5000, 4, 0.1), ("a", "b", "c", "other"))
    watched = model("multiclass", own)
    assert windows(watched, versions, [vector(1000, 3, 0.1) for _ in range(3)])[0] == []
    worse, _ = windows(watched, versions, [vector(1000, 3, 0.3) for _ in range(3)])
    found = [c.evidence.reference_value for c in worse if c.subject == "accuracy"]
    assert found == [pytest.approx(0.9, abs=0.02)]


def test_a_multiclass_model_that_knows_one_class_counts_no_scores() -> None:
    vector = count_classes(np.zeros(10, int), np.zeros(10, int), "multiclass", 2)
    known = reference("multiclass", vector, ("a", "other"))
    plan = compile_plan(
        "predictions",
        {"loans": ModelConfig.model_validate({"task": "multiclass", "reference": "unused.json"})},
        {"loans": [known]},
        0,
    )
    task = EngineTask(plan, "{task:t:0}", "predictions", "labels")
    said, was = ["a", "b", "a", "c"], ["a", "a", "d", "e"]
    answers = PredictionDecoder(plan, "predictions").decode(
        [prediction(prediction_id=f"p{i}", prediction=a, score=0.9, features={"x": 1.0}) for i, a in enumerate(said)]
    )
    truths = LabelDecoder(plan).decode(
        [label(prediction_id=f"p{i}", label=x) for i, x in enumerate(was)], np.full(4, TIME)
    )
    task.predictions(answers, 0, 4, np.arange(4), np.full(4, TIME))
    task.labels(truths, 0, 4, np.arange(4), np.full(4, TIME))
    [(_, counted)] = task.open[ARRIVALS].vectors(0, TIME)
    expected = [*outcomes.classes([0, 0, 1, 1], [0, 1, 0, 1], 2, None, binary=False), *delays.histogram([0] * 4)]
    assert expected == counted[HEADER:].tolist()
    assert not task.open[ARRIVALS].arena[len(counted) :].any()
