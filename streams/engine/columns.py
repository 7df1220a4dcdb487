"""What a decoder hands to the fold: one batch of records as columns. Two decoders, one result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from schemas.errors import DeadLetterReason

NO_MODEL, UNKNOWN_MODEL = -1, -3
"""``model`` of a row that is a dead letter, and of one whose model nobody configured (-2 is a label that names none)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be read: its row in the batch, the reason and a sentence about it."""

    row: int
    reason: DeadLetterReason
    message: str


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """The rows of one model: ``rows`` int64[k] ascending indices into the batch, ``values`` float64[k, columns].

    A value is a number, the code of a category, NaN when it is missing, -inf when it has the wrong type.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """The segment values of one model's rows: ``rows`` as in ``FeatureRows``, ``codes`` int64[names, k].

    A code is the index of a value in ``texts``, which belong to this batch alone: what a process met before decides nothing.
    """

    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PredictionColumns:
    """A batch of predictions (or feature events), n rows in (partition, offset) order.

    ``model`` int32[n] (index in the plan or one of the codes above), ``stream`` int32[n] (within the model), ``event_time``
    int64[n] ms, ``key`` uint64[n] (hash of the id), ``klass`` int64[n] predicted class, ``answer`` float64[n] (the score,
    or the value of a regression), ``unknown`` int64[models]: features that no reference knows;
    ``segments`` of models that have some.
    """

    model: NDArray[np.int32]
    stream: NDArray[np.int32]
    event_time: NDArray[np.int64]
    key: NDArray[np.uint64]
    klass: NDArray[np.int64]
    answer: NDArray[np.float64]
    features: dict[int, FeatureRows]
    rejected: list[Rejected]
    unknown: dict[int, NDArray[np.int64]]
    segments: dict[int, SegmentRows] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """A batch of labels, n rows in (partition, offset) order.

    ``model`` int32[n] (``clock.EVERY_MODEL`` where none is named), ``label_time`` int64[n] ms, ``key`` uint64[n], ``truth``
    uint64[n] (bits of a float64 where ``number`` is 1, otherwise the hash of the text).
    """

    model: NDArray[np.int32]
    label_time: NDArray[np.int64]
    key: NDArray[np.uint64]
    truth: NDArray[np.uint64]
    number: NDArray[np.uint8]
    rejected: list[Rejected]
