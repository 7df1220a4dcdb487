"""From the columns of a table to the subjects, classes and outcomes of a reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, cast, get_args

import numpy as np

from detectors.performance import count_classes, count_errors
from detectors.reference.bins import equal_mass_edges
from detectors.reference.columns import Column, as_booleans, as_numbers, as_texts
from detectors.reference.subject import EXTRA_SLOTS, NUMERIC, Kind, Subject
from schemas.errors import ReferenceMismatch
from schemas.times import EARLIEST_MS, LATEST_MS, parse_time

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from detectors.reference.read import Table

MAX_FEATURES = 5_000
"""Features of one reference: with some 105 slots each, the panes of one stream then stay near 4 MiB."""
MAX_CATEGORIES = 200
"""Categories with a bin of their own."""
MAX_OTHERS = 10_000
"""Further categories that are known by name; what lies beyond counts as unseen, here and in every window."""
MAX_CLASSES = 200
"""Classes of a multiclass task: the confusion counts grow with the square."""
OTHER = "other"
"""The last class of a multiclass task: every answer and label that the reference does not know."""
RESERVED = frozenset(
    [
        "prediction_id",
        "model",
        "model_version",
        "event_time",
        "prediction",
        "score",
        "scores",
        "label",
        "latency_ms",
        "status",
        "variant",
        "request_id",
        "value",
        "segments",
        "entity_id",
        "feature_set",
        "computed_at",
        "features",
    ]
)
"""Fields of events (DESIGN section 3) that are no features when they stand beside features in a table."""


def subject(name: str, source: Column, kind: str, max_bins: int) -> Subject:
    """Return the distribution of a column as a subject of the given kind.

    Raises:
        ReferenceMismatch: no value of the column is of that kind.
    """
    edges, top, others = np.zeros(0), list[str](), list[str]()
    if kind in NUMERIC:
        numbers = as_numbers(source)[0]
        values = numbers[~np.isnan(numbers)]
        if not len(values):
            raise _no_values(name, kind, source)
        edges = equal_mass_edges(values, max_bins)
        if not np.isfinite(edges).all():
            what = f"column {name!r} goes up to {values.max()}, the largest number there is"
            raise ReferenceMismatch(what, "take out the placeholder, or leave the column out (ignore)")
    else:
        found = Counter(t for t in (as_booleans(source)[0] if kind == "boolean" else as_texts(source)) if t is not None)
        if not found:
            raise _no_values(name, kind, source)
        ranked = sorted(found, key=lambda text: (-found[text], text))
        top, others = ranked[:MAX_CATEGORIES], ranked[MAX_CATEGORIES : MAX_CATEGORIES + MAX_OTHERS]
        if kind == "boolean":
            top = ["false", "true"]
    empty = np.zeros((len(edges) - 1 if kind in NUMERIC else len(top)) + EXTRA_SLOTS, np.int64)
    blank = Subject(name, cast("Kind", kind), edges, tuple(top), tuple(others), empty)
    return replace(blank, counts=blank.slots_of(source))


def _no_values(name: str, kind: str, source: Column) -> ReferenceMismatch:
    why = "is empty" if source.kind == "empty" else f"has no value of type {kind}"
    return ReferenceMismatch(f"column {name!r} {why}", "leave it out (ignore), or give its type (types)")


def feature_columns(
    table: Table, features: Sequence[str] | None, ignore: Collection[str], taken: Collection[str]
) -> dict[str, Column]:
    """Return the columns that are features, in the order of the table or of `features`.

    A nested `features` object holds all of them where there is one; otherwise they are the columns that are neither
    reserved, `taken` (prediction, score, label, time) nor ignored.

    Raises:
        ReferenceMismatch: a named column is missing, none is left, or there are more than `MAX_FEATURES`.
    """
    found = table.nested
    if found is None:
        found = {n: c for n, c in table.columns.items() if n not in RESERVED and n not in taken}
    for name in (*(features or ()), *ignore):
        if name not in found and name not in table.columns:
            what = f"the table has no column {name!r}"
            raise ReferenceMismatch(what, f"it has {_listing(found)}")
    for name in features or ():
        if name not in found:
            what = f"column {name!r} has another meaning in events and is no feature"
            raise ReferenceMismatch(what, "rename it")
    chosen = {n: found[n] for n in (found if features is None else dict.fromkeys(features)) if n not in ignore}
    if not chosen:
        what = "the table has no feature columns"
        raise ReferenceMismatch(what, "add some, or ignore fewer")
    if len(chosen) > MAX_FEATURES:
        what = f"the table has {len(chosen)} feature columns, more than {MAX_FEATURES}"
        raise ReferenceMismatch(what, "name the ones to watch (features)")
    return chosen


def kind_of(name: str, source: Column, types: Mapping[str, str]) -> str:
    """Return the kind to use for a column: the one given in `types`, or what its values suggest.

    Raises:
        ReferenceMismatch: the given kind does not exist, or the values are of no usable type.
    """
    if name in types:
        if types[name] not in get_args(Kind):
            what = f"column {name!r} cannot have the type {types[name]!r}"
            raise ReferenceMismatch(what, f"use one of {', '.join(get_args(Kind))}")
        return types[name]
    if source.kind == "empty":
        raise _no_values(name, "", source)
    if source.kind not in get_args(Kind):
        what = f"column {name!r} holds values that are neither numbers, text nor booleans"
        raise ReferenceMismatch(what, "convert it, or leave it out (ignore)")
    return source.kind


def classes_of(task: str | None, positive_class: str | None, seen: Sequence[Subject | None]) -> tuple[str, ...]:
    """Return the classes in the order of the outcome vector, from the label and prediction distributions.

    binary: "" (everything else) and the positive class; multiclass: sorted, then "other"; () for other tasks.

    Raises:
        ReferenceMismatch: a binary task without a positive class, or with one that never occurs; too many classes.
    """
    names = {c for s in seen if s is not None for c in (*s.categories, *s.others)}
    if task == "binary":
        if positive_class is None:
            what = "a binary task needs its positive class"
            raise ReferenceMismatch(what, f"name one of {_listing(names)}")
        if names and positive_class not in names:
            what = f"the positive class {positive_class!r} does not occur in the table"
            raise ReferenceMismatch(what, f"name one of {_listing(names)}")
        return ("", positive_class)
    if task != "multiclass" or not names:
        return ()
    if len(names) > MAX_CLASSES:
        what = f"the table has {len(names)} classes, more than {MAX_CLASSES}"
        raise ReferenceMismatch(what, "merge the rare ones, or use task: regression for numbers")
    return (*sorted(names - {OTHER}), OTHER)


def _listing(names: Collection[str]) -> str:
    """Return the first names for an error's remedy."""
    listed = [repr(n) for n in sorted(names)[:10]]
    return ", ".join(listed) + (", ..." if len(names) > len(listed) else "") or "no column"


