"""Segments in a reference: the same distributions over the same bins, from the rows of one group alone.

A window of a segment differs from all traffic as that segment always does, so it is compared with the reference's rows of the
same segment. Parts share everything that gives slots their meaning with the whole (`Reference.shape_hash`); each has counts,
outcomes and an ordinary variation of its own. What the table does not hold has no part: nothing is compared then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors.reference import build
from detectors.reference.columns import Column, as_texts
from detectors.reference.habits import ordinary_of
from detectors.reference.ordinary import Ordinary
from schemas.errors import ReferenceMismatch
from schemas.events import category_text
from schemas.identifiers import segment_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detectors.reference.reference import Reference
    from detectors.reference.subject import Subject

OTHER: Final = "other"
"""The value of everything that is not followed."""
MISSING: Final = "missing"
"""The value of an event that has none."""
LONGEST: Final = 256
"""Characters of a value that can be followed, as many as of a version: it stands in commits and in events."""
MOST_VALUES: Final = 50
"""Values of a definition that get a part, the most frequent first: the default of `segment_values` in monitor.yaml."""
_BLANKS = 64
"""References whose blank part is kept: as many versions as a group watches at a time."""


def value_text(value: object) -> str:
    """Return the text of a segment's value: of text, a boolean or a whole number; `MISSING` of all else, and of empty text."""
    if isinstance(value, str):
        return (value if len(value) <= LONGEST else OTHER) or MISSING
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        text = category_text(value)
        return text if len(text) <= LONGEST else OTHER
    return MISSING


@dataclass(frozen=True, slots=True)
class Sources:
    """The columns that a reference was made of: by feature, of the answers, and `times` in ms (float64[rows]) or None."""

    features: Sequence[Column]
    prediction: Column | None
    score: Column | None
    label: Column | None
    times: NDArray[np.float64] | None
    window_ms: int


def parts_of(
    whole: Reference,
    sources: Sources,
    columns: Mapping[str, Column],
    definitions: Sequence[str | Sequence[str]],
    most: int,
) -> dict[str, Reference]:
    """Return a reference for each segment of each definition, by its canonical text.

    The `most` most frequent values of a definition have one each, and so have `OTHER` and `MISSING` where rows fall there.

    Raises:
        ReferenceMismatch: a column does not exist, or a definition names one twice or none at all.
    """
    found: dict[str, Reference] = {}
    for definition in definitions:
        names = (definition,) if isinstance(definition, str) else tuple(definition)
        if not names or len(set(names)) < len(names):
            what = f"a segment cannot be made of {', '.join(map(repr, names)) or 'no column'}"
            raise ReferenceMismatch(what, "name each column once")
        for name in names:
            if name not in columns:
                what = f"the table has no column {name!r} to make segments of"
                raise ReferenceMismatch(what, f"it has {', '.join(map(repr, sorted(columns)[:10]))}")
        rows = list(zip(*(_texts(columns[name]) for name in names), strict=True))
        missing, other = (MISSING,) * len(names), (OTHER,) * len(names)
        counted = Counter(row for row in rows if MISSING not in row and OTHER not in row)
        followed = set(sorted(counted, key=lambda v: (-counted[v], v))[:most])
        value = [missing if MISSING in row else row if row in followed else other for row in rows]
        for one in dict.fromkeys(sorted(value)):
            at = np.array([i for i, v in enumerate(value) if v == one])
            found[segment_text(names, one)] = part(whole, sources, at)
    return found


def _texts(source: Column) -> list[str]:
    if source.values.dtype == np.float64 and source.kind != "boolean":
        return [value_text(v) for v in source.values.tolist()]
    if source.kind == "boolean":
        return [t or MISSING for t in as_texts(source)]
    return [value_text(v) for v in source.values.tolist()]


def part(whole: Reference, sources: Sources, rows: NDArray[np.int64]) -> Reference:
    """Return the reference of some rows (indices), in the bins of the whole."""
    columns = [Column(c.kind, c.values[rows]) for c in sources.features]
    truth, answer, probability = (
        None if c is None else Column(c.kind, c.values[rows])
        for c in (sources.label, sources.prediction, sources.score)
    )
    features = tuple(_counts(s, s.slots_of(c)) for s, c in zip(whole.features, columns, strict=True))
    prediction, score, label = (
        None if s is None or c is None else _counts(s, s.slots_of(c))
        for s, c in ((whole.prediction, answer), (whole.score, probability), (whole.label, truth))
    )
    times = None if sources.times is None else sources.times[rows]
    watched = [*columns, *(c for c in (answer, probability) if c is not None)]
    made = (*features, *(s for s in (prediction, score) if s is not None))
    return replace(
        whole,
        features=features,
        prediction=prediction,
        score=score,
        label=label,
        outcomes=build.outcomes_of(whole.task, whole.classes, truth, answer, probability),
        rows=len(rows),
        span=build.span_of(times),
        ordinary=None if times is None else ordinary_of(made, watched, times, sources.window_ms),
        scored=build.scored_of(whole.task, whole.classes, score, truth, answer, probability),
        segments={},
    )


@lru_cache(maxsize=_BLANKS)
def blank(whole: Reference) -> Reference:
    """Return the reference of a segment that the table did not hold: the same bins without a count, so that no test has data."""
    nothing = {"rows": 0, "span": None, "outcomes": None, "ordinary": None, "scored": None}
    zeros = [None if s is None else [0] * s.width for s in _all(whole)]
    return from_dict(whole, nothing | {"counts": zeros})


def to_dict(made: Reference) -> dict[str, Any]:
    """Return what a part has of its own, as JSON values."""
    return {
        "rows": made.rows,
        "span": None if made.span is None else list(made.span),
        "counts": [None if s is None else s.counts.tolist() for s in _all(made)],
        "outcomes": None if made.outcomes is None else made.outcomes.tolist(),
        "ordinary": None if made.ordinary is None else made.ordinary.to_dict(),
        "scored": None if made.scored is None else made.scored.tolist(),
    }


def from_dict(whole: Reference, content: dict[str, Any]) -> Reference:
    """Return the part whose `to_dict` this was; raises KeyError, TypeError or ValueError when it is none."""
    subjects = [
        None if s is None else _counts(s, np.array(c, np.int64))
        for s, c in zip(_all(whole), content["counts"], strict=True)
    ]
    n = len(whole.features)
    prediction, score, label = subjects[n:]
    features = tuple(s for s in subjects[:n] if s is not None)
    watched = features + tuple(s for s in (prediction, score) if s is not None)
    return replace(
        whole,
        features=features,
        prediction=prediction,
        score=score,
        label=label,
        outcomes=None if content["outcomes"] is None else np.array(content["outcomes"], np.int64),
        rows=content["rows"],
        span=None if content["span"] is None else (content["span"][0], content["span"][1]),
        ordinary=None if content["ordinary"] is None else Ordinary.from_dict(content["ordinary"], watched),
        scored=None if content["scored"] is None else np.array(content["scored"], np.int64),
        segments={},
    )


def _all(made: Reference) -> tuple[Subject | None, ...]:
    return (*made.features, made.prediction, made.score, made.label)


def _counts(subject: Subject, counts: NDArray[np.int64]) -> Subject:
    return replace(subject, counts=counts)
