"""The delayed-label join: two open-addressing tables of four 64-bit words an entry (rule R5).

Prediction: key, event time, answer (score, or the value of a regression; float bits), meta.
Meta of a prediction: bit 0 labelled, bits 1-11 class, bits 12-23 model, bits 24-31 stream within the model.
Label: key, effective time, truth (float bits of a number, otherwise the hash of its text), meta.
Meta of a label: bit 0 joined, bit 1 truth is a number, bits 2-13 model + 1 (0: any model), bits 24-63 offset.

A key is the 64-bit hash of the prediction id and never 0; 0 marks a free slot. Probing is linear.
Whether a label joins a prediction depends on the two records only (their times at most the horizon apart, their models, and
no earlier label that fits), so the result is the same however the two topics interleave, and whether or not an entry beyond
the horizon has been dropped yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

_i64: Any = np.int64
"""An explicit int64: numba makes a float of int64 + uint64."""

WORDS = 4
OUTCOME_WORDS = 11
"""Of an outcome: model, stream, event time, label time, predicted class, answer, truth, truth is a number, label offset; then
the label's key and its meta as it was before."""
APPLIED, DUPLICATE, CONFLICT, WAITING = 0, 4, 5, 6
"""What became of a row; 1-3 are those of ``clock``."""

_ONE = np.uint64(1)
_TWO = np.uint64(2)


@compiled
def prediction_meta(model: int, stream: int, klass: int) -> np.uint64:
    """The meta word of a prediction that has no label yet."""
    return np.uint64((klass << 1) | (model << 12) | (stream << 24))


@compiled
def label_meta(scope: int, number: int, offset: int) -> np.uint64:
    """The meta word of a label that has met no prediction yet; ``scope`` is model + 1, 0 for any."""
    return np.uint64((number << 1) | (scope << 2) | (offset << 24))


@compiled
def _pair(
    predictions: NDArray[np.uint64],
    p: int,
    labels: NDArray[np.uint64],
    k: int,
    out: NDArray[np.uint64],
    count: int,
) -> NDArray[np.uint64]:
    """Mark both entries and write their outcome; the buffer doubles when it is full."""
    if count == len(out):
        wider = np.empty((2 * len(out), out.shape[1]), np.uint64)
        wider[:count] = out
        out = wider
    meta = predictions[p, 3]
    out[count, 0] = (meta >> np.uint64(12)) & np.uint64(0xFFF)
    out[count, 1] = (meta >> np.uint64(24)) & np.uint64(0xFF)
    out[count, 2] = predictions[p, 1]
    out[count, 3] = labels[k, 1]
    out[count, 4] = (meta >> _ONE) & np.uint64(0x7FF)
    out[count, 5] = predictions[p, 2]
    out[count, 6] = labels[k, 2]
    out[count, 7] = (labels[k, 3] >> _ONE) & _ONE
    out[count, 8] = labels[k, 3] >> np.uint64(24)
    out[count, 9] = labels[k, 0]
    out[count, 10] = labels[k, 3]
    predictions[p, 3] = meta | _ONE
    labels[k, 3] |= _ONE
    return out


@compiled
def _first_label(labels: NDArray[np.uint64], key: np.uint64, model: int, event_time: int, horizon: int) -> int:
    """The slot of the label that comes first in offset order of those that fit the prediction, or -1."""
    mask = np.uint64(len(labels) - 1)
    at = key & mask
    best, best_offset = -1, np.uint64(0)
    while labels[at, 0] != np.uint64(0):
        if labels[at, 0] == key:
            meta = labels[at, 3]
            scope = np.int64((meta >> _TWO) & np.uint64(0xFFF))
            offset = meta >> np.uint64(24)
            near = abs(np.int64(labels[at, 1]) - event_time) <= horizon
            if near and (scope == 0 or scope == model + 1) and (best < 0 or offset < best_offset):
                best, best_offset = _i64(at), offset
        at = (at + _ONE) & mask
    return best


@compiled
def join_predictions(
    predictions: NDArray[np.uint64],
    labels: NDArray[np.uint64],
    key: NDArray[np.uint64],
    event_time: NDArray[np.int64],
    model: NDArray[np.int32],
    stream: NDArray[np.int32],
    klass: NDArray[np.int64],
    answer: NDArray[np.uint64],
    horizon: NDArray[np.int64],
    labelled: NDArray[np.uint8],
    status: NDArray[np.int8],
    fresh: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], int, int]:
    """Remember predictions that are on time and join them with labels that wait.

    Sets ``status`` of a repeated prediction to DUPLICATE and ``fresh[i]`` where row i was inserted. The table must have
    room. Returns (outcomes[k, OUTCOME_WORDS], how many labels were joined for the first time, how many rows inserted).
    """
    out = np.empty((64, OUTCOME_WORDS), np.uint64)
    count, joined, inserted = 0, 0, 0
    mask = np.uint64(len(predictions) - 1)
    identity = np.uint64(0xFFFFF000)
    for i in range(len(key)):
        m = model[i]
        if status[i] != 0 or not labelled[m]:
            continue
        meta = prediction_meta(m, stream[i], klass[i])
        at = key[i] & mask
        repeated = False
        while predictions[at, 0] != np.uint64(0):
            if (
                predictions[at, 0] == key[i]
                and (predictions[at, 3] ^ meta) & identity == np.uint64(0)
                and abs(np.int64(predictions[at, 1]) - event_time[i]) <= horizon[m]
            ):
                repeated = True
                break
            at = (at + _ONE) & mask
        if repeated:
            status[i] = DUPLICATE
            continue
        predictions[at, 0] = key[i]
        predictions[at, 1] = np.uint64(event_time[i])
        predictions[at, 2] = answer[i]
        predictions[at, 3] = meta
        inserted += 1
        fresh[i] = 1
        k = _first_label(labels, key[i], m, event_time[i], horizon[m])
        if k >= 0:
            joined += _i64(labels[k, 3] & _ONE == np.uint64(0))
            out = _pair(predictions, _i64(at), labels, k, out, count)
            count += 1
    return out[:count], joined, inserted