def outcomes_of(
    task: str | None, classes: Sequence[str], label: Column | None, prediction: Column | None, score: Column | None
) -> NDArray[np.int64] | None:
    """Return the outcome vector of the rows that have a label, None where the columns or the task are missing.

    As in the stream, a missing prediction is taken from the score (binary, at one half) and otherwise counts as class 0
    (binary) or "other". A regression counts the rows where
    both are numbers.
    """
    if task is None or label is None or (prediction is None and (task != "binary" or score is None)):
        return None
    if task == "regression":
        truth, answer = as_numbers(label)[0], as_numbers(cast("Column", prediction))[0]
        both = ~(np.isnan(truth) | np.isnan(answer))
        return count_errors(answer[both], truth[both])
    if not classes:
        return None
    actual, known = _truth(task, classes, label)
    predicted = _answers(task, classes, len(actual), prediction, score)
    scores = as_numbers(score)[0][known] if task == "binary" and score is not None else None
    return count_classes(actual[known], predicted[known], task, len(classes), scores)


def scored_of(
    task: str | None,
    classes: Sequence[str],
    made: Subject | None,
    label: Column | None,
    prediction: Column | None,
    score: Column | None,
) -> NDArray[np.int64] | None:
    """Return what answers and labels went with the scores (`Reference.scored`), by slot of the score's subject `made`.

    None where the task is not binary or the table has no score. A missing prediction is read as in `outcomes_of`.
    """
    if task != "binary" or made is None or score is None:
        return None
    slot = made.slot_of_each(score)
    predicted = _answers(task, classes, len(slot), prediction, score)
    rows = [predicted == 1]
    if label is None:
        rows += [np.zeros(len(slot), bool)] * 3
    else:
        actual, known = _truth(task, classes, label)
        rows += [known, known & (actual == 1), known & (actual != predicted)]
    return np.array([np.bincount(slot[row], minlength=made.width) for row in rows], np.int64)


