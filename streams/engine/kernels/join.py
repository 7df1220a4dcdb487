"""The delayed-label join: compiled loops over what one task remembers (rule R5).

*Predictions.* A table with open addressing leads from the 64-bit hash of the id (never 0: that marks a free place) to a row.
Its places are in the order of the hash's upper half, so growing it is one sequential pass. Rows stand in chunks, each chunk
in one *slot* (a model, a stream, an eighth of the horizon), so that a whole slot is forgotten at once. A row is four words
of 32 bits:

    0  event time, ms since the slot's start      1  answer (binary: bit 31 the class, the rest the score as float32)
    2  |label time - event time| in ms            3  bits 0-5 code of the truth, 6 the label named no model, 7 label time
                                                     before event time, 8 labelled, 9 the label is kept here; 16-31 cohort

*Labels.* A label that finds a prediction when it comes, and whose truth has a code, is kept in that row. All others stand in a
second table of four words of 64 bits: key, effective time, truth (bits of a number, otherwise the hash of its text), and meta:
bit 0 joined, bit 1 truth is a number, bits 2-13 model + 1 (0: any model), bits 24-63 offset. A label in a row is the first of
its key; in the table the offsets tell the order, and one that moved from a row to the table has offset 0.

Whether a label joins a prediction depends on the two records only (their times at most the horizon apart, their models, and
no earlier label that fits), so the result is the same however the two topics interleave, and whether or not an entry beyond
the horizon has been dropped yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

_i64: Any = np.int64
_u64: Any = np.uint64
_u32: Any = np.uint32

WORDS = 4
OUTCOME_WORDS = 8
"""Of an outcome: model, stream, cohort, event time, label time, answer (its second half in the upper 32 bits), truth, truth is
a number."""
APPLIED, DUPLICATE, CONFLICT, WAITING, SAMPLED_OUT = 0, 4, 5, 6, 7
"""What became of a row; 1-3 are those of ``clock``."""
CHUNK_BITS = 6
CHUNK = 1 << CHUNK_BITS
"""Rows of a chunk: half of one is free in each slot."""
NO_CODE = 63
"""The code of a truth that has none, or of a label that is kept in the table."""
MAX_ROWS = 1 << 24
"""Rows of a slot: the log names them with 24 bits."""
LARGEST_CODED = 1000.0
"""Whole numbers up to this size may have a code; a regression's labels would use up all codes."""
REMEMBERED, LABELLED, EXPIRED, REFUSED, SAMPLED = 0, 1, 2, 3, 4
"""Rows of the counts of predictions, [5, models]: EXPIRED without a label, REFUSED at the bound, SAMPLED out."""
DONE, NEEDS_SLOT, NEEDS_CHUNK = 0, 1, 2
"""Why ``remember`` returned: every row was looked at, or it needs room that only its caller can make."""

_ANY, _BEFORE, _LABELLED, _KEPT = _u32(1 << 6), _u32(1 << 7), _u32(1 << 8), _u32(1 << 9)
_CODE = _u32(63)
_NOWHERE = 0xFFFFFFFF
_ONE, _TWO, _HALF = np.uint64(1), np.uint64(2), np.uint64(32)


class Rows(NamedTuple):
    """The rows of all slots.

    ``words`` uint32[n, 4]; ``low`` uint32[n] the second halves of a regression's answers ([1] where nobody has one);
    of each chunk ``slot`` int32 and ``first`` int64, the number of its first row within the slot.
    """

    words: NDArray[np.uint32]
    low: NDArray[np.uint32]
    slot: NDArray[np.int32]
    first: NDArray[np.int64]


class Slots(NamedTuple):
    """Of each slot: model, stream, ``start`` ms, how many rows, its last chunk, and the ``span`` (all streams) it counts in."""

    model: NDArray[np.int64]
    stream: NDArray[np.int64]
    start: NDArray[np.int64]
    rows: NDArray[np.int64]
    chunk: NDArray[np.int64]
    span: NDArray[np.int64]


