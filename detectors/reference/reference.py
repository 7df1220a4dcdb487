"""A reference: what a model saw and answered when it was known to be right, in frozen bins.

Built once from a table, stored as JSON (`Reference.to_json`) and addressed by its content. Version 1, version 2 when there is
an ordinary variation (`detectors.reference.ordinary`), version 3 when it holds what answers and labels went with each
score (`scored`), and version 4 with segments; all are read. Size on disk: about 3 KiB a numeric feature, and the size of its
habit; a segment adds 0.3 KiB and its habit. Everything that a window is compared with is in here; no row is kept.

>>> reference = Reference.build({"amount": [1.0, 2.0, 3.0, 4.0] * 50, "country": ["de", "fr"] * 100})
>>> [(s.name, s.kind, s.bins, s.n) for s in reference.subjects]
[('amount', 'numeric', 4, 200), ('country', 'categorical', 2, 200)]
>>> Reference.from_json(reference.to_json()) == reference
True
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import orjson

from detectors.performance import layout
from detectors.reference import build as parts
from detectors.reference import segments as pieces
from detectors.reference.habits import DEFAULT_WINDOW_MS, ordinary_of
from detectors.reference.ordinary import Ordinary
from detectors.reference.read import read_table
from detectors.reference.subject import Subject
from schemas.errors import ConfigError, ReferenceMismatch, ReferenceNewer
from schemas.events import category_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Task = Literal["binary", "multiclass", "regression"]
"""What a model does."""
FORMAT = "driftline-reference"
"""What `format` says in the JSON."""
VERSIONS = (1, 2, 3, 4)
"""The versions of the JSON that are read: plain, with an ordinary variation, with `scored`, with segments."""
SCORED = 4
"""Rows of `Reference.scored`."""
_TASKS = ("binary", "multiclass", "regression")


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Distributions of features, prediction, score and label, and the outcomes that came with them.

    `features` are in the order of the table; `prediction`, `score`, `label` are None where the table had none.
    `classes` is the order of the outcome vector (binary: "" and the positive class; multiclass: sorted, then "other";
    otherwise empty). `outcomes` is int64[...] (`detectors.performance.layout`) or None. `rows` counts the table's rows,
    `span` is its first and last event time in ms or None. `ordinary` is what the subjects do in its own windows, None where
    it has no times or too few rows for them. `scored`, of a binary task with scores and answers, is int64[4, score.width]: by
    slot of the score, the rows answered with the positive class, those with a label, those whose label is the positive
    class, and those whose answer was wrong; None otherwise, and in references made before there was one. `segments` are the
    parts of the same table by canonical text (`detectors.reference.segments`), empty where none were asked for. `content_hash`
    names all of it, `shape_hash` only what gives slots their meaning (names, kinds, edges, categories of `subjects`).
    Equal are references with the same content.
    """

    features: tuple[Subject, ...]
    prediction: Subject | None
    score: Subject | None
    label: Subject | None
    task: Task | None
    positive_class: str | None
    classes: tuple[str, ...]
    outcomes: NDArray[np.int64] | None
    rows: int
    span: tuple[int, int] | None
    ordinary: Ordinary | None = None
    scored: NDArray[np.int64] | None = None
    segments: Mapping[str, Reference] = field(default_factory=dict)
    content_hash: str = field(init=False)
    shape_hash: str = field(init=False)

    def __post_init__(self) -> None:
        """Check the lengths and name the content."""
        if self.ordinary is not None and len(self.ordinary.subjects) != len(self.subjects):
            message = (
                f"an ordinary variation of {len(self.ordinary.subjects)} subjects does not fit {len(self.subjects)}"
            )
            raise ValueError(message)
        if self.outcomes is not None:
            outcomes = np.array(self.outcomes, np.int64)
            if self.task is None or len(outcomes) != layout.width(self.task, len(self.classes)):
                message = f"{len(outcomes)} outcome counts do not fit the task {self.task}"
                raise ValueError(message)
            outcomes.flags.writeable = False
            object.__setattr__(self, "outcomes", outcomes)
        if self.scored is not None:
            scored = np.array(self.scored, np.int64)
            if self.score is None or scored.shape != (SCORED, self.score.width) or scored.min() < 0:
                message = f"counts of shape {scored.shape} by score do not fit the score's slots, or one is negative"
                raise ValueError(message)
            scored.flags.writeable = False
            object.__setattr__(self, "scored", scored)
        object.__setattr__(self, "content_hash", _hash(self._content()))
        object.__setattr__(self, "shape_hash", _hash([s.shape() for s in self.subjects]))

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same content."""
        return isinstance(other, Reference) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        """Return a hash of the content."""
        return hash(self.content_hash)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What panes count: the features, then prediction and score where they exist."""
        return self.features + tuple(s for s in (self.prediction, self.score) if s is not None)

    @classmethod
    def build(  # noqa: PLR0913  # what a table's columns mean is twelve questions, each with a default
        cls,
        table: object,
        *,
        task: Task | None = None,
        positive_class: str | bool | float | None = None,
        features: Sequence[str] | None = None,
        ignore: Sequence[str] = (),
        types: Mapping[str, str] | None = None,
        prediction: str = "prediction",
        score: str = "score",
        label: str = "label",
        event_time: str = "event_time",
        max_bins: int = 100,
        window_ms: int | None = None,
        segments: Sequence[str | Sequence[str]] = (),
        segment_values: int = pieces.MOST_VALUES,
    ) -> Reference:
        """Build a reference from a table.

        `table` is a mapping of column to values, a polars DataFrame, a pyarrow Table, or the path of a .csv, .csv.gz,
        .parquet, .jsonl or .jsonl.gz file; a nested `features` object is flattened and then holds all features.
        `features` names them instead, `ignore` leaves some out, `types` overrides what the values suggest (numeric,
        integer, categorical, boolean). The four column names may differ from those of events. A table without times
        has no `span`; outcomes are counted when there are a label and a prediction (or a score, if binary).

        `segments` are column names, or lists of them for combinations: each of the `segment_values` most frequent values gets a
        part of its own (`detectors.reference.segments`).

        With times, and at least 50 rows in at least 50 windows of `window_ms` (default: 10 minutes, that of `windows.size`),
        the reference learns the ordinary variation of such windows. It should be the length of the model's windows.

        Raises:
            ReferenceMismatch: the table is empty, has no feature, lacks a named column, or exceeds a limit.
            ConfigError: the file cannot be read, or `table` holds no table.
        """
        if task is not None and task not in _TASKS:
            what = f"there is no task {task!r}"
            raise ReferenceMismatch(what, f"use one of {', '.join(_TASKS)}")
        if max_bins < 1:
            what = f"a reference cannot have {max_bins} bins"
            raise ReferenceMismatch(what, "use 1 or more, or leave max_bins out")
        if window_ms is not None and window_ms < 1:
            what = f"a reference cannot be cut into windows of {window_ms} ms"
            raise ReferenceMismatch(what, "use the length of the model's windows, or leave window_ms out")
        source = read_table(table)
        if not source.rows:
            what = "the table has no rows"
            raise ReferenceMismatch(what, "build the reference from a table with data")
        taken = {"prediction": prediction, "score": score, "label": label, "event_time": event_time}
        for role, name in taken.items():
            if name != role and name not in source.columns:
                what = f"the table has no column {name!r} for the {role}"
                raise ReferenceMismatch(what, "check the column's name")
        chosen = parts.feature_columns(source, features, ignore, set(taken.values()))
        for name in types or {}:
            if name not in chosen:
                what = f"a type is given for {name!r}, which is no feature"
                raise ReferenceMismatch(what, "check the column's name")
        made = tuple(parts.subject(n, c, parts.kind_of(n, c, types or {}), max_bins) for n, c in chosen.items())
        answers, scores, labels = parts.distributions(source, task, prediction, score, label, max_bins)
        positive = None if positive_class is None else category_text(positive_class)
        classes = parts.classes_of(task, positive, (answers, labels))
        truth, answer, probability = (
            None if s is None else source.columns[n]
            for n, s in ((label, labels), (prediction, answers), (score, scores))
        )
        times = parts.times_of(event_time, source.columns.get(event_time))
        watched = [(s, source.columns[n]) for n, s in ((prediction, answers), (score, scores)) if s is not None]
        length = DEFAULT_WINDOW_MS if window_ms is None else window_ms
        whole = cls(
            features=made,
            prediction=answers,
            score=scores,
            label=labels,
            task=task,
            positive_class=positive,
            classes=classes,
            outcomes=parts.outcomes_of(task, classes, truth, answer, probability),
            rows=source.rows,
            span=parts.span_of(times),
            ordinary=None
            if times is None
            else ordinary_of(
                (*made, *(s for s, _ in watched)),
                (*chosen.values(), *(c for _, c in watched)),
                times,
                length,
            ),
            scored=parts.scored_of(task, classes, scores, truth, answer, probability),
        )
        if not segments:
            return whole
        columns = {**source.columns, **(source.nested or {})}
        made_of = pieces.Sources(tuple(chosen.values()), answer, probability, truth, times, length)
        return replace(whole, segments=pieces.parts_of(whole, made_of, columns, segments, segment_values))

    def of_segment(self, segment: str) -> Reference:
        """Return the reference of a segment; one without a count where the table did not hold it. "" is all traffic."""
        if not segment:
            return self
        return self.segments.get(segment) or pieces.blank(self)

    def _content(self) -> dict[str, Any]:
        one = {name: getattr(self, name) for name in ("prediction", "score", "label")}
        return {
            "format": FORMAT,
            "version": VERSIONS[3 if self.segments else 2 if self.scored is not None else self.ordinary is not None],
            "task": self.task,
            "positive_class": self.positive_class,
            "classes": list(self.classes),
            "outcomes": None if self.outcomes is None else self.outcomes.tolist(),
            "rows": self.rows,
            "span": None if self.span is None else list(self.span),
            "features": [s.to_dict() for s in self.features],
            **{name: None if s is None else s.to_dict() for name, s in one.items()},
            **({} if self.ordinary is None else {"ordinary": self.ordinary.to_dict()}),
            **({} if self.scored is None else {"scored": self.scored.tolist()}),
            **({"segments": {k: pieces.to_dict(v) for k, v in self.segments.items()}} if self.segments else {}),
        }

    def to_json(self) -> bytes:
        """Return the reference as JSON; the same content gives the same bytes, and every edge reads back exactly."""
        return orjson.dumps({**self._content(), "content_hash": self.content_hash}, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> Reference:
        """Return the reference that `to_json` wrote.

        Raises:
            ConfigError: the bytes are no reference.
            ReferenceNewer: a newer driftline wrote it.
            ReferenceMismatch: its content is not what its hash says.
        """
        try:
            content = orjson.loads(data)
        except ValueError:
            content = None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            what = "this is not a driftline reference"
            raise ConfigError(what, "make one with `driftline reference build`")
        version = content.get("version")
        if version not in VERSIONS:
            what = f"the reference has version {version}, this driftline reads up to {VERSIONS[-1]}"
            raise ReferenceNewer(what, "upgrade driftline, or build the reference again")
        try:
            counted, task = content["outcomes"], content["task"]
            if counted is not None and len(counted) != layout.width(task, len(content["classes"])):
                what = f"the reference holds {len(counted)} outcome counts, this driftline keeps others for {task}"
                raise ReferenceMismatch(what, "build it again: another version of driftline made it")
            features = tuple(Subject.from_dict(s) for s in content["features"])
            prediction, score = _subject(content["prediction"]), _subject(content["score"])
            subjects = features + tuple(s for s in (prediction, score) if s is not None)
            reference = cls(
                features=features,
                prediction=prediction,
                score=score,
                label=_subject(content["label"]),
                task=cast("Task | None", content["task"]),
                positive_class=content["positive_class"],
                classes=tuple(content["classes"]),
                outcomes=None if content["outcomes"] is None else np.array(content["outcomes"], np.int64),
                rows=content["rows"],
                span=None if content["span"] is None else (content["span"][0], content["span"][1]),
                ordinary=None if "ordinary" not in content else Ordinary.from_dict(content["ordinary"], subjects),
                scored=None if "scored" not in content else np.array(content["scored"], np.int64),
            )
            if "segments" in content:
                found = {str(k): pieces.from_dict(reference, v) for k, v in content["segments"].items()}
                reference = replace(reference, segments=found)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            what = f"the reference is damaged ({type(error).__name__}: {error})"
            raise ConfigError(what, "build it again, or restore the file") from error
        if reference.content_hash != content.get("content_hash"):
            what = f"the reference's content is {reference.content_hash}, its hash says {content.get('content_hash')}"
            raise ReferenceMismatch(what, "it was edited or damaged: build it again, or restore the file")
        return reference

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            Path(path).write_bytes(self.to_json())
        except OSError as error:
            what = f"the reference cannot be written to {path}: {error.strerror}"
            raise ConfigError(what, "check the path and its permissions") from error

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read a reference from a file; errors as `from_json`, and ConfigError when the file cannot be read."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            what = f"the reference {path} cannot be read: {error.strerror}"
            raise ConfigError(what, "make it with `driftline reference build`, or correct the path") from error
        try:
            return cls.from_json(data)
        except (ConfigError, ReferenceMismatch) as error:
            what = f"{path}: {error.what}"
            raise type(error)(what, error.remedy) from error


def _subject(content: dict[str, Any] | None) -> Subject | None:
    return None if content is None else Subject.from_dict(content)


def _hash(content: object) -> str:
    """Return the first 16 bytes of SHA-256 over canonical JSON, as 32 hex digits."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