def _truth(task: str, classes: Sequence[str], label: Column) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the class of each label, and which rows have one."""
    labels = as_texts(label)
    return _classes_of(task, classes, labels), np.array([t is not None for t in labels], bool)


def _answers(
    task: str, classes: Sequence[str], rows: int, prediction: Column | None, score: Column | None
) -> NDArray[np.int64]:
    """Return the class of each answer, taken from the score where a binary answer is missing and there is one."""
    answers: list[str | None] = [None] * rows if prediction is None else as_texts(prediction)
    predicted = _classes_of(task, classes, answers)
    if task != "binary" or score is None:
        return predicted
    scores = as_numbers(score)[0]
    by_score = np.array([t is None for t in answers], bool) & ~np.isnan(scores)
    return np.where(by_score, scores >= 0.5, predicted)  # noqa: PLR2004  # a score without an answer: one half decides


def _classes_of(task: str, classes: Sequence[str], texts: Sequence[str | None]) -> NDArray[np.int64]:
    """Return the class of each text; what is missing or unknown is class 0 (binary) or "other"."""
    index = {c: i for i, c in enumerate(classes)}
    default = 0 if task == "binary" else len(classes) - 1
    return np.array([default if t is None else index.get(t, default) for t in texts], np.int64)


def times_of(name: str, source: Column | None) -> NDArray[np.float64] | None:
    """Return the event time of every row in ms, NaN where it is missing; None without a column of times.

    Raises:
        ReferenceMismatch: a value is no time.
    """
    if source is None:
        return None
    if source.values.dtype == np.float64:
        wrong = ~np.isnan(source.values) & ~((source.values >= EARLIEST_MS) & (source.values < LATEST_MS))
        if not wrong.any():
            return source.values
    times = np.full(len(source.values), np.nan)
    for i, value in enumerate(source.values.tolist()):
        if value is None or value != value:  # noqa: PLR0124  # NaN
            continue
        try:
            whole = isinstance(value, float) and value.is_integer()
            times[i] = parse_time(int(cast("float", value)) if whole else cast("str", value))
        except (ValueError, TypeError) as error:
            what = f"column {name!r} holds {value!r}, which is no usable time"
            raise ReferenceMismatch(
                what, "give milliseconds since 1970 or RFC 3339 texts, or ignore the column"
            ) from error
    return times


def span_of(times: NDArray[np.float64] | None) -> tuple[int, int] | None:
    """Return the first and last of some event times in ms, None without any."""
    known = np.zeros(0) if times is None else times[~np.isnan(times)]
    return (int(known.min()), int(known.max())) if len(known) else None


def distributions(
    table: Table, task: str | None, prediction: str, score: str, label: str, max_bins: int
) -> tuple[Subject | None, Subject | None, Subject | None]:
    """Return the subjects of prediction, score and label, None for each that the table does not have.

    Answers and labels of a classification are categories whatever their type (1, 1.0 and "1" are one class).
    """
    made: list[Subject | None] = []
    for name, column_name in (("prediction", prediction), ("score", score), ("label", label)):
        source = table.columns.get(column_name)
        if source is None or source.kind == "empty":
            made.append(None)
            continue
        kind = "numeric" if name == "score" else kind_of(column_name, source, {})
        if name != "score" and task is not None:
            kind = "numeric" if task == "regression" else "categorical"
        made.append(subject(name, source, kind, max_bins))
    return made[0], made[1], made[2]
