"""The decoder of labels: typed struct, then columns; refused records one by one."""

from __future__ import annotations

from itertools import compress, repeat
from operator import is_not
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from schemas.errors import DeadLetterReason
from schemas.events import Label, reason_of
from streams.engine.columns import NO_MODEL, UNKNOWN_MODEL, LabelColumns, Rejected
from streams.engine.decode.times import LAST_TIME, time_of
from streams.engine.kernels.clock import EVERY_MODEL
from streams.engine.truth import hash_texts, word_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from streams.engine.plan import Plan

MAX_CACHED = 10_000
_NUMBER, _TEXT = 0, 1
_FORM = {int: _NUMBER, float: _NUMBER, str: _TEXT, bool: _TEXT}


class _Words(dict[object, tuple[int, bool]]):
    """Label text (or boolean) -> its word; remembered up to a bound."""

    def __missing__(self, value: str | bool) -> tuple[int, bool]:  # noqa: FBT001  # a JSON scalar
        word = word_of(value if isinstance(value, str) else str(value).lower())
        if len(self) < MAX_CACHED:
            self[value] = word
        return word


class LabelDecoder:
    """Decodes batches of labels for the models of a plan."""

    def __init__(self, plan: Plan) -> None:
        """Knows the plan's models by name."""
        self._index: dict[str | None, int] = {None: EVERY_MODEL}
        self._index.update({m.name: m.index for m in plan.models})
        self._regression = np.array([not m.classes for m in plan.models] or [False])
        self._decode = msgspec.json.Decoder(Label).decode
        self._words = _Words()

    def decode(self, values: Sequence[bytes | None], record_time: NDArray[np.int64]) -> LabelColumns:
        """The columns of a batch; the time of a label that carries none is its record's. Never raises for a record."""
        n = len(values)
        rejected: list[Rejected] = []
        events: list[Label | None] = []
        records: Iterator[Any] = iter(values)
        while len(events) < n:
            try:
                events.extend(map(self._decode, records))
            except (msgspec.MsgspecError, RecursionError, TypeError, UnicodeDecodeError) as error:
                rejected.append(_rejected(len(events), values[len(events)], error))
                events.append(None)
        good = events if not rejected else list(compress(events, events))
        rows = np.delete(np.arange(n), [r.row for r in rejected]) if rejected else np.arange(n)
        columns = _empty(n, record_time, rejected)
        if len(good):
            self._fill(columns, rows, good, record_time[rows])
        columns.rejected.sort(key=lambda r: r.row)
        return columns

    def _fill(
        self, columns: LabelColumns, rows: NDArray[np.int64], events: Sequence[Any], record_time: NDArray[np.int64]
    ) -> None:
        ids, labels, times, models, _values = zip(*map(msgspec.structs.astuple, events), strict=True)
        columns.key[rows] = hash_texts(ids)
        names = dict.fromkeys(set(models), UNKNOWN_MODEL) | self._index
        model = np.fromiter(map(names.__getitem__, models), np.int32, len(models))
        time = record_time.copy()
        given = np.fromiter(map(is_not, times, repeat(None)), bool, len(times))
        if given.any():
            time[given] = np.fromiter(map(time_of, compress(times, given)), np.int64, int(given.sum()))
        form = np.fromiter(map(_FORM.__getitem__, map(type, labels)), np.int64, len(labels))
        word, number = np.empty(len(labels), np.uint64), np.ones(len(labels), np.uint8)
        plain, spelt = form == _NUMBER, form == _TEXT
        plain_values = _floats(list(compress(labels, plain)))
        word[plain] = (plain_values + 0.0).view(np.uint64)
        too_large = np.zeros(len(labels), bool)
        too_large[plain] = np.isinf(plain_values)
        if spelt.any():
            words, numbers = zip(*map(self._words.__getitem__, compress(labels, spelt)), strict=True)
            word[spelt], number[spelt] = np.array(words, np.uint64), np.array(numbers, np.uint8)
        bad_time = (time < 0) | (time >= LAST_TIME)
        not_a_number = (model >= 0) & self._regression[np.maximum(model, 0)] & (number == 0)
        refused = bad_time | not_a_number | too_large
        for i in np.flatnonzero(refused).tolist():
            if bad_time[i]:
                what = DeadLetterReason.BAD_EVENT_TIME, "event_time is no time between 1970 and 2200"
            elif too_large[i]:
                what = DeadLetterReason.WRONG_TYPE, "the label is a number that no 64-bit float holds"
            else:
                what = DeadLetterReason.WRONG_TYPE, f"the label of a regression is {labels[i]!r}, not a number"
            columns.rejected.append(Rejected(int(rows[i]), *what))
        model[refused] = NO_MODEL
        columns.model[rows], columns.label_time[rows] = model, time
        columns.truth[rows], columns.number[rows] = word, number


def _floats(values: Sequence[float]) -> NDArray[np.float64]:
    """Numbers as float64; infinity for an integer that is none (JSON itself has no infinity)."""
    try:
        return np.array(values, np.float64)
    except OverflowError:
        return np.array([_float(v) for v in values])


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _empty(n: int, record_time: NDArray[np.int64], rejected: list[Rejected]) -> LabelColumns:
    return LabelColumns(
        np.full(n, NO_MODEL, np.int32),
        record_time.copy(),
        np.ones(n, np.uint64),
        np.zeros(n, np.uint64),
        np.zeros(n, np.uint8),
        rejected,
    )


def _rejected(row: int, value: bytes | None, error: Exception) -> Rejected:
    if value is None:
        return Rejected(row, DeadLetterReason.TOMBSTONE, "the record has no value (null)")
    return Rejected(row, reason_of(error), str(error))
