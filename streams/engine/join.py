"""The memory of the delayed-label join in one task: its two tables, their log, and what has aged out of them.

Promise: an outcome depends on the prediction and the label alone, not on which of them came first (P8). An entry is logged
once, when it is inserted, to a segment of its model and time; a segment is cut when nothing that may still come can need it:
predictions one horizon behind both clocks, labels two, because a prediction up to one horizon younger than its label
must still be recognised as labelled. That a label has joined is logged too: it outlives the prediction that says so.
Layout of the entries: ``kernels.join``; 32 bytes each, in memory and in the log.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import RESTORE, StateCorrupt, StateMissing
from streams.engine.kernels import join as kernel
from streams.engine.kernels.clock import NEVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streams.engine.plan import Plan

_SMALLEST = 1 << 10
_FULL = 0.7
"""Linear probing at 0.7 costs about two probes for a hit and six for a miss; above it, misses grow fast."""
_SEGMENTS_PER_HORIZON = 8
"""A segment lives up to an eighth of the horizon too long, and a table is rebuilt as often."""
ANY = -1
"""The group of a label that names no model."""
_GROUPS = 1 << 12
_OLDEST = np.iinfo(np.int64).min
_JOINED = np.uint64(1)
_BLOCK = struct.Struct("<II")


def _empty(size: int) -> NDArray[np.uint64]:
    return np.zeros((size, kernel.WORDS), np.uint64)


@dataclass(slots=True)
class Table:
    """One open-addressing table and how full it is."""

    entries: NDArray[np.uint64] = field(default_factory=lambda: _empty(_SMALLEST))
    count: int = 0

    def room_for(self, more: int, shift: int) -> None:
        """Grow until ``more`` entries fit."""
        size = len(self.entries)
        while self.count + more > _FULL * size:
            size *= 2
        if size > len(self.entries):
            self.keep(np.full(_GROUPS, np.iinfo(np.int64).min), shift, size)

    def keep(self, limit: NDArray[np.int64], shift: int, size: int) -> None:
        """Rebuild with the entries that are not older than their group's limit."""
        fresh = _empty(size)
        self.count = kernel.rebuild(self.entries, limit, shift, fresh)
        self.entries = fresh

    def occupied(self) -> NDArray[np.uint64]:
        """The entries, in no promised order."""
        found: NDArray[np.uint64] = self.entries[self.entries[:, 0] != 0]
        return found


PREDICTION_SHIFT, LABEL_SHIFT = 12, 2
"""Where the group (model; scope) stands in the meta word."""


