"""The memory of the delayed-label join in one task: remembered predictions, labels, and their log.

Promise: an outcome depends on the prediction and the label alone, not on which of them came first (P8). What is inserted is
logged with the next commit; a segment is cut when nothing that may still come can need it: one horizon behind both clocks, of a
prediction by its event time, of a label by its own. Sampling and the bound (R12) depend on the id, and on the log of the
predictions, alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import RESTORE, StateCorrupt, StateMissing
from streams.engine import join_log as log
from streams.engine.kernels import join as kernel
from streams.engine.kernels.clock import NEVER, UNSEEN
from streams.engine.remembered import LONGEST_SPAN, SLOTS_PER_HORIZON, Remembered, decode_answers, encode_answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from streams.engine.plan import Plan

ANY = -1
"""The group of a label that names no model."""
_SMALLEST = 1 << 10
_FULL = 0.7
"""Labels that wait are few as a rule: the plain table with powers of two is good enough for them."""
_OLDEST = np.iinfo(np.int64).min
_JOINED, _SCOPE = np.uint64(1), 2
_GROUP = np.uint64(0xFFF)
_COUNTS = ("remembered", "labelled", "expired", "refused", "sampled_out")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Joined pairs, arrays of one length.

    ``stream`` and ``cohort`` are the task's own numbers; times in ms; ``answer`` is a
    score, a regression's value or NaN; ``truth`` the bits of a number, or the hash of a text where ``number`` is False.
    """

    model: NDArray[np.int64]
    stream: NDArray[np.int64]
    cohort: NDArray[np.int64]
    event_time: NDArray[np.int64]
    label_time: NDArray[np.int64]
    klass: NDArray[np.int64]
    answer: NDArray[np.float64]
    truth: NDArray[np.uint64]
    number: NDArray[np.bool_]

    def __len__(self) -> int:
        """How many pairs."""
        return len(self.model)


@dataclass(slots=True)
class Labels:
    """The table of the labels that are not kept in a row."""

    lines: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((_SMALLEST, kernel.WORDS), np.uint64))
    count: int = 0

    def reserve(self, more: int) -> None:
        """Grow until ``more`` lines fit."""
        size = len(self.lines)
        while self.count + more > _FULL * size:
            size *= 2
        if size > len(self.lines):
            self.keep(np.full(1 << 12, _OLDEST), size)

    def keep(self, limit: NDArray[np.int64], size: int | None = None) -> int:
        """Rebuild with the labels that are not older than their scope's limit; returns how many orphans went."""
        fresh = np.zeros((size or len(self.lines), kernel.WORDS), np.uint64)
        self.count, orphans = kernel.rebuild(self.lines, limit, fresh)
        self.lines = fresh
        return int(orphans)

    def occupied(self) -> NDArray[np.uint64]:
        """The lines, in no promised order."""
        found: NDArray[np.uint64] = self.lines[self.lines[:, 0] != 0]
        return found


