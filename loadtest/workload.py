"""The traffic of the load tests: one binary model, 20 numeric features, and what must come out of it, known beforehand.

An event is about 545 bytes of JSON, unique in every field, stamped every 10 ms of event time: 400,000 of them span 67 panes of
a minute and 7 windows of ten. Numbers have four decimals, so that text and float64 name the same value. Nothing drifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import orjson

from detectors.performance import count_classes
from detectors.performance.delays import DELAY_BINS, delay_edges
from detectors.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from detectors.reference import Subject

MODEL, VERSION, POSITIVE, NEGATIVE = "fraud", "v7", "fraud", "genuine"
FEATURES = tuple(f"feature_{i}" for i in range(20))
BEGIN_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
STEP_MS = 10
"""100 events a second of event time: every partition then works on several panes at once, as a worker that catches up does."""
PANE_MS = 60_000
LABEL_DELAY_MS = 300_000
"""A label follows five minutes later: five panes, well inside maturity and horizon."""
_POSITIVE_SHARE, _THRESHOLD = 0.3, 0.5
_REFERENCE_SEED, _REFERENCE_ROWS = 1, 20_000

Record = tuple[str, int, bytes]
"""(key, record time in ms, value)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """n cases: ``features`` float64[n, 20], ``score`` float64[n], ``answer``/``truth``/``labelled`` bool[n], ``time`` int64[n]."""

    features: NDArray[np.float64]
    score: NDArray[np.float64]
    answer: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    time: NDArray[np.int64]

    @property
    def labels(self) -> int:
        """How many of them get a label."""
        return int(self.labelled.sum())


@dataclass(frozen=True, slots=True)
class Truth:
    """What a run must answer: ``panes`` start -> (rows, counts of all slots); ``outcomes`` the block of all labels."""

    predictions: int
    labels: int
    panes: dict[int, tuple[int, list[int]]]
    outcomes: list[int]


def rows(n: int, label_share: float, seed: int, step_ms: int = STEP_MS) -> Rows:
    """Make n cases from a seed; ``label_share`` of them get a label."""
    rng = np.random.default_rng(seed)
    draw = (
        lambda: rng.normal(0, 1, n),
        lambda: rng.lognormal(0, 1, n),
        lambda: rng.exponential(10, n),
        lambda: rng.uniform(-100, 100, n),
    )
    features = np.column_stack([draw[i % len(draw)]() for i in range(len(FEATURES))]).round(4)
    truth = rng.random(n) < _POSITIVE_SHARE
    score = np.clip(np.where(truth, 0.7, 0.3) + rng.normal(0, 0.2, n), 0, 1).round(4)
    labelled = rng.random(n) < label_share
    time = BEGIN_MS + step_ms * np.arange(n, dtype=np.int64)
    return Rows(features, score, score >= _THRESHOLD, truth, labelled, time)


def reference() -> Reference:
    """The model's reference: other rows of the same distributions."""
    made = rows(_REFERENCE_ROWS, 1.0, _REFERENCE_SEED)
    table: dict[str, object] = {name: made.features[:, i] for i, name in enumerate(FEATURES)}
    table |= {"score": made.score, "prediction": _names(made.answer), "label": _names(made.truth)}
    return Reference.build(table, task="binary", positive_class=POSITIVE)


def predictions(made: Rows) -> Iterator[Record]:
    """The prediction events, in order of time."""
    answers, scores, times = _names(made.answer).tolist(), made.score.tolist(), made.time.tolist()
    for i, values in enumerate(made.features.tolist()):
        name = _id(i)
        event = {
            "prediction_id": name,
            "model": MODEL,
            "model_version": VERSION,
            "event_time": times[i],
            "features": dict(zip(FEATURES, values, strict=True)),
            "prediction": answers[i],
            "score": scores[i],
        }
        yield name, times[i], orjson.dumps(event)


def labels(made: Rows) -> Iterator[Record]:
    """The labels, in order of time."""
    truths = _names(made.truth).tolist()
    for i in np.flatnonzero(made.labelled).tolist():
        at = int(made.time[i]) + LABEL_DELAY_MS
        yield _id(i), at, orjson.dumps({"prediction_id": _id(i), "label": truths[i], "event_time": at})


def truth_of(made: Rows, against: Reference) -> Truth:
    """Count what driftline must count: with numpy the slots of every subject by pane, and the outcomes of the labels."""
    columns = {name: made.features[:, i] for i, name in enumerate(FEATURES)} | {"score": made.score}
    pane = made.time // PANE_MS * PANE_MS
    starts, which = np.unique(pane, return_inverse=True)
    counts = [
        _counts(_slots(subject, columns.get(subject.name), made.answer), which, len(starts), subject.width)
        for subject in against.subjects
    ]
    table = np.concatenate(counts, axis=1)
    rows_of = np.bincount(which)
    panes = {at: (int(rows_of[i]), table[i].tolist()) for i, at in enumerate(starts.tolist())}
    return Truth(len(pane), made.labels, panes, _outcomes(made))


def _slots(subject: Subject, values: NDArray[np.float64] | None, answer: NDArray[np.bool_]) -> NDArray[np.int64]:
    if values is None:  # the prediction, the one categorical subject
        code = [subject.categories.index(name) for name in (NEGATIVE, POSITIVE)]
        return np.where(answer, code[1], code[0])
    return np.searchsorted(subject.edges, values, side="right").astype(np.int64)


def _counts(slot: NDArray[np.int64], which: NDArray[np.int64], panes: int, width: int) -> NDArray[np.int64]:
    return np.bincount(which * width + slot, minlength=panes * width).reshape(panes, width)


def _outcomes(made: Rows) -> list[int]:
    """The block of the labelled rows (outcome vector, delays), counted in one go as a reference counts (a test joins one by one)."""
    mine = made.labelled
    actual, predicted = made.truth[mine].astype(np.int64), made.answer[mine].astype(np.int64)
    delays = np.zeros(DELAY_BINS, np.int64)
    delays[np.searchsorted(delay_edges(), LABEL_DELAY_MS, side="right") - 1] = made.labels
    found: list[int] = [*count_classes(actual, predicted, "binary", 2, made.score[mine]).tolist(), *delays.tolist()]
    return found


def _names(answer: NDArray[np.bool_]) -> NDArray[np.str_]:
    return np.where(answer, POSITIVE, NEGATIVE)


def _id(i: int) -> str:
    return f"{i:012d}"
