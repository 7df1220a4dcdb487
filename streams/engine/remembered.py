"""The predictions that one task remembers for their labels: compact, and forgotten a slot at a time.

Quantities: 16 bytes a row (4 more where some model of the task is a regression), and 12 bytes a place of the table, of which 77
to 83 % are taken: at most 32 bytes a prediction, 36 with a regression. While the table grows, by 8 % at a time, it is there twice.
What the words of a row mean stands in ``kernels.join``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streams.engine.kernels import join as kernel
from streams.engine.kernels.clock import UNSEEN
from streams.engine.plan import BINARY, REGRESSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from streams.engine.plan import Model, Plan

_SMALLEST = 1 << 10
_FULL = 0.83
"""Linear probing at 0.83 looks at some 18 neighbouring places for a new id, at 0.9 at 50; below 0.76 a row takes 32 bytes."""
_GROWTH = 1.08
"""Keeps 77 % of the places taken after growing, which is one pass in the order of the hash."""
_SLACK = 1 / 128
"""Rows grow in place, so little room is made at a time: with 1/32 a prediction took up to 32.4 bytes."""
SLOTS_PER_HORIZON = 8
"""A slot lives up to an eighth of the horizon too long, and the table is gone through as often."""
LONGEST_SPAN = 1 << 31
"""Of a slot, ms: times within it have 32 bits. It is shorter than an eighth of the horizon from 199 days on."""
FREE = -1
"""The slot of a chunk that belongs to none."""
BYTES_IN_MEMORY, BYTES_OF_NUMBER = 32, 4
"""Of a remembered prediction, at most, and what each takes more where some model of the task is a regression: what
``labels.memory`` is divided by."""
_MISSING, _BELOW = 0x7FC00000, 0x7FC00001
_SIGN, _REST = np.uint64(31), np.uint32(0x7FFFFFFF)
_CLIPPED = 2.0**20
"""Units in which a score outside [0, 1] counts as clipped (`detectors.performance.layout`)."""


def encode_answers(
    task: NDArray[np.int64], klass: NDArray[np.int64], answer: NDArray[np.float64]
) -> NDArray[np.uint64]:
    """What a row keeps of each answer; ``task`` is the model's code (``plan``), ``answer`` a score or a regression's value.

    Binary: bit 31 is the class; the rest the score as float32, or a mark that there is none or that it is below 0.
    """
    kept = klass.astype(np.uint64)
    binary = task == BINARY
    if binary.any():
        with np.errstate(over="ignore"):
            score = answer[binary].astype(np.float32)
        bits = score.view(np.uint32) & _REST
        bits[np.isnan(score)] = _MISSING
        below = score < 0
        bits[below] = np.where(np.rint(score[below].astype(np.float64) * _CLIPPED) != 0, _BELOW, 0)
        kept[binary] = bits.astype(np.uint64) | (kept[binary] << _SIGN)
    wide = task == REGRESSION
    kept[wide] = np.ascontiguousarray(answer[wide]).view(np.uint64)
    return kept


def decode_answers(task: int, kept: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Class and answer (score, value, or NaN) of one task's rows."""
    none = np.zeros(len(kept), np.int64)
    if task == REGRESSION:
        return none, kept.view(np.float64)
    if task != BINARY:
        return kept.astype(np.int64), np.full(len(kept), np.nan)
    bits = kept.astype(np.uint32) & _REST
    score = bits.view(np.float32).astype(np.float64)
    score[bits == _BELOW] = -1.0
    return (kept >> _SIGN).astype(np.int64), score