class Join:
    """Both memories of a task. ``waiting`` labels have met no prediction yet; ``orphans`` never did and have aged out.

    ``segments`` are those of the log with their bytes, ``parked`` those of models that are not configured now.
    """

    def __init__(self, plan: Plan, partitions: int = 1) -> None:
        """Empty; the bounds of R12 are shared by ``partitions`` tasks."""
        self.predictions, self.labels = Remembered(plan, partitions), Labels()
        self.truths = kernel.Words(
            np.zeros(kernel.NO_CODE, np.uint64), np.zeros(kernel.NO_CODE, np.uint8), np.zeros(1, np.int64)
        )
        self.remembered = 0
        self.waiting = 0
        self.orphans = 0
        self.segments: dict[str, int] = {}
        self.parked: dict[str, int] = {}
        self.cut: list[str] = []
        self._plan = plan
        self._names = [m.name for m in plan.models]
        self._task = np.array([m.task_code for m in plan.models], np.int64)
        self.horizon = self.predictions.limits.horizon
        self.longest = int(self.horizon.max(initial=0))
        self.floor, self.reach = self.predictions.limits.floor, 2 * self.longest
        self._most = self.predictions.limits.share.max(initial=np.uint64(0))
        self._limits = {"p": np.full(len(plan.models), _OLDEST), "l": np.full(len(plan.models) + 1, _OLDEST)}
        self._fresh: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        self._marks: list[NDArray[np.uint64]] = []
        self._lines: list[NDArray[np.uint64]] = []
        self._appended: dict[str, list[bytes]] = {}
        self._buffers: kernel.Told | None = None

    @property
    def applied(self) -> int:
        """How many labels have joined a prediction: of those remembered, all that neither wait nor aged out alone."""
        return self.remembered - self.waiting - self.orphans

    def counts(self, model: int) -> dict[str, int]:
        """What became of a model's predictions in the join; remembered = labelled + expired + those that still wait."""
        return dict(zip(_COUNTS, self.predictions.counts[:, model].tolist(), strict=True))

    def coded(self) -> list[tuple[int, int]]:
        """The truths that have a code, in order: words, and 1 where the word is a number's bits."""
        n = int(self.truths.used[0])
        return list(zip(self.truths.truth[:n].tolist(), self.truths.number[:n].tolist(), strict=True))

    def know(self, coded: Sequence[tuple[int, int]]) -> None:
        """Set the codes of an empty join again."""
        for c, (truth, number) in enumerate(coded):
            self.truths.truth[c], self.truths.number[c] = truth, number
        self.truths.used[0] = len(coded)

    @property
    def size_bytes(self) -> int:
        """What the memories take."""
        return self.predictions.size_bytes + self.labels.lines.nbytes

    # -- records ------------------------------------------------------------------------------------------------------

    def add_predictions(
        self,
        key: NDArray[np.uint64],
        event_time: NDArray[np.int64],
        model: NDArray[np.int32],
        stream: NDArray[np.int32],
        cohort: NDArray[np.int32],
        klass: NDArray[np.int64],
        answer: NDArray[np.float64],
        status: NDArray[np.int8],
    ) -> tuple[Pairs, NDArray[np.bool_]]:
        """Remember the rows whose status is on time, mark repeated ones, and return the outcomes of labels that waited.

        ``stream`` and ``cohort`` are the task's own numbers. Also returns which rows were remembered.
        """
        p = self.predictions
        p.reserve(len(key))
        kept = encode_answers(self._task[np.maximum(model, 0)], klass, answer)
        fresh = np.full(len(key), -1, np.int64)
        told, at, why = self._room_to_tell(len(key)), 0, kernel.NEEDS_SLOT
        while why != kernel.DONE:
            why, at = kernel.remember(
                at,
                p.keys,
                p.refs,
                p.rows,
                p.slots,
                p.room,
                p.limits,
                self.truths,
                self.labels.lines,
                key,
                event_time,
                model,
                stream,
                cohort,
                kept,
                status,
                fresh,
                p.counts,
                told,
            )
            if why == kernel.NEEDS_SLOT:
                m = int(model[at])
                p.open_slot(m, int(stream[at]), int(event_time[at]) // int(p.limits.span[m]))
            elif why == kernel.NEEDS_CHUNK:
                p.add_chunks()
        p.count += int(told.done[kernel.REMEMBERED_ROWS])
        self.waiting -= int(told.done[kernel.JOINED])
        rows = np.flatnonzero(fresh >= 0)
        if len(rows):
            self._fresh.append((key[rows], fresh[rows]))
        return self._told(told), fresh >= 0

    def add_labels(
        self,
        key: NDArray[np.uint64],
        label_time: NDArray[np.int64],
        model: NDArray[np.int32],
        truth: NDArray[np.uint64],
        number: NDArray[np.uint8],
        offset: NDArray[np.int64],
        status: NDArray[np.int8],
    ) -> Pairs:
        """Remember labels whose status is on time, set the others' final status, and return the outcomes."""
        p = self.predictions
        self.labels.reserve(len(key))
        value = truth.view(np.float64)
        with np.errstate(invalid="ignore"):
            whole = (np.abs(value) <= kernel.LARGEST_CODED) & (value == np.rint(value))
        coded = ((number == 0) | whole).astype(np.uint8)
        scope = np.where(model < 0, 0, model + 1).astype(np.int32)
        told, at = self._room_to_tell(len(key)), 0
        while at < len(key):
            at = kernel.join_labels(
                at,
                p.keys,
                p.refs,
                p.rows,
                p.slots,
                p.limits,
                self.truths,
                self.labels.lines,
                key,
                label_time,
                scope,
                truth,
                number,
                coded,
                offset,
                self.longest,
                self._most,
                status,
                p.counts,
                told,
            )
            if at < len(key):  # one label may join many predictions
                wider = [np.concatenate([a, np.empty_like(a)]) for a in (told.outcomes, told.marks)]
                told = kernel.Told(wider[0], wider[1], told.lines, told.done)
        self.labels.count += int(told.done[kernel.LINES])
        self.remembered += int(told.done[kernel.REMEMBERED_ROWS])
        self.waiting += int(told.done[kernel.REMEMBERED_ROWS] - told.done[kernel.JOINED])
        return self._told(told)

    def _room_to_tell(self, rows: int) -> kernel.Told:
        """Buffers for a batch; kept, because new memory costs as much as filling it."""
        if self._buffers is None or len(self._buffers.lines) < rows:
            outcomes, marks, lines = (np.empty((rows, n), np.uint64) for n in (kernel.OUTCOME_WORDS, 2, kernel.WORDS))
            self._buffers = kernel.Told(outcomes, marks, lines, np.zeros(5, np.int64))
        self._buffers.done[:] = 0
        return self._buffers

    def _told(self, told: kernel.Told) -> Pairs:
        """Queue marks and lines for the log; the outcomes."""
        n, m, k = told.done[:3].tolist()
        outcomes, marks, lines = told.outcomes[:n].copy(), told.marks[:m].copy(), told.lines[:k].copy()
        self._marks.append(marks)
        self._lines.append(lines)
        return self._outcomes(outcomes)

    def _outcomes(self, out: NDArray[np.uint64]) -> Pairs:
        model = out[:, 0].astype(np.int64)
        klass, answer = np.zeros(len(out), np.int64), np.full(len(out), np.nan)
        for code in np.unique(self._task[model]).tolist():
            mine = self._task[model] == code
            klass[mine], answer[mine] = decode_answers(code, np.ascontiguousarray(out[mine, 5]))
        stream, cohort, event_time, label_time = (out[:, k].astype(np.int64) for k in (1, 2, 3, 4))
        return Pairs(model, stream, cohort, event_time, label_time, klass, answer, out[:, 6].copy(), out[:, 7] == 1)

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def _span(self, model: int) -> int:
        """The time that one segment of a model covers, ms."""
        horizon = self.longest if model == ANY else int(self.horizon[model])
        return min(LONGEST_SPAN, max(1, horizon // SLOTS_PER_HORIZON))

    def age(self, watermark: NDArray[np.int64], label_clock: NDArray[np.int64], slack: NDArray[np.int64]) -> None:
        """Drop what no record that is still on time can need; ``slack`` is pane + lateness of each model, ms.

        The limits are multiples of a segment's span, so that the memory and the log always hold the same entries.
        """
        if not len(self.horizon):
            return
        started = (watermark != NEVER) & (label_clock != NEVER)
        ripe = np.where(started, np.minimum(watermark, label_clock) - slack, NEVER)
        seen = self.floor != UNSEEN
        furthest = int(watermark[seen].max(initial=NEVER))
        moved, slots = False, False
        for m in range(len(self._names)):
            slots |= self._set_limit("p", m, int(ripe[m]) - int(self.horizon[m]))
            moved |= self._set_limit("l", m, int(ripe[m]) - int(self.horizon[m]))
        # A model that has not been seen here may still begin with predictions as old as these labels; but it will not join
        # those behind its floor, which will be no lower than it would be now.
        needed = np.where(started, ripe - self.longest, NEVER)
        needed[seen] = np.maximum(needed[seen], self.floor[seen])  # one that has begun joins none behind its floor
        if furthest != NEVER:
            needed[~seen] = np.maximum(needed[~seen], furthest - self.reach)
        moved |= self._set_limit("l", ANY, int(needed.min()))
        if slots:
            self._forget_slots()
        if moved:
            lost = self.labels.keep(self._limits["l"])
            self.orphans += lost
            self.waiting -= lost
        if moved or slots:
            self._cut()

    def _forget_slots(self) -> None:
        limit, span = self._limits["p"], self.predictions.limits.span
        names = [n for n in self.predictions.named if (n[2] + 1) * int(span[n[0]]) <= limit[n[0]]]
        if not names:
            return
        self._log_rows()  # what came since the last commit is sorted by slot, as long as the slots have their numbers
        lines = self.predictions.forget(names, self.truths, self._limits["l"])
        self.labels.reserve(len(lines))
        kept = kernel.insert(self.labels.lines, lines)
        self.labels.count += kept
        self._lines.append(lines[:kept])

    def _cut(self) -> None:
        """Forget the segments that lie before the limits."""
        self._log_lines()
        for segment in sorted(self.segments):
            side, name, number = segment[0], segment.split(":")[1], int(segment.rsplit(":", 1)[1])
            m = ANY if name == "*" else self._names.index(name)
            limit = self._limits["l"][m + 1] if side == "l" else self._limits["p"][m]
            span = int(segment.split(":")[2]) if m == ANY else self._span(m)
            if (number + 1) * span <= limit:
                self.segments.pop(segment, None)
                self._appended.pop(segment, None)
                self.cut.append(segment)

    def _set_limit(self, side: str, model: int, time: int) -> bool:
        limits, at, span = self._limits[side], model + (side == "l"), self._span(model)
        limit = time // span * span if time > NEVER // 2 else _OLDEST
        moved = limit > limits[at]
        limits[at] = max(limits[at], limit)
        return bool(moved)

    # -- the log ------------------------------------------------------------------------------------------------------

    @property
    def appended(self) -> dict[str, list[bytes]]:
        """The blocks that the next commit appends, by segment."""
        self._log_rows()
        self._log_lines()
        return self._appended

    def logged(self) -> None:
        """The commit is done: its blocks and cuts are in the store."""
        self._appended.clear()
        self.cut.clear()

    def _append(self, segment: str, block: bytes) -> None:
        self.segments[segment] = self.segments.get(segment, 0) + len(block)
        self._appended.setdefault(segment, []).append(block)

    def _log_rows(self) -> None:
        """Make blocks of the predictions that were remembered, and of the marks of those that were labelled."""
        fresh, marks = self._fresh, [m for m in self._marks if len(m)]
        self._fresh, self._marks = [], []
        if not fresh and not marks:
            return
        p = self.predictions
        names = {slot: f"{self._names[m]}:{stream}:{number}" for (m, stream, number), slot in p.named.items()}
        if fresh:
            key, row = (np.concatenate(part) for part in zip(*fresh, strict=True))
            for slot, mine in _groups(p.rows.slot[row >> kernel.CHUNK_BITS].astype(np.int64)):
                words, at = p.rows.words[row[mine]], row[mine]
                low = p.rows.low[at] if p.limits.wide[p.slots.model[slot]] else None
                cohort = (words[:, 3] >> np.uint32(16)).astype(np.uint16)
                block = log.prediction_block(log.Predictions(key[mine], words[:, 0], words[:, 1], low, cohort))
                self._append(f"p:{names[slot]}", block)
        if marks:
            every = np.concatenate(marks)
            for slot, mine in _groups(every[:, 0].astype(np.int64)):
                self._append(f"j:{names[slot]}", log.words_block(every[mine, 1]))

    def _log_lines(self) -> None:
        """Make blocks of the labels that entered the table, or joined in it."""
        lines = [x for x in self._lines if len(x)]
        self._lines = []
        if not lines:
            return
        every = np.concatenate(lines)
        scope = ((every[:, 3] >> np.uint64(_SCOPE)) & _GROUP).astype(np.int64)
        for group, of_group in _groups(scope):
            span = self._span(group - 1)
            # The longest horizon, and with it this span, changes with the models that are configured.
            name = f"*:{span}" if group == 0 else self._names[group - 1]
            number = every[of_group, 1].view(np.int64) // span
            for n, mine in _groups(number):
                self._append(f"l:{name}:{n}", log.words_block(every[of_group[mine]]))

    def load(self, segments: dict[str, bytes], where: str) -> None:
        """Fill empty memories from the log.

        Raises StateCorrupt when a block's checksum or length is wrong, StateMissing when a listed segment has no bytes.
        """
        waiting = 0  # for a model that is not configured now
        lines: list[NDArray[np.uint64]] = []
        rows_of: dict[str, tuple[int, NDArray[np.int64]]] = {}
        for segment, data in sorted(segments.items(), key=lambda s: (s[0][0] == "j", s[0])):  # marks after their rows
            side, rest = segment.split(":", 1)
            name, at = rest.split(":")[0], f"{where} segment {segment}"
            if not data:
                raise StateMissing(f"{at}: listed and gone", RESTORE)
            if name != "*" and name not in self._names:
                self.parked[segment] = len(data)
                waiting += _count_waiting(_latest(log.read_words(data, kernel.WORDS, at))) if side == "l" else 0
                continue
            self.segments[segment] = len(data)
            if side == "l":
                found = log.read_words(data, kernel.WORDS, at)
                group = np.uint64(0 if name == "*" else self._names.index(name) + 1)
                found[:, 3] = found[:, 3] & ~(_GROUP << np.uint64(_SCOPE)) | group << np.uint64(_SCOPE)
                lines.append(found)
            elif side == "p":
                rows_of[rest] = self._load_rows(rest, log.read_predictions(data, at))
            else:
                self._load_marks(log.read_words(data, 1, at)[:, 0], rows_of.get(rest), at)
        if lines:
            every = _latest(np.concatenate(lines))
            self.labels.reserve(len(every))
            fresh = np.zeros_like(self.labels.lines)
            self.labels.count, _ = kernel.rebuild(every, np.full(1 << 12, _OLDEST), fresh)
            self.labels.lines = fresh
        self.waiting = _count_waiting(self.labels.occupied()) + waiting

    def _load_rows(self, name: str, blocks: Iterator[log.Predictions]) -> tuple[int, NDArray[np.int64]]:
        """Put the predictions of one slot into rows; returns the slot, and where its rows stand."""
        p = self.predictions
        model, stream, number = name.split(":")
        m = self._names.index(model)
        slot = p.open_slot(m, int(stream), int(number))
        parts = []
        for block in blocks:
            row = p.take_rows(slot, len(block.key))
            p.rows.words[row, 0], p.rows.words[row, 1] = block.time, block.answer
            p.rows.words[row, 2], p.rows.words[row, 3] = 0, 0
            if block.low is not None and p.limits.wide[m]:
                p.rows.low[row] = block.low
            if block.cohort is not None:
                p.rows.words[row, 3] = block.cohort.astype(np.uint32) << np.uint32(16)
            p.reserve(len(row))
            kernel.enter(block.key, row, p.keys, p.refs)
            p.count += len(row)
            parts.append(row)
        return slot, np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _load_marks(self, entries: NDArray[np.uint64], slot: tuple[int, NDArray[np.int64]] | None, where: str) -> None:
        """Mark the predictions of one slot that have their label."""
        nth = (entries & np.uint64(kernel.MAX_ROWS - 1)).astype(np.int64)
        code = (entries >> np.uint64(24)) & np.uint64(kernel.NO_CODE)
        uncoded = code[code != kernel.NO_CODE] >= np.uint64(self.truths.used[0])
        if slot is None or nth.max(initial=-1) >= len(slot[1]) or uncoded.any():
            raise StateCorrupt(f"{where}: it marks predictions that are not in the log", RESTORE)
        kernel.mark(self.predictions.rows, slot[1][nth], entries)

    def contents(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """What is remembered, sorted, however it is kept: predictions [n, 7] and labels [k, 4] without their offsets."""
        p = self.predictions
        found, held = kernel.contents(p.keys, p.refs, p.rows, p.slots, self.truths, p.limits.wide)
        labels = self.labels.occupied()
        labels[:, 3] &= np.uint64(0xFFFFFF)
        held = held[held[:, 1].view(np.int64) >= self._limits["l"][(held[:, 3] >> np.uint64(_SCOPE)).astype(np.int64)]]
        return np.unique(found, axis=0), np.unique(np.concatenate([labels, held]), axis=0)


def _groups(of: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The rows of every value, ascending, each in their order."""
    order = np.argsort(of, kind="stable")
    values, first = np.unique(of[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, first[1:]), strict=True)


def _count_waiting(labels: NDArray[np.uint64]) -> int:
    """How many labels have met no prediction."""
    return int(np.count_nonzero(labels[:, 3] & _JOINED == 0))


def _latest(labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One line for each label: the joined one where it was logged twice."""
    order = np.lexsort(
        (labels[:, 3] & _JOINED, labels[:, 2], labels[:, 1], labels[:, 0], labels[:, 3] >> np.uint64(24))
    )
    ordered = labels[order]
    same = (ordered[1:, :3] == ordered[:-1, :3]).all(axis=1) & (ordered[1:, 3] | _JOINED == ordered[:-1, 3] | _JOINED)
    latest: NDArray[np.uint64] = ordered[np.append(~same, np.ones(min(1, len(ordered)), bool))]
    return latest