class Join:
    """Both tables of a task. ``waiting`` labels have met no prediction yet; ``orphans`` never did and have aged out."""

    def __init__(self, plan: Plan) -> None:
        """Empty tables for a plan's models."""
        self.predictions, self.labels = Table(), Table()
        self.remembered = 0
        self.waiting = 0
        self.orphans = 0
        self.segments: set[str] = set()
        self.appended: dict[str, list[bytes]] = {}
        self.cut: list[str] = []
        self._names = [m.name for m in plan.models]
        self.horizon = np.array([m.horizon for m in plan.models], np.int64)
        self.labelled = np.array([m.labelled for m in plan.models], np.uint8)
        self.longest = int(self.horizon.max(initial=0))
        self._limits = {"p": np.full(_GROUPS, _OLDEST), "l": np.full(_GROUPS, _OLDEST)}

    @property
    def applied(self) -> int:
        """How many labels have joined a prediction: of those remembered, all that neither wait nor aged out alone."""
        return self.remembered - self.waiting - self.orphans

    def add_predictions(
        self,
        key: NDArray[np.uint64],
        event_time: NDArray[np.int64],
        model: NDArray[np.int32],
        stream: NDArray[np.int32],
        klass: NDArray[np.int64],
        answer: NDArray[np.uint64],
        status: NDArray[np.int8],
    ) -> NDArray[np.uint64]:
        """Remember the rows whose status is on time, mark repeated ones, and return the outcomes of labels that waited.

        ``stream`` is the task's own number.
        """
        self.predictions.room_for(len(key), PREDICTION_SHIFT)
        fresh = np.zeros(len(key), np.uint8)
        out, joined, inserted = kernel.join_predictions(
            self.predictions.entries,
            self.labels.entries,
            key,
            event_time,
            model,
            stream,
            klass,
            answer,
            self.horizon,
            self.labelled,
            status,
            fresh,
        )
        self.predictions.count += inserted
        self.waiting -= joined
        rows = np.flatnonzero(fresh)
        if len(rows):
            entries = np.empty((len(rows), kernel.WORDS), np.uint64)
            m = model[rows].astype(np.int64)
            entries[:, 0], entries[:, 1], entries[:, 2] = key[rows], event_time[rows].view(np.uint64), answer[rows]
            named = (klass[rows] << 1) | (m << PREDICTION_SHIFT) | (stream[rows].astype(np.int64) << 24)
            entries[:, 3] = named.view(np.uint64)
            self._log("p", m, event_time[rows], entries)
        first = out[out[:, 10] & _JOINED == 0]
        if len(first):  # these labels waited: logged again, as joined
            entries = first[:, [9, 3, 6, 10]]
            entries[:, 3] |= _JOINED
            scope = (entries[:, 3] >> np.uint64(LABEL_SHIFT)).astype(np.int64) & (_GROUPS - 1)
            self._log("l", scope - 1, entries[:, 1].view(np.int64), entries)
        return out

    def add_labels(
        self,
        key: NDArray[np.uint64],
        label_time: NDArray[np.int64],
        model: NDArray[np.int32],
        truth: NDArray[np.uint64],
        number: NDArray[np.uint8],
        offset: NDArray[np.int64],
        status: NDArray[np.int8],
    ) -> NDArray[np.uint64]:
        """Remember labels whose status is on time, set the others' final status, and return the outcomes."""
        self.labels.room_for(len(key), LABEL_SHIFT)
        scope = np.where(model < 0, 0, model + 1).astype(np.int32)
        before = status == 0
        out, joined, inserted = kernel.join_labels(
            self.predictions.entries,
            self.labels.entries,
            key,
            label_time,
            scope,
            truth,
            number,
            offset,
            self.horizon,
            self.longest,
            status,
        )
        self.labels.count += inserted
        self.remembered += inserted
        self.waiting += inserted - joined
        rows = np.flatnonzero(before & ((status == kernel.APPLIED) | (status == kernel.WAITING)))
        if len(rows):
            entries = np.empty((len(rows), kernel.WORDS), np.uint64)
            entries[:, 0], entries[:, 1], entries[:, 2] = key[rows], label_time[rows].view(np.uint64), truth[rows]
            meta = (number[rows].astype(np.int64) << 1) | (scope[rows].astype(np.int64) << LABEL_SHIFT)
            meta |= status[rows] == kernel.APPLIED
            entries[:, 3] = (meta | (offset[rows] << 24)).view(np.uint64)
            self._log("l", scope[rows].astype(np.int64) - 1, label_time[rows], entries)
        return out

    def _span(self, model: int) -> int:
        """The time that one segment of a model covers, ms."""
        horizon = self.longest if model == ANY else int(self.horizon[model])
        return max(1, horizon // _SEGMENTS_PER_HORIZON)

    def _log(self, side: str, model: NDArray[np.int64], time: NDArray[np.int64], entries: NDArray[np.uint64]) -> None:
        """Queue inserted entries for their segments, named ``side:model:number`` (``*`` for labels of any model)."""
        for m in np.unique(model).tolist():
            mine = model == m
            number = time[mine] // self._span(m)
            group = entries[mine]
            name = "*" if m == ANY else self._names[m]
            for n in np.unique(number).tolist():
                data = np.ascontiguousarray(group[number == n], "<u8").tobytes()
                segment = f"{side}:{name}:{n}"
                self.segments.add(segment)
                block = _BLOCK.pack(len(data), zlib.crc32(data)) + data
                self.appended.setdefault(segment, []).append(block)

    def age(self, watermark: NDArray[np.int64], label_clock: NDArray[np.int64], slack: NDArray[np.int64]) -> None:
        """Drop what no record that is still on time can need; ``slack`` is pane + lateness of each model, ms.

        The limits are multiples of a segment's span, so that the tables and the log always hold the same entries.
        """
        if not len(self.horizon):
            return
        ripe = np.where(
            (watermark == NEVER) | (label_clock == NEVER), NEVER, np.minimum(watermark, label_clock) - slack
        )
        moved = False
        for m in range(len(self._names)):
            moved |= self._set_limit("p", m, int(ripe[m]) - int(self.horizon[m]))
            # One span more than two horizons: a prediction may be kept a span too long, and its label never shorter.
            moved |= self._set_limit("l", m, int(ripe[m]) - 2 * int(self.horizon[m]) - self._span(m))
        # A model that nobody has seen yet keeps them all: its first prediction may be as old as the oldest of these labels,
        # and forgetting it before would depend on how the log is cut into batches.
        moved |= self._set_limit("l", ANY, int(ripe.min()) - 2 * self.longest - self._span(ANY))
        if not moved:
            return
        lost = kernel.unjoined(self.labels.entries, self._limits["l"])
        self.orphans += lost
        self.waiting -= lost
        self.predictions.keep(self._limits["p"], PREDICTION_SHIFT, len(self.predictions.entries))
        self.labels.keep(self._limits["l"], LABEL_SHIFT, len(self.labels.entries))
        for segment in sorted(self.segments):
            side, rest = segment.split(":", 1)
            name, number = rest.rsplit(":", 1)
            m = ANY if name == "*" else self._names.index(name)
            if (int(number) + 1) * self._span(m) <= self._limits[side][m + (side == "l")]:
                self.segments.discard(segment)
                self.appended.pop(segment, None)
                self.cut.append(segment)

    def _set_limit(self, side: str, model: int, time: int) -> bool:
        limits, at, span = self._limits[side], model + (side == "l"), self._span(model)
        limit = time // span * span if time > NEVER // 2 else _OLDEST
        moved = limit > limits[at]
        limits[at] = max(limits[at], limit)
        return bool(moved)

    def load(self, segments: dict[str, bytes], where: str) -> None:
        """Fill empty tables from the log.

        Raises StateCorrupt when a block's checksum or length is wrong, StateMissing when a listed segment has no bytes.
        """
        sides: dict[str, list[NDArray[np.uint64]]] = {"p": [], "l": []}
        parked = 0  # labels that wait for a model that is not configured now
        for segment, data in sorted(segments.items()):
            side, rest = segment.split(":", 1)
            name = rest.rsplit(":", 1)[0]
            if not data:
                raise StateMissing(f"{where} segment {segment}: listed and gone", RESTORE)
            entries = _blocks(data, f"{where} segment {segment}")
            if name != "*" and name not in self._names:
                parked += 0 if side == "p" else _count_waiting(_latest(entries))
                continue
            m = ANY if name == "*" else self._names.index(name)
            shift, group = (PREDICTION_SHIFT, m) if side == "p" else (LABEL_SHIFT, m + 1)
            meta = entries[:, 3] & ~np.uint64(0xFFF << shift) | np.uint64(group << shift)
            entries[:, 3] = meta
            sides[side].append(entries if side == "p" else _latest(entries))
            self.segments.add(segment)
        for table, blocks, shift in (
            (self.predictions, sides["p"], PREDICTION_SHIFT),
            (self.labels, sides["l"], LABEL_SHIFT),
        ):
            if blocks:
                entries = np.concatenate(blocks)
                table.room_for(len(entries), shift)
                table.count = kernel.rebuild(entries, np.full(_GROUPS, _OLDEST), shift, table.entries)
        kernel.relink(self.predictions.entries, self.labels.entries, self.horizon)
        self.waiting = _count_waiting(self.labels.occupied()) + parked


def _count_waiting(labels: NDArray[np.uint64]) -> int:
    """How many labels have met no prediction."""
    return int(np.count_nonzero(labels[:, 3] & _JOINED == 0))


def _latest(labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One entry for each label, by its offset: the joined one where it was logged twice."""
    ordered = labels[np.lexsort((labels[:, 3] & _JOINED, labels[:, 3] >> np.uint64(24)))]
    offset = ordered[:, 3] >> np.uint64(24)
    latest: NDArray[np.uint64] = ordered[np.append(offset[1:] != offset[:-1], np.ones(min(1, len(offset)), bool))]
    return latest


def _blocks(data: bytes, where: str) -> NDArray[np.uint64]:
    """The entries of a segment: blocks of (length u32, CRC-32 u32, entries)."""
    at, parts = 0, []
    while at < len(data):
        if at + _BLOCK.size > len(data):
            raise StateCorrupt(f"{where}: ends inside a block's header", RESTORE)
        size, checksum = _BLOCK.unpack_from(data, at)
        block = data[at + _BLOCK.size : at + _BLOCK.size + size]
        if len(block) != size or zlib.crc32(block) != checksum or size % (8 * kernel.WORDS):
            raise StateCorrupt(f"{where}: the block at byte {at} does not match its checksum", RESTORE)
        parts.append(np.frombuffer(block, "<u8").reshape(-1, kernel.WORDS))
        at += _BLOCK.size + size
    return np.concatenate(parts) if parts else np.zeros((0, kernel.WORDS), np.uint64)
