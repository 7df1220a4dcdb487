"""The ordinary decoder of predictions and feature events: msgspec for the records, C-level maps and numpy for the columns.

Fast path: typed structs, one C call per record, then one column at a time. Slow path, for a record that the typed struct
refuses: ``slow.read`` decodes it generally and says exactly what it is. Both fill the same columns.
"""

from __future__ import annotations

from itertools import chain, compress
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from schemas.errors import DeadLetterReason
from streams.engine.columns import NO_MODEL, UNKNOWN_MODEL, FeatureRows, PredictionColumns, Rejected, SegmentRows
from streams.engine.decode import slow
from streams.engine.decode.groups import Texts, segment_codes
from streams.engine.decode.times import LAST_TIME, times_of
from streams.engine.decode.wire import MAX_LEARNT, Nobody, NoSet, Wire, can_be_field, wire_of
from streams.engine.plan import BINARY
from streams.engine.truth import hash_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from streams.engine.plan import Model, Plan, References


_HALF = 0.5


class PredictionDecoder:
    """Decodes batches of one topic for the models of a plan. Learns: streams, unknown features, new references' columns."""

    def __init__(self, plan: Plan, kind: str, references: References | None = None) -> None:
        """``kind`` is ``predictions`` or ``features``; ``references`` knows the references of new versions."""
        self._plan, self._kind, self._references = plan, kind, references
        self._learnt: dict[int, list[str]] = {}
        self._compile()

    def _compile(self) -> None:
        for m in self._plan.models:  # a name that was unknown may be a feature of a new version's reference
            self._learnt[m.index] = [n for n in self._learnt.get(m.index, []) if m.columns.find("feature", n) is None]
        self._wires = [wire_of(m, self._learnt[m.index]) for m in self._plan.models]
        structs = [w.struct(self._kind) for w in self._wires]
        self._index = {s: i for i, s in enumerate(structs)}
        self._grown = False
        union: Any = NoSet if self._kind == "features" else Nobody
        for struct in structs:
            union = union | struct
        self._decode = msgspec.json.Decoder(union).decode

    def decode(self, values: Sequence[bytes | None]) -> PredictionColumns:
        """The columns of a batch. Never raises for what is in a record."""
        while True:
            columns = self._decode_once(values)
            complete = all(w.columns == len(w.model.columns.all) for w in self._wires)
            if self._grown or not complete:
                self._compile()
            if complete:
                return columns
            # A new version brought a reference with more columns: the batch is read again with them.

    def _decode_once(self, values: Sequence[bytes | None]) -> PredictionColumns:
        n = len(values)
        batch = _Batch(n, {m.index: [] for m in self._plan.models})
        events, refused = self._read(values)
        if refused:
            self._read_slowly(values, refused, batch)
        rows = np.delete(np.arange(n), refused) if refused else np.arange(n)
        good = list(compress(events, events)) if refused else events
        kinds = np.fromiter(map(self._index.__getitem__, map(type, good)), np.int64, len(good))
        for m in np.unique(kinds).tolist():
            mine = kinds == m
            chosen = good if mine.all() else list(compress(good, mine))
            self._columns_of(self._wires[m], chosen, rows[mine], batch)
        return batch.finish(self._plan)

    def _read(self, values: Sequence[bytes | None]) -> tuple[list[Any], list[int]]:
        """Typed events, None where the typed struct refused, and the rows of those."""
        events: list[Any] = []
        refused: list[int] = []
        records: Iterator[Any] = iter(values)
        while len(events) < len(values):
            try:
                events.extend(map(self._decode, records))
            except (msgspec.MsgspecError, RecursionError, TypeError, UnicodeDecodeError):
                refused.append(len(events))
                events.append(None)
        return events, refused

    def _columns_of(self, wire: Wire, events: list[Any], rows: NDArray[np.int64], batch: _Batch) -> None:
        """Turn one model's typed events into columns."""
        model = wire.model
        ids = _field(events, "id")
        versions: Sequence[str]
        variants: Sequence[str]
        if self._kind == "features":
            versions = variants = ("",) * len(ids)
            answers: dict[str, Sequence[Any]] = {}
        else:
            versions, variants = _field(events, "model_version"), _field(events, "variant")
            answers = {name: _field(events, name) for name in ("prediction", "score")}
        stream = self._streams(model, versions, variants)
        time = times_of(_field(events, "event_time"))
        values = np.empty((len(ids), wire.columns))
        cells = _cells(_field(events, "features"))
        for at, column in enumerate(model.columns.all[: wire.columns]):
            if column.source != "feature":
                cell = answers.get(column.source, (None,) * len(ids))
                values[:, at] = _column(cell, column.kind, column.categories)
        for at, cell in zip(wire.features, cells, strict=False):
            values[:, at] = _column(cell, model.columns.all[at].kind, model.columns.all[at].categories)
        values[:, wire.slow] = np.nan  # the record has none of them, or the slow path would have it
        unknown = np.zeros(len(ids), np.int64)
        segments = np.empty((0, len(ids)), np.int64)
        if model.segments.names and self._kind == "predictions":
            segments = segment_codes(wire, _field(events, "segments"), cells, batch.texts_of(model))
        for cell in cells[len(wire.features) + len(wire.asked) :]:
            unknown += np.fromiter(map(len, map(bytes, cell)), np.int64, len(ids)) > 0
        ok = self._refuse(model, ids, versions, stream, time, rows, batch)
        if not ok.all():  # otherwise nothing is copied
            rows, ids, stream, time = rows[ok], list(compress(ids, ok.tolist())), stream[ok], time[ok]
            values, unknown = values[ok], unknown[ok]
            segments = segments[:, ok]
        batch.add(model, rows, ids, stream, time, values, unknown, segments)

    def _streams(self, model: Model, versions: Sequence[str], variants: Sequence[str]) -> NDArray[np.int64]:
        pairs = list(zip(versions, variants, strict=True))
        met = dict.fromkeys(pairs)  # in the order of the records: with one stream too many, the first ones stay
        for version, variant in met:
            if (version, variant) not in model.streams and (version or self._kind == "features"):
                model.stream(version, variant, self._references)
        known = dict.fromkeys(met, -1) | model.streams
        return np.fromiter(map(known.__getitem__, pairs), np.int64, len(pairs))

    def _refuse(
        self,
        model: Model,
        ids: Sequence[str],
        versions: Sequence[str],
        stream: NDArray[np.int64],
        time: NDArray[np.int64],
        rows: NDArray[np.int64],
        batch: _Batch,
    ) -> NDArray[np.bool_]:
        """Reject what the types cannot say: empty names, bad times, one stream too many; True where a row is fine."""
        versioned = self._kind == "predictions"
        empty = np.fromiter(map(len, ids), np.int64, len(ids)) == 0
        if versioned:
            empty |= np.fromiter(map(len, versions), np.int64, len(ids)) == 0
        bad_time = (time < 0) | (time >= LAST_TIME)
        ok: NDArray[np.bool_] = ~(empty | bad_time | (stream < 0))
        for i in np.flatnonzero(~ok).tolist():
            if empty[i]:
                what = DeadLetterReason.EMPTY_ID, "an id or the model_version is empty"
            elif bad_time[i]:
                what = DeadLetterReason.BAD_EVENT_TIME, "event_time is no time between 1970 and 2200"
            else:
                names = "model versions and variants in all"
                what = DeadLetterReason.TOO_MANY_STREAMS, f"model {model.name!r} has too many {names}: {versions[i]!r}"
            batch.rejected.append(Rejected(int(rows[i]), *what))
        return ok

    def _read_slowly(self, values: Sequence[bytes | None], refused: list[int], batch: _Batch) -> None:
        """Say of each refused record what it is, and learn the features that nobody knew."""
        by_model: dict[int, list[tuple[int, slow.Row]]] = {}
        for row in refused:
            found = slow.read(values[row], self._plan, self._kind)
            if isinstance(found, slow.Row):
                by_model.setdefault(found.model.index, []).append((row, found))
                learnt = self._learnt[found.model.index]
                for name in found.unknown:
                    if name not in learnt and len(learnt) < MAX_LEARNT and can_be_field(name):
                        learnt.append(name)
                        self._grown = True  # the structs of this batch stay as they are until it is read
            elif isinstance(found, slow.UnknownModel):
                batch.model[row] = UNKNOWN_MODEL
            else:
                batch.rejected.append(Rejected(row, found.reason, found.message))
        for m, found_rows in by_model.items():
            self._add_slow(self._plan.models[m], found_rows, batch)

    def _add_slow(self, model: Model, found: list[tuple[int, slow.Row]], batch: _Batch) -> None:
        rows = np.array([row for row, _ in found], np.int64)
        data = [r for _, r in found]
        stream = self._streams(model, [r.version for r in data], [r.variant for r in data])
        ids, time = [r.id for r in data], np.array([r.event_time for r in data], np.int64)
        values = np.array([slow.cells(r) for r in data]).reshape(len(data), -1)
        unknown = np.array([len(r.unknown) for r in data], np.int64)
        ok = self._refuse(model, ids, [r.version for r in data], stream, time, rows, batch)
        texts = batch.texts_of(model)
        codes = np.array([[texts[t] for t in r.segments] for r in data], np.int64).reshape(len(data), -1).T
        batch.add(model, rows[ok], list(compress(ids, ok)), stream[ok], time[ok], values[ok], unknown[ok], codes[:, ok])