class Remembered:
    """Rows, their slots, and the table that leads from an id's hash to them. ``counts`` int64[5, models] as in the kernel."""

    def __init__(self, plan: Plan, partitions: int) -> None:
        """Nothing remembered; each of ``partitions`` tasks has its share of ``labels.memory``."""
        models = plan.models
        self.keys, self.refs = np.zeros(_SMALLEST, np.uint64), np.zeros(_SMALLEST, np.uint32)
        self.count = 0
        self.counts = np.zeros((5, len(models)), np.int64)
        self.limits = limits_of(models, partitions)
        self._wide = bool(self.limits.wide.any())
        self.rows = kernel.Rows(
            np.zeros((0, 4), np.uint32),
            np.zeros(0 if self._wide else 1, np.uint32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
        )
        self.slots = kernel.Slots(*(np.zeros(64, np.int64) for _ in range(6)))
        self.room = kernel.Room(
            np.zeros((256, 2), np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(64, np.int64)
        )
        self.named: dict[tuple[int, int, int], int] = {}
        self._spans: dict[tuple[int, int], int] = {}

    def reserve(self, more: int) -> None:
        """Make room for ``more`` entries in the table."""
        if self.count + more > _FULL * len(self.keys):
            size = max(int(len(self.keys) * _GROWTH), int((self.count + more) / _FULL) + 1)
            keys, refs = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
            kernel.grow(self.keys, self.refs, keys, refs)
            self.keys, self.refs = keys, refs

    def open_slot(self, model: int, stream: int, number: int) -> int:
        """The slot of a model and stream that begins at ``number`` spans; made when it is new."""
        found = self.named.get((model, stream, number))
        if found is not None:
            return found
        slot = len(self.named)
        if slot == len(self.slots.model):
            self.slots = kernel.Slots(*(np.concatenate([a, np.zeros_like(a)]) for a in self.slots))
        span = self._spans.setdefault((model, number), len(self._spans))
        if span == len(self.room.spans):
            self.room = self.room._replace(spans=np.concatenate([self.room.spans, np.zeros_like(self.room.spans)]))
        s = self.slots
        s.model[slot], s.stream[slot], s.start[slot] = model, stream, number * int(self.limits.span[model])
        s.rows[slot], s.chunk[slot], s.span[slot] = 0, -1, span
        self.named[model, stream, number] = slot
        if 2 * len(self.named) > len(self.room.directory):
            self._index()
        else:
            name = np.array([kernel.pack_slot(model, stream, number)], np.int64)
            kernel.fill_directory(name, np.array([slot], np.int64), self.room.directory)
        return slot

    def _index(self) -> None:
        """Write the directory anew: it has become too small, or slots are gone."""
        size = len(self.room.directory)
        while 2 * len(self.named) > size:
            size *= 2
        names = [kernel.pack_slot(*name) for name in self.named]
        directory = np.zeros((size, 2), np.int64)
        kernel.fill_directory(np.array(names, np.int64), np.array(list(self.named.values()), np.int64), directory)
        self.room = self.room._replace(directory=directory)

    def add_chunks(self, more: int = 1) -> None:
        """Make at least ``more`` free chunks."""
        have = len(self.rows.slot)
        more = max(more, 16, int(have * _SLACK))
        for array in (self.rows.slot, self.rows.first):
            array.resize(have + more, refcheck=False)
        self.rows.words.resize(((have + more) * kernel.CHUNK, 4), refcheck=False)
        if self._wide:
            self.rows.low.resize((have + more) * kernel.CHUNK, refcheck=False)
        left = int(self.room.left[0])
        free = np.zeros(have + more, np.int64)
        free[:left] = self.room.free[:left]
        free[left : left + more] = np.arange(have + more - 1, have - 1, -1)
        self.rows.slot[have:] = FREE
        self.room = self.room._replace(free=free)
        self.room.left[0] = left + more

    def take_rows(self, slot: int, n: int) -> NDArray[np.int64]:
        """Where the next ``n`` rows of a slot stand, given out for loading."""
        have = int(self.slots.rows[slot])
        nth = np.arange(have, have + n)
        needed = (have + n + kernel.CHUNK - 1 >> kernel.CHUNK_BITS) - (have + kernel.CHUNK - 1 >> kernel.CHUNK_BITS)
        while self.room.left[0] < needed:
            self.add_chunks(needed)
        left = int(self.room.left[0])
        taken = self.room.free[left - needed : left][::-1].copy()
        self.room.left[0] = left - needed
        self.rows.slot[taken] = slot
        self.rows.first[taken] = (
            (have + kernel.CHUNK - 1 >> kernel.CHUNK_BITS) + np.arange(needed)
        ) << kernel.CHUNK_BITS
        chunks = taken if have % kernel.CHUNK == 0 else np.append(self.slots.chunk[slot], taken)
        if len(chunks):
            self.slots.chunk[slot] = chunks[-1]
        self.slots.rows[slot] += n
        self.room.spans[self.slots.span[slot]] += n
        found: NDArray[np.int64] = (
            chunks[(nth >> kernel.CHUNK_BITS) - (have >> kernel.CHUNK_BITS)] << kernel.CHUNK_BITS
        ) | (nth & (kernel.CHUNK - 1))
        return found

    def forget(
        self, names: Iterable[tuple[int, int, int]], words: kernel.Words, limit: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """Drop whole slots; returns the labels in their rows that must still be remembered (``kernels.join.forget``)."""
        gone = np.zeros(len(self.slots.model), np.uint8)
        dropped = set(names)
        gone[[self.named[name] for name in dropped]] = 1
        left = self.count - int(self.slots.rows[gone == 1].sum())
        size = max(_SMALLEST, min(len(self.keys), int(left * _GROWTH / _FULL)))
        keys, refs = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
        lines, self.count = kernel.forget(
            self.keys, self.refs, self.rows, self.slots, words, gone, limit, keys, refs, self.counts
        )
        self.keys, self.refs = keys, refs
        self._renumber(gone, dropped)
        return lines

    def _renumber(self, gone: NDArray[np.uint8], dropped: set[tuple[int, int, int]]) -> None:
        """Free the chunks of slots that are gone, and close the gaps in the numbers of slots and spans."""
        used = np.flatnonzero(self.rows.slot != FREE)
        owner = self.rows.slot[used]
        freed, left = used[gone[owner] == 1], int(self.room.left[0])
        self.room.free[left : left + len(freed)] = freed
        self.room.left[0] = left + len(freed)
        old = self.named
        self.named = {}
        spans: dict[tuple[int, int], int] = {}
        number = np.zeros(len(self.slots.model), np.int32)
        slots = kernel.Slots(*(np.zeros_like(a) for a in self.slots))
        rows_of_span = np.zeros_like(self.room.spans)
        for name, before in old.items():
            if name in dropped:
                continue
            slot = self.named[name] = len(self.named)
            number[before] = slot
            for array, was in zip(slots, self.slots, strict=True):
                array[slot] = was[before]
            span = spans.setdefault((name[0], name[2]), len(spans))
            slots.span[slot] = span
            rows_of_span[span] += slots.rows[slot]
        self.rows.slot[used] = number[owner]
        self.rows.slot[freed] = FREE
        self.slots, self._spans = slots, spans
        self.room = self.room._replace(spans=rows_of_span)
        self._index()

    @property
    def size_bytes(self) -> int:
        """What the arrays take."""
        arrays = (self.keys, self.refs, *self.rows, *self.slots, *self.room)
        return sum(a.nbytes for a in arrays)


def limits_of(models: tuple[Model, ...], partitions: int) -> kernel.Limits:
    """The limits of every model of a plan in one of ``partitions`` tasks."""
    horizon = np.array([m.horizon for m in models], np.int64)
    span = np.clip(horizon // SLOTS_PER_HORIZON, 1, LONGEST_SPAN)
    alive = horizon // span + 2  # the first and the last are there in part
    wide = np.array([m.labelled and m.task_code == REGRESSION for m in models], np.uint8)
    each = BYTES_IN_MEMORY + (BYTES_OF_NUMBER if wide.any() else 0)
    bound = [max(1, m.memory // partitions // each // n) for m, n in zip(models, alive.tolist(), strict=True)]
    return kernel.Limits(
        horizon,
        span,
        np.array(bound, np.int64),
        np.array([round(m.sample * 2**32) for m in models], np.uint64),
        wide,
        np.full(len(models), UNSEEN),
    )