class Room(NamedTuple):
    """Where the next row goes.

    ``directory`` int64[size, 2] from packed (model, stream, number) + 1 to a slot; ``free`` int64
    chunks, of which the last ``left[0]`` are free; ``spans`` int64: rows of each span.
    """

    directory: NDArray[np.int64]
    free: NDArray[np.int64]
    left: NDArray[np.int64]
    spans: NDArray[np.int64]


class Limits(NamedTuple):
    """What holds for each model.

    ``horizon`` and ``span`` ms, ``bound`` rows of a span, ``share`` of ids (x 2**32), ``wide``: answers of 64 bits,
    and the ``floor`` of ``kernels.clock.advance``, which writes it: the time from which labels without a model may join, ms.
    """

    horizon: NDArray[np.int64]
    span: NDArray[np.int64]
    bound: NDArray[np.int64]
    share: NDArray[np.uint64]
    wide: NDArray[np.uint8]
    floor: NDArray[np.int64]


class Words(NamedTuple):
    """The truths that have a code: ``truth`` uint64[63], ``number`` uint8[63], and ``used`` int64[1] of them."""

    truth: NDArray[np.uint64]
    number: NDArray[np.uint8]
    used: NDArray[np.int64]


class Told(NamedTuple):
    """What the loops tell.

    ``outcomes`` uint64[n, OUTCOME_WORDS], ``marks`` uint64[n, 2] (slot, entry of the log), ``lines``
    uint64[m, 4] of the table of labels, and ``done`` int64[5], how many there are of each (OUTCOMES, MARKS, LINES), and how many
    labels were joined for the first time (JOINED) and records newly remembered (REMEMBERED_ROWS).
    """

    outcomes: NDArray[np.uint64]
    marks: NDArray[np.uint64]
    lines: NDArray[np.uint64]
    done: NDArray[np.int64]


OUTCOMES, MARKS, LINES, JOINED, REMEMBERED_ROWS = 0, 1, 2, 3, 4


@compiled
def _home(key: np.uint64, size: int) -> Any:  # noqa: ANN401  # an integer, which numba infers
    """The place where the search for a key begins: its upper half as a share of the table."""
    return _i64(((key >> _HALF) * _u64(size)) >> _HALF)


@compiled
def pack_slot(model: int, stream: int, number: int) -> int:
    """A slot's name in the directory; never 0."""
    return (((model << 8) | stream) << 43 | number) + 1


@compiled
def slot_home(name: int, size: int) -> Any:  # noqa: ANN401  # an integer, which numba infers
    """Where the search for a slot begins; model and stream, in the upper bits, count as much as the number does."""
    mixed = (name + (name >> 43) * 2654435769) * -7046029254386353131
    return (mixed ^ (mixed >> 32)) & (size - 1)


@compiled
def _find_slot(directory: NDArray[np.int64], name: int) -> Any:  # noqa: ANN401  # an integer, which numba infers
    at = slot_home(name, len(directory))
    while directory[at, 0] != 0:
        if directory[at, 0] == name:
            return directory[at, 1]
        at = (at + 1) & (len(directory) - 1)
    return -1


@compiled
def fill_directory(names: NDArray[np.int64], slots: NDArray[np.int64], directory: NDArray[np.int64]) -> None:
    """Put names that are not there into a directory that is large enough."""
    for i in range(len(names)):
        at = slot_home(names[i], len(directory))
        while directory[at, 0] != 0:
            at = (at + 1) & (len(directory) - 1)
        directory[at, 0], directory[at, 1] = names[i], slots[i]


@compiled
def _label_time(cells: NDArray[np.uint32], row: int, event_time: int) -> Any:  # noqa: ANN401  # an integer, which numba infers
    """The time of the label that is kept in a row."""
    lag = _i64(cells[row, 2])
    return event_time - lag if cells[row, 3] & _BEFORE != _u32(0) else event_time + lag