@compiled
def join_labels(
    predictions: NDArray[np.uint64],
    labels: NDArray[np.uint64],
    key: NDArray[np.uint64],
    label_time: NDArray[np.int64],
    scope: NDArray[np.int32],
    truth: NDArray[np.uint64],
    number: NDArray[np.uint8],
    offset: NDArray[np.int64],
    horizon: NDArray[np.int64],
    longest: int,
    status: NDArray[np.int8],
) -> tuple[NDArray[np.uint64], int, int]:
    """Remember labels and join them with every prediction they name (R5).

    ``label_time`` is the effective time; ``scope`` model + 1, 0 for any. A row whose status is not 0 is passed over. Sets
    status to APPLIED, WAITING (no prediction yet), DUPLICATE or CONFLICT.
    Returns (outcomes, labels joined for the first time, rows inserted).
    """
    out = np.empty((64, OUTCOME_WORDS), np.uint64)
    count, joined, inserted = 0, 0, 0
    mask = np.uint64(len(labels) - 1)
    prediction_mask = np.uint64(len(predictions) - 1)
    for i in range(len(key)):
        if status[i] != 0:
            continue
        memory = longest if scope[i] == 0 else horizon[scope[i] - 1]
        at = key[i] & mask
        earlier, earlier_offset = -1, np.uint64(0)
        while labels[at, 0] != np.uint64(0):
            if labels[at, 0] == key[i]:
                other = np.int64((labels[at, 3] >> _TWO) & np.uint64(0xFFF))
                near = abs(np.int64(labels[at, 1]) - label_time[i]) <= memory
                first = earlier < 0 or labels[at, 3] >> np.uint64(24) < earlier_offset
                if near and first and (other == 0 or other == scope[i]):
                    earlier, earlier_offset = _i64(at), labels[at, 3] >> np.uint64(24)
            at = (at + _ONE) & mask
        if earlier >= 0:
            same = labels[earlier, 2] == truth[i] and ((labels[earlier, 3] >> _ONE) & _ONE) == np.uint64(number[i])
            status[i] = DUPLICATE if same else CONFLICT
            continue
        labels[at, 0] = key[i]
        labels[at, 1] = np.uint64(label_time[i])
        labels[at, 2] = truth[i]
        labels[at, 3] = label_meta(scope[i], number[i], offset[i])
        inserted += 1
        status[i] = WAITING
        spot = key[i] & prediction_mask
        while predictions[spot, 0] != np.uint64(0):
            if predictions[spot, 0] == key[i] and predictions[spot, 3] & _ONE == np.uint64(0):
                m = np.int64((predictions[spot, 3] >> np.uint64(12)) & np.uint64(0xFFF))
                near = abs(np.int64(predictions[spot, 1]) - label_time[i]) <= horizon[m]
                if near and (scope[i] == 0 or scope[i] == m + 1):
                    out = _pair(predictions, _i64(spot), labels, _i64(at), out, count)
                    count += 1
            spot = (spot + _ONE) & prediction_mask
        if labels[at, 3] & _ONE != np.uint64(0):
            status[i] = APPLIED
            joined += 1
    return out[:count], joined, inserted


@compiled
def rebuild(old: NDArray[np.uint64], limit: NDArray[np.int64], shift: int, new: NDArray[np.uint64]) -> int:
    """Move the entries that are not older than their group's ``limit`` into an empty table; returns how many.

    The group of an entry is the 12-bit field of its meta at ``shift`` (12: a prediction's model, 2: a label's scope).
    """
    mask = np.uint64(len(new) - 1)
    kept = 0
    for i in range(len(old)):
        if old[i, 0] == np.uint64(0):
            continue
        group = np.int64((old[i, 3] >> np.uint64(shift)) & np.uint64(0xFFF))
        if np.int64(old[i, 1]) < limit[group]:
            continue
        at = old[i, 0] & mask
        while new[at, 0] != np.uint64(0):
            at = (at + _ONE) & mask
        for w in range(WORDS):
            new[at, w] = old[i, w]
        kept += 1
    return kept


@compiled
def unjoined(labels: NDArray[np.uint64], limit: NDArray[np.int64]) -> int:
    """How many labels older than their group's ``limit`` never met a prediction."""
    lost = 0
    for i in range(len(labels)):
        if labels[i, 0] != np.uint64(0) and labels[i, 3] & _ONE == np.uint64(0):
            group = np.int64((labels[i, 3] >> _TWO) & np.uint64(0xFFF))
            lost += np.int64(labels[i, 1]) < limit[group]
    return lost


@compiled
def relink(predictions: NDArray[np.uint64], labels: NDArray[np.uint64], horizon: NDArray[np.int64]) -> None:
    """After a load: mark again which predictions are labelled, which follows from the entries alone.

    The log says it of the labels, because theirs may be gone.
    """
    for p in range(len(predictions)):
        if predictions[p, 0] != np.uint64(0):
            m = _i64((predictions[p, 3] >> np.uint64(12)) & np.uint64(0xFFF))
            k = _first_label(labels, predictions[p, 0], m, _i64(predictions[p, 1]), horizon[m])
            if k >= 0:
                predictions[p, 3] |= _ONE
                labels[k, 3] |= _ONE
