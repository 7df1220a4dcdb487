"""Labelled answers of every task are counted as the oracle counts them, whichever of answer and label came first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from detectors.performance.delays import DELAY_BINS
from schemas.events import category_text
from streams.engine.decode import LabelDecoder, PredictionDecoder
from streams.engine.shape import HEADER, NO_OFFSET
from streams.engine.store import ARRIVALS
from streams.engine.task import Task
from tests.engine.watched import TIME, label, plan, prediction
from tests.oracle import delays, outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMBERS = [0.0, -0.0, 1.5, -3.25, 1e-9, 2**20 + 0.1, 7e7, -1e300, 3]


def counted(
    task_name: str, answers: list[Any], labels: list[Any], *, labels_first: bool, names_model: bool = True
) -> tuple[list[int], list[int]]:
    """The header and the outcome vector that answers and labels, pair by pair, come to."""
    compiled = plan({"loans": task_name})
    task = Task(compiled, "{task:t:0}", "predictions", "labels")
    n = len(answers)
    offset, now = np.arange(n), np.full(n, TIME)
    predictions = PredictionDecoder(compiled, "predictions").decode(
        [prediction(prediction_id=f"p{i}", prediction=a, score=None, features={}) for i, a in enumerate(answers)]
    )
    model = {} if names_model else {"model": ...}
    truths = LabelDecoder(compiled).decode(
        [label(prediction_id=f"p{i}", label=x, **model) for i, x in enumerate(labels)], now
    )
    assert [] == predictions.rejected == truths.rejected

    def take_predictions() -> None:
        task.predictions(predictions, 0, n, offset, now)

    def take_labels() -> None:
        task.labels(truths, 0, n, offset, now)

    for take in (take_labels, take_predictions) if labels_first else (take_predictions, take_labels):
        take()
    assert {"applied": n} == {k: v for k, v in task.outcomes()["labels"].items() if v}
    [(_, vector)] = task.open[ARRIVALS].vectors(0, TIME)
    return _split(vector)


def _split(vector: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    counts, late = np.split(vector[HEADER:], [-DELAY_BINS])
    assert delays.histogram([0] * int(vector[0])) == late.tolist()  # every label has the time of its prediction
    return vector[:HEADER].tolist(), counts.tolist()


@pytest.mark.parametrize("labels_first", [True, False])
def test_a_regression_sums_its_errors_exactly(*, labels_first: bool) -> None:
    pairs = [(a, b) for a in NUMBERS for b in NUMBERS]
    answers, truths = [a for a, _ in pairs], [b for _, b in pairs]
    header, vector = counted("regression", answers, truths, labels_first=labels_first)
    assert header == [len(pairs), NO_OFFSET, -1]  # where labels stand in the log is in cells of its own
    assert outcomes.regression(answers, truths) == vector


def test_a_regression_without_an_answer_or_with_text_for_a_label_is_out_of_range() -> None:
    _, vector = counted("regression", [None, "much", 1.0], [1.0, 1.0, "much"], labels_first=False, names_model=False)
    assert vector == [3, 3] + [0] * 1036


@pytest.mark.parametrize("labels_first", [True, False])
def test_a_multiclass_answer_or_label_that_nobody_knows_is_of_the_last_class(*, labels_first: bool) -> None:
    said = ["a", "b", "c", "other", 1, True]
    pairs = [(a, b) for a in said for b in said]
    classes = ("a", "b", "other")

    def of(value: Any) -> int:  # noqa: ANN401  # JSON
        text = category_text(value)
        return classes.index(text) if text in classes else 2

    _, vector = counted("multiclass", [a for a, _ in pairs], [b for _, b in pairs], labels_first=labels_first)
    assert outcomes.classes([of(b) for _, b in pairs], [of(a) for a, _ in pairs], 3, None, binary=False) == vector