@compiled
def _wider(out: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A buffer of twice the length, with what is in this one."""
    wider = np.empty((2 * len(out), out.shape[1]), np.uint64)
    wider[: len(out)] = out
    return wider


@compiled
def _copy_line(labels: NDArray[np.uint64], at: int, lines: NDArray[np.uint64], to: int) -> None:
    """Copy a line of the table of labels."""
    for w in range(WORDS):
        lines[to, w] = labels[at, w]


@compiled
def _tell(
    out: NDArray[np.uint64],
    cells: NDArray[np.uint32],
    low: NDArray[np.uint32],
    model: int,
    stream: int,
    row: int,
    event_time: int,
    label_time: int,
    truth: np.uint64,
    number: np.uint64,
    wide: int,
    count: int,
) -> None:
    """Write the outcome of a row and a label."""
    answer = _u64(cells[row, 1])
    if wide:
        answer |= _u64(low[row]) << _HALF
    out[count, 0] = _u64(model)
    out[count, 1] = _u64(stream)
    out[count, 2] = _u64(cells[row, 3]) >> _u64(16)
    out[count, 3] = _u64(event_time)
    out[count, 4] = _u64(label_time)
    out[count, 5] = answer
    out[count, 6] = truth
    out[count, 7] = number


@compiled
def _first_label(
    labels: NDArray[np.uint64], key: np.uint64, model: int, event_time: int, horizon: int, floor: int
) -> int:
    """The place of the label that comes first in offset order of those in the table that fit the prediction, or -1."""
    mask = _u64(len(labels) - 1)
    at = key & mask
    best, best_offset = -1, _u64(0)
    while labels[at, 0] != _u64(0):
        if labels[at, 0] == key:
            meta = labels[at, 3]
            scope = _i64((meta >> _TWO) & _u64(0xFFF))
            offset = meta >> _u64(24)
            time = _i64(labels[at, 1])
            near = abs(time - event_time) <= horizon and (scope != 0 or time >= floor)
            if near and (scope == 0 or scope == model + 1) and (best < 0 or offset < best_offset):
                best, best_offset = _i64(at), offset
        at = (at + _ONE) & mask
    return best


@compiled
def _search(
    keys: NDArray[np.uint64],
    refs: NDArray[np.uint32],
    cells: NDArray[np.uint32],
    slot_of: NDArray[np.int32],
    model_of: NDArray[np.int64],
    stream_of: NDArray[np.int64],
    start_of: NDArray[np.int64],
    key: np.uint64,
    model: int,
    stream: int,
    time: int,
    horizon: int,
    floor: int,
) -> tuple[int, bool, int, int]:
    """Look at the rows of a key: (the free place behind them, the prediction is there, row and time of a label that fits or -1)."""
    at, size = _home(key, len(keys)), len(keys)
    kept, kept_time = _i64(-1), _i64(0)
    while keys[at] != _u64(0):
        if keys[at] == key:
            row = _i64(refs[at])
            owner = _i64(slot_of[row >> CHUNK_BITS])
            other = start_of[owner] + _i64(cells[row, 0])
            if model_of[owner] == model and stream_of[owner] == stream and abs(other - time) <= horizon:
                return at, True, kept, kept_time
            state = cells[row, 3]
            if state & _KEPT != _u32(0) and (state & _ANY != _u32(0) or model_of[owner] == model):
                known = _label_time(cells, row, other)
                if abs(known - time) <= horizon and (state & _ANY == _u32(0) or known >= floor):
                    kept, kept_time = row, known
        at += 1
        if at == size:
            at = 0
    return at, False, kept, kept_time


@compiled
def _write(
    cells: NDArray[np.uint32], low: NDArray[np.uint32], row: int, time: int, answer: np.uint64, wide: int, cohort: int
) -> None:
    """Fill in a new row."""
    cells[row, 0] = _u32(time)
    cells[row, 1] = _u32(answer & _u64(0xFFFFFFFF))
    cells[row, 2] = _u32(0)
    cells[row, 3] = _u32(cohort) << _u32(16)
    if wide:
        low[row] = _u32(answer >> _HALF)


@compiled
def remember(  # noqa: PLR0915  # one loop over records: what it counts would have to go in and out of each part
    begin: int,
    keys: NDArray[np.uint64],
    refs: NDArray[np.uint32],
    rows: Rows,
    slots: Slots,
    room: Room,
    limits: Limits,
    words: Words,
    labels: NDArray[np.uint64],
    key: NDArray[np.uint64],
    event_time: NDArray[np.int64],
    model: NDArray[np.int32],
    stream: NDArray[np.int32],
    cohort: NDArray[np.int32],
    answer: NDArray[np.uint64],
    status: NDArray[np.int8],
    fresh: NDArray[np.int64],
    counts: NDArray[np.int64],
    told: Told,
) -> tuple[int, int]:
    """Remember the predictions from row ``begin`` on whose status is 0, and join them with labels that came before.

    Sets ``status`` of a repeated prediction to DUPLICATE and ``fresh[i]`` to the row of one that was remembered, else -1.
    The table must have room for all, and ``told`` for a line of each kind for every row: outcomes, marks, and the labels
    of the table that were joined for the first time. Returns why it stopped, and at which row.
    """
    out, marks, lines, done = told
    # Taken out of their tuples once: each access in the loop would count references.
    cells, low, slot_of, first_of = rows
    model_of, stream_of, start_of, rows_of, chunk_of, span_of = slots
    directory, free, left, span_rows = room
    horizons, spans, bounds, shares, wides, floors = limits
    truths, numbers = words.truth, words.number
    for i in range(begin, len(key)):
        m = _i64(model[i])
        if status[i] != 0 or horizons[m] == 0:
            continue
        if key[i] & _u64(0xFFFFFFFF) >= shares[m]:
            counts[SAMPLED, m] += 1
            continue
        horizon, time = horizons[m], event_time[i]
        number = time // spans[m]
        slot = _find_slot(directory, pack_slot(m, _i64(stream[i]), number))
        if slot < 0:
            return NEEDS_SLOT, i
        chunk = chunk_of[slot]
        if rows_of[slot] & (CHUNK - 1) == 0 and left[0] == 0:
            return NEEDS_CHUNK, i
        at, repeated, kept, kept_time = _search(
            keys,
            refs,
            cells,
            slot_of,
            model_of,
            stream_of,
            start_of,
            key[i],
            m,
            _i64(stream[i]),
            time,
            horizon,
            floors[m],
        )
        if repeated:
            status[i] = DUPLICATE
            continue
        if span_rows[span_of[slot]] >= bounds[m] or rows_of[slot] >= MAX_ROWS:
            counts[REFUSED, m] += 1
            continue
        if rows_of[slot] & (CHUNK - 1) == 0:
            left[0] -= 1
            chunk = free[left[0]]
            chunk_of[slot] = chunk
            slot_of[chunk] = slot
            first_of[chunk] = rows_of[slot]
        nth = rows_of[slot]
        row = (chunk << CHUNK_BITS) | (nth & (CHUNK - 1))
        rows_of[slot] += 1
        span_rows[span_of[slot]] += 1
        keys[at], refs[at] = key[i], _u32(row)
        _write(cells, low, row, time - start_of[slot], answer[i], _i64(wides[m]), _i64(cohort[i]))
        fresh[i] = row
        done[REMEMBERED_ROWS] += 1
        counts[REMEMBERED, m] += 1
        k = _i64(-1) if kept >= 0 else _first_label(labels, key[i], m, time, horizon, floors[m])
        if kept < 0 and k < 0:
            continue
        if kept >= 0:
            code = _i64(cells[kept, 3] & _CODE)
            truth, is_number, label_time = truths[code], _u64(numbers[code]), kept_time
        else:
            truth, is_number, label_time = labels[k, 2], (labels[k, 3] >> _ONE) & _ONE, _i64(labels[k, 1])
            if labels[k, 3] & _ONE == _u64(0):
                labels[k, 3] |= _ONE
                _copy_line(labels, k, lines, done[LINES])
                done[LINES] += 1
                done[JOINED] += 1
        cells[row, 3] |= _LABELLED | _u32(NO_CODE)
        counts[LABELLED, m] += 1
        _tell(
            out, cells, low, m, _i64(stream[i]), row, time, label_time, truth, is_number, _i64(wides[m]), done[OUTCOMES]
        )
        done[OUTCOMES] += 1
        marks[done[MARKS], 0], marks[done[MARKS], 1] = _u64(slot), _u64(nth) | (_u64(NO_CODE) << _u64(24))
        done[MARKS] += 1
    return DONE, len(key)


@compiled
def _code_of(
    truths: NDArray[np.uint64],
    numbers: NDArray[np.uint8],
    used: NDArray[np.int64],
    truth: np.uint64,
    number: int,
    coded: int,
) -> Any:  # noqa: ANN401  # an integer, which numba infers
    """The code of a truth, given when it is new and there is one left; NO_CODE without one."""
    for c in range(used[0]):
        if truths[c] == truth and numbers[c] == number:
            return _i64(c)
    if not coded or used[0] == NO_CODE:
        return _i64(NO_CODE)
    c = used[0]
    truths[c], numbers[c] = truth, number
    used[0] += 1
    return _i64(c)


@compiled
def _earlier_row(
    keys: NDArray[np.uint64],
    refs: NDArray[np.uint32],
    cells: NDArray[np.uint32],
    slot_of: NDArray[np.int32],
    model_of: NDArray[np.int64],
    start_of: NDArray[np.int64],
    key: np.uint64,
    scope: int,
    time: int,
    memory: int,
    code: int,
    horizon_of: NDArray[np.int64],
    floor_of: NDArray[np.int64],
) -> tuple[bool, bool, bool, int]:
    """Look at the rows of a key: (one keeps a label, one that this repeats, it has the same truth, how many rows it fits)."""
    at, size = _home(key, len(keys)), len(keys)
    some, fits = False, 0
    while keys[at] != _u64(0):
        if keys[at] == key:
            row = _i64(refs[at])
            state = cells[row, 3]
            owner = _i64(slot_of[row >> CHUNK_BITS])
            m, event_time = model_of[owner], start_of[owner] + _i64(cells[row, 0])
            if state & _KEPT != _u32(0):
                some = True
                known = _label_time(cells, row, event_time)
                if abs(known - time) <= memory and (state & _ANY != _u32(0) or m + 1 == scope):
                    return True, True, _i64(state & _CODE) == code, 0
            named = scope == m + 1
            near = abs(time - event_time) <= horizon_of[m] and (named or (scope == 0 and time >= floor_of[m]))
            fits += _i64(near and state & _LABELLED == _u32(0))
        at += 1
        if at == size:
            at = 0
    return some, False, False, fits


@compiled
def _earlier_line(
    labels: NDArray[np.uint64],
    key: np.uint64,
    scope: int,
    time: int,
    memory: int,
    truth: np.uint64,
    number: np.uint64,
    some: bool,  # noqa: FBT001  # compiled functions take positions only
) -> tuple[np.uint64, bool, bool, bool]:
    """Look for the first of the earlier labels in the table: (the free place behind them, and as ``_earlier_row``)."""
    mask = _u64(len(labels) - 1)
    place = key & mask
    found, same, first = False, False, _u64(0)
    while labels[place, 0] != _u64(0):
        if labels[place, 0] == key:
            some = True
            meta = labels[place, 3]
            other, order = _i64((meta >> _TWO) & _u64(0xFFF)), meta >> _u64(24)
            fits = abs(_i64(labels[place, 1]) - time) <= memory and (other in (0, scope))
            if fits and (not found or order < first):
                found, first = True, order
                same = labels[place, 2] == truth and (meta >> _ONE) & _ONE == number
        place = (place + _ONE) & mask
    return place, some, found, same


@compiled
def join_labels(  # noqa: PLR0915  # as above
    begin: int,
    keys: NDArray[np.uint64],
    refs: NDArray[np.uint32],
    rows: Rows,
    slots: Slots,
    limits: Limits,
    words: Words,
    labels: NDArray[np.uint64],
    key: NDArray[np.uint64],
    label_time: NDArray[np.int64],
    scope: NDArray[np.int32],
    truth: NDArray[np.uint64],
    number: NDArray[np.uint8],
    coded: NDArray[np.uint8],
    offset: NDArray[np.int64],
    longest: int,
    most: np.uint64,
    status: NDArray[np.int8],
    counts: NDArray[np.int64],
    told: Told,
) -> int:
    """Join each label from row ``begin`` on, whose status is 0, with every prediction it names, or keep it until one comes (R5).

    ``label_time`` is the effective time; ``scope`` model + 1, 0 for any; ``coded`` whether the truth may have a code;
    ``longest`` the longest horizon and ``most`` the largest share of all models. Sets status to APPLIED, WAITING (no
    prediction yet), DUPLICATE, CONFLICT or SAMPLED_OUT. The table of labels must have room, and ``told`` for a line of every
    row; returns at which row it needs more room for outcomes and marks, or their number when it is done.
    """
    out, marks, lines, done = told
    size = len(keys)
    cells, low, slot_of, first_of = rows
    model_of, stream_of, start_of = slots.model, slots.stream, slots.start
    horizons, shares, wides, floors = limits.horizon, limits.share, limits.wide, limits.floor
    truths, numbers, used = words
    mask = _u64(len(labels) - 1)
    for i in range(begin, len(key)):
        if status[i] != 0:
            continue
        s, time = _i64(scope[i]), label_time[i]
        share = most if s == 0 else shares[s - 1]
        if key[i] & _u64(0xFFFFFFFF) >= share:
            status[i] = SAMPLED_OUT
            continue
        memory = longest if s == 0 else horizons[s - 1]
        code = _code_of(truths, numbers, used, truth[i], _i64(number[i]), _i64(coded[i]))
        others, earlier, same, fits = _earlier_row(
            keys, refs, cells, slot_of, model_of, start_of, key[i], s, time, memory, code, horizons, floors
        )
        place = key[i] & mask
        if not earlier:
            place, others, earlier, same = _earlier_line(
                labels, key[i], s, time, memory, truth[i], _u64(number[i]), others
            )
        if earlier:
            status[i] = DUPLICATE if same else CONFLICT
            continue
        if max(done[OUTCOMES], done[MARKS]) + fits > len(out):
            return i
        done[REMEMBERED_ROWS] += 1
        status[i] = APPLIED if fits else WAITING
        kept = others or code == NO_CODE
        at = _home(key[i], size)
        while fits:
            if keys[at] == key[i]:
                row = _i64(refs[at])
                slot = _i64(slot_of[row >> CHUNK_BITS])
                m = model_of[slot]
                event_time = start_of[slot] + _i64(cells[row, 0])
                lag = time - event_time
                near = abs(lag) <= horizons[m] and (s == m + 1 or (s == 0 and time >= floors[m]))
                if near and cells[row, 3] & _LABELLED == _u32(0):
                    state = _u32(NO_CODE)
                    if not kept and abs(lag) <= _NOWHERE:
                        kept = True
                        state = _u32(code) | (_ANY if s == 0 else _u32(0)) | (_BEFORE if lag < 0 else _u32(0))
                        cells[row, 2] = _u32(abs(lag))
                        cells[row, 3] |= _KEPT
                    cells[row, 3] |= _LABELLED | state
                    counts[LABELLED, m] += 1
                    wide, stream = _i64(wides[m]), stream_of[slot]
                    number_of = _u64(number[i])
                    _tell(out, cells, low, m, stream, row, event_time, time, truth[i], number_of, wide, done[OUTCOMES])
                    done[OUTCOMES] += 1
                    nth = first_of[row >> CHUNK_BITS] + (row & (CHUNK - 1))
                    marks[done[MARKS], 0] = _u64(slot)
                    marks[done[MARKS], 1] = _u64(nth) | (_u64(state) << _u64(24)) | (_u64(cells[row, 2]) << _HALF)
                    done[MARKS] += 1
                    fits -= 1
            at += 1
            if at == size:
                at = 0
        here = status[i] == APPLIED
        done[JOINED] += _i64(here)
        if here and not others and code != NO_CODE and kept:
            continue  # it is kept in a row
        labels[place, 0] = key[i]
        labels[place, 1] = _u64(time)
        labels[place, 2] = truth[i]
        labels[place, 3] = _u64(here) | (_u64(number[i]) << _ONE) | (_u64(s) << _TWO) | (_u64(offset[i]) << _u64(24))
        _copy_line(labels, _i64(place), lines, done[LINES])
        done[LINES] += 1
    return len(key)


@compiled
def grow(
    keys: NDArray[np.uint64], refs: NDArray[np.uint32], new_keys: NDArray[np.uint64], new_refs: NDArray[np.uint32]
) -> None:
    """Move every place of a table into an empty one."""
    size = len(new_keys)
    for i in range(len(keys)):
        if keys[i] != _u64(0):
            at = _home(keys[i], size)
            while new_keys[at] != _u64(0):
                at += 1
                if at == size:
                    at = 0
            new_keys[at], new_refs[at] = keys[i], refs[i]


@compiled
def enter(key: NDArray[np.uint64], row: NDArray[np.int64], keys: NDArray[np.uint64], refs: NDArray[np.uint32]) -> None:
    """Put loaded rows into a table that has room for them."""
    size = len(keys)
    for i in range(len(key)):
        at = _home(key[i], size)
        while keys[at] != _u64(0):
            at += 1
            if at == size:
                at = 0
        keys[at], refs[at] = key[i], _u32(row[i])


@compiled
def forget(
    keys: NDArray[np.uint64],
    refs: NDArray[np.uint32],
    rows: Rows,
    slots: Slots,
    words: Words,
    gone: NDArray[np.uint8],
    limit: NDArray[np.int64],
    new_keys: NDArray[np.uint64],
    new_refs: NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.uint64], int]:
    """Move what is not in a slot that is ``gone`` into an empty table.

    Labels in rows that go, and are not older than their group's ``limit`` (int64[models + 1], first those of any model), must
    still be remembered: returned as lines of the table of labels, offset 0. Also returns how many places are taken.
    """
    size = len(new_keys)
    out = np.empty((16, WORDS), np.uint64)
    kept, lines = 0, 0
    for i in range(len(keys)):
        if keys[i] == _u64(0):
            continue
        row = _i64(refs[i])
        slot = _i64(rows.slot[row >> CHUNK_BITS])
        if not gone[slot]:
            at = _home(keys[i], size)
            while new_keys[at] != _u64(0):
                at += 1
                if at == size:
                    at = 0
            new_keys[at], new_refs[at] = keys[i], refs[i]
            kept += 1
            continue
        state = rows.words[row, 3]
        if state & _LABELLED == _u32(0):
            counts[EXPIRED, slots.model[slot]] += 1
        if state & _KEPT != _u32(0):
            scope = _i64(0) if state & _ANY != _u32(0) else slots.model[slot] + 1
            time = _label_time(rows.words, row, slots.start[slot] + _i64(rows.words[row, 0]))
            if time >= limit[scope]:
                code = _i64(state & _CODE)
                if lines == len(out):
                    out = _wider(out)
                out[lines, 0], out[lines, 1], out[lines, 2] = keys[i], _u64(time), words.truth[code]
                out[lines, 3] = _ONE | (_u64(words.number[code]) << _ONE) | (_u64(scope) << _TWO)
                lines += 1
    return out[:lines], kept


@compiled
def contents(
    keys: NDArray[np.uint64], refs: NDArray[np.uint32], rows: Rows, slots: Slots, words: Words, wide: NDArray[np.uint8]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Everything that is remembered, in no promised order: for looking, and for digests.

    Predictions uint64[n, 7] (key, event time, model, stream, cohort, answer, labelled) and the labels in their rows
    uint64[k, 4] (key, time, truth, meta as in the table).
    """
    n = 0
    for i in range(len(keys)):
        n += keys[i] != _u64(0)
    found, held = np.empty((n, 7), np.uint64), np.empty((n, WORDS), np.uint64)
    at, lines = 0, 0
    for i in range(len(keys)):
        if keys[i] == _u64(0):
            continue
        row = _i64(refs[i])
        slot = _i64(rows.slot[row >> CHUNK_BITS])
        m, state = slots.model[slot], rows.words[row, 3]
        time = slots.start[slot] + _i64(rows.words[row, 0])
        found[at, 0], found[at, 1], found[at, 2] = keys[i], _u64(time), _u64(m)
        found[at, 3], found[at, 4] = _u64(slots.stream[slot]), _u64(state) >> _u64(16)
        found[at, 5] = _u64(rows.words[row, 1]) | (_u64(rows.low[row]) << _HALF if wide[m] else _u64(0))
        found[at, 6] = _u64(state & _LABELLED != _u32(0))
        at += 1
        if state & _KEPT != _u32(0):
            code = _i64(state & _CODE)
            scope = _i64(0) if state & _ANY != _u32(0) else m + 1
            held[lines, 0], held[lines, 1] = keys[i], _u64(_label_time(rows.words, row, time))
            held[lines, 2] = words.truth[code]
            held[lines, 3] = _ONE | (_u64(words.number[code]) << _ONE) | (_u64(scope) << _TWO)
            lines += 1
    return found, held[:lines]


@compiled
def mark(rows: Rows, row: NDArray[np.int64], entry: NDArray[np.uint64]) -> None:
    """Repeat logged marks: ``row[i]`` is labelled, as ``entry[i]`` says."""
    for i in range(len(row)):
        state = _u32((entry[i] >> _u64(24)) & _u64(0xFF))
        rows.words[row[i], 2] = _u32(entry[i] >> _HALF)
        rows.words[row[i], 3] |= _LABELLED | state
        if state & _CODE != _u32(NO_CODE):
            rows.words[row[i], 3] |= _KEPT


@compiled
def is_known(labels: NDArray[np.uint64], line: NDArray[np.uint64]) -> bool:
    """Whether the table holds the same label already, its offset aside."""
    mask = _u64(len(labels) - 1)
    at = line[0] & mask
    low = _u64(0xFFFFFF)
    while labels[at, 0] != _u64(0):
        if (
            labels[at, 0] == line[0]
            and labels[at, 1] == line[1]
            and labels[at, 2] == line[2]
            and (labels[at, 3] ^ line[3]) & low == _u64(0)
        ):
            return True
        at = (at + _ONE) & mask
    return False


@compiled
def insert(labels: NDArray[np.uint64], lines: NDArray[np.uint64]) -> int:
    """Put labels that moved out of rows into the table, which has room; each once. Returns how many, moved to the front."""
    mask = _u64(len(labels) - 1)
    kept = 0
    for i in range(len(lines)):
        if is_known(labels, lines[i]):
            continue
        at = lines[i, 0] & mask
        while labels[at, 0] != _u64(0):
            at = (at + _ONE) & mask
        for w in range(WORDS):
            labels[at, w] = lines[i, w]
            lines[kept, w] = lines[i, w]
        kept += 1
    return kept


@compiled
def rebuild(old: NDArray[np.uint64], limit: NDArray[np.int64], new: NDArray[np.uint64]) -> tuple[int, int]:
    """Move the labels that are not older than their scope's ``limit`` into an empty table.

    Returns how many stayed, and how many of those that went had met no prediction: the orphans.
    """
    mask = _u64(len(new) - 1)
    kept, orphans = 0, 0
    for i in range(len(old)):
        if old[i, 0] == _u64(0):
            continue
        scope = _i64((old[i, 3] >> _TWO) & _u64(0xFFF))
        if _i64(old[i, 1]) < limit[scope]:
            orphans += _i64(old[i, 3] & _ONE == _u64(0))
            continue
        at = old[i, 0] & mask
        while new[at, 0] != _u64(0):
            at = (at + _ONE) & mask
        for w in range(WORDS):
            new[at, w] = old[i, w]
        kept += 1
    return kept, orphans