def _field(structs: Sequence[Any], name: str) -> list[Any]:
    """One field of many structs."""
    return list(map(attrgetter(name), structs))


def _cells(structs: Sequence[Any]) -> list[list[Any]]:
    """All fields of many structs of one type, field by field: one flat list and strides, faster than transposing tuples."""
    width = len(structs[0].__struct_fields__)
    flat = list(chain.from_iterable(map(astuple, structs)))
    return [flat[k::width] for k in range(width)]


def _column(values: Sequence[Any], kind: str, categories: Any) -> NDArray[np.float64]:  # noqa: ANN401  # a dict subclass
    """One column as float64: numbers as they are, categories as codes, None as NaN."""
    if kind == "numeric":
        return np.array(values, np.float64)
    if kind == "boolean":
        codes = categories.codes
        lookup = {True: codes.get("true", -1.0), False: codes.get("false", -1.0), None: np.nan}
        return np.fromiter(map(lookup.__getitem__, values), np.float64, len(values))
    return np.fromiter(map(categories.__getitem__, values), np.float64, len(values))


class _Batch:
    """The columns of one batch while they are filled, model by model."""

    def __init__(self, n: int, groups: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float64]]]]) -> None:
        self.n = n
        self.model = np.full(n, NO_MODEL, np.int32)
        self.stream = np.zeros(n, np.int32)
        self.time = np.zeros(n, np.int64)
        self.key = np.ones(n, np.uint64)
        self.klass = np.zeros(n, np.int64)
        self.answer = np.full(n, np.nan)
        self.groups = groups
        self.unknown: dict[int, NDArray[np.int64]] = {}
        self.rejected: list[Rejected] = []
        self.texts: dict[int, Texts] = {}
        self.codes: dict[int, list[NDArray[np.int64]]] = {}

    def texts_of(self, model: Model) -> Texts:
        """The segment values that the batch has met of a model."""
        return self.texts.setdefault(model.index, Texts())

    def add(
        self,
        model: Model,
        rows: NDArray[np.int64],
        ids: Sequence[str],
        stream: NDArray[np.int64],
        time: NDArray[np.int64],
        values: NDArray[np.float64],
        unknown: NDArray[np.int64],
        segments: NDArray[np.int64],
    ) -> None:
        """Put one model's rows in their places."""
        if not len(rows):
            return
        self.model[rows], self.stream[rows], self.time[rows] = model.index, stream, time
        self.key[rows] = hash_texts(ids)
        if unknown.any():
            self.unknown.setdefault(model.index, np.zeros(self.n, np.int64))[rows] = unknown
        self.groups[model.index].append((rows, values))
        if len(segments):
            self.codes.setdefault(model.index, []).append(segments)

    def finish(self, plan: Plan) -> PredictionColumns:
        """The whole batch; the rows of a model in order."""
        features, segments = {}, {}
        for m, parts in self.groups.items():
            if not parts:
                continue
            rows = np.concatenate([r for r, _ in parts])
            width = max(v.shape[1] for _, v in parts)
            values = parts[0][1]
            if len(parts) > 1:
                values = np.concatenate(
                    [np.pad(v, ((0, 0), (0, width - v.shape[1])), constant_values=np.nan) for _, v in parts]
                )
                order = np.argsort(rows, kind="stable")
                rows, values = rows[order], values[order]
            features[m] = FeatureRows(rows, values)
            if m in self.codes:
                codes = np.concatenate(self.codes[m], axis=1)
                codes = codes if len(parts) == 1 else codes[:, order]
                segments[m] = SegmentRows(rows, codes, tuple(self.texts[m].texts))
            self._answers(plan.models[m], rows, values)
        self.rejected.sort(key=lambda r: r.row)
        return PredictionColumns(
            self.model,
            self.stream,
            self.time,
            self.key,
            self.klass,
            self.answer,
            features,
            self.rejected,
            self.unknown,
            segments,
        )

    def _answers(self, model: Model, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """What the join remembers: the predicted class and the score, or the value of a regression."""
        at, score = model.columns.find("prediction", "prediction"), model.columns.find("score", "score")
        if not model.labelled or at is None or score is None:
            return
        answers, scores = values[:, at], values[:, score]
        scores = np.where(np.isfinite(scores), scores, np.nan)
        if not model.classes:
            self.answer[rows] = np.where(np.isfinite(answers), answers, np.nan)
            return
        table = np.append(model.class_of_code(), model.other_class)
        code = np.where(np.isfinite(answers) & (answers >= 0), answers, len(table) - 1).astype(np.int64)
        klass = table[np.minimum(code, len(table) - 1)]
        if model.task_code == BINARY:  # a score without an answer is an answer at one half
            klass = np.where(np.isnan(answers), scores >= _HALF, klass)
        self.klass[rows], self.answer[rows] = klass, scores
