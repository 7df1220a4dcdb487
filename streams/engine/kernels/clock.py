"""Event time, record by record: watermarks of predictions and clocks of labels (rules R1, R2, R4, R13).

All times are int64 ms. ``NEVER`` is a clock that has not started. A model that this partition has not seen itself, but that
has started elsewhere, has ``borrowed`` 1: its clock and ``heard`` are those of its start, and count only once the partition
has been silent about it for longer than ``idle``. So learning of a start early or late changes nothing for the first records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

NEVER = -(1 << 62)
UNSEEN = NEVER - 1
"""The floor of a model that this partition has not seen."""
ON_TIME, LATE, FUTURE, SKIPPED = 0, 1, 2, 3
"""What became of a row. SKIPPED: it belongs to no model (a dead letter, an unknown model) and moves only the partition's time."""
EVERY_MODEL = -2
"""The model of a label that names none."""


@compiled
def advance(
    model: NDArray[np.int32],
    event_time: NDArray[np.int64],
    record_time: NDArray[np.int64],
    watermark: NDArray[np.int64],
    heard: NDArray[np.int64],
    borrowed: NDArray[np.uint8],
    partition_time: int,
    pane: NDArray[np.int64],
    lateness: NDArray[np.int64],
    idle: NDArray[np.int64],
    future: int,
    floor: NDArray[np.int64],
    reach: int,
    status: NDArray[np.int8],
) -> int:
    """Decide for each row, in offset order, whether it is on time, and move the clocks; returns the partition's time.

    ``watermark`` and ``heard`` (record time of the model's last record) have one entry per model and change in place.
    A row is late when its pane's end + lateness is not after the watermark as it stood before the row: its model's
    watermark, moved on by the partition's clock while the model was silent for longer than ``idle``.

    ``floor`` of a model is UNSEEN until its first record here; then the furthest watermark of the models that were here
    before it, less ``reach`` ms (NEVER: it is the first). A label without a model that is older is nothing to it.
    """
    for i in range(len(model)):
        partition_time = max(partition_time, record_time[i])
        m = model[i]
        if m < 0:
            status[i] = SKIPPED
            continue
        if event_time[i] > record_time[i] + future:
            status[i] = FUTURE
            continue
        status[i] = ON_TIME
        if floor[m] == UNSEEN:
            furthest = NEVER
            for k in range(len(watermark)):
                if floor[k] != UNSEEN:
                    furthest = max(furthest, _read(watermark[k], heard[k], borrowed[k], partition_time, idle[k]))
            floor[m] = furthest - reach if furthest != NEVER else NEVER
        now = _read(watermark[m], heard[m], borrowed[m], partition_time, idle[m])
        end = (event_time[i] // pane[m] + 1) * pane[m]
        if now != NEVER and end + lateness[m] <= now:
            status[i] = LATE
        watermark[m] = max(now, event_time[i])
        heard[m] = partition_time
        borrowed[m] = 0
    return partition_time


@compiled
def advance_labels(
    model: NDArray[np.int32],
    label_time: NDArray[np.int64],
    record_time: NDArray[np.int64],
    clock: NDArray[np.int64],
    heard: NDArray[np.int64],
    borrowed: NDArray[np.uint8],
    partition_time: int,
    lateness: NDArray[np.int64],
    idle: NDArray[np.int64],
    future: int,
    status: NDArray[np.int8],
    effective: NDArray[np.int64],
) -> int:
    """Move the label clocks row by row and give each label its effective time; returns the partition's time.

    ``clock`` and ``heard`` have one entry per model and a last one for labels that name no model. The effective time is
    the label's own, but never behind its clock by more than the lateness: so what a label may still change depends on the
    label log alone. Where its own clock has not started, that of the labels without a model stands in for a model's, and
    the furthest of all models' for that.
    """
    last = len(clock) - 1
    for i in range(len(model)):
        partition_time = max(partition_time, record_time[i])
        m = model[i]
        if m == -1:
            status[i] = SKIPPED
            continue
        if label_time[i] > record_time[i] + future:
            status[i] = FUTURE
            continue
        status[i] = ON_TIME
        k = last if m == EVERY_MODEL else m
        now = _read(clock[k], heard[k], borrowed[k], partition_time, idle[k])
        if k != last and clock[last] != NEVER and (now == NEVER or borrowed[k]):
            now = _read(clock[last], heard[last], borrowed[last], partition_time, idle[last])
        if k == last and now == NEVER:
            for other in range(last):
                now = max(now, _read(clock[other], heard[other], borrowed[other], partition_time, idle[other]))
        effective[i] = label_time[i] if now == NEVER else max(label_time[i], now - lateness[k])
        clock[k] = max(now, label_time[i])
        heard[k] = partition_time
        borrowed[k] = 0
    return partition_time


@compiled
def _read(clock: int, heard: int, borrowed: int, partition_time: int, idle: int) -> int:
    """A clock as it stands at the partition's time: it runs on while its model has been silent for longer than ``idle``."""
    silent = partition_time - heard - idle
    if clock == NEVER or (borrowed and silent <= 0):
        return NEVER
    return clock + max(0, silent)


@compiled
def read_clocks(
    clock: NDArray[np.int64],
    heard: NDArray[np.int64],
    borrowed: NDArray[np.uint8],
    partition_time: int,
    idle: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """All clocks as they stand at the partition's time."""
    for k in range(len(clock)):
        out[k] = _read(clock[k], heard[k], borrowed[k], partition_time, idle[k])


@compiled
def label_clocks(clocks: NDArray[np.int64], borrowed: NDArray[np.uint8], out: NDArray[np.int64]) -> None:
    """How far the labels of each model are complete: the lower of its own clock and of that of labels without a model.

    ``clocks`` int64[models + 1] as read, the last that of labels without a model. One that has not started says nothing, and
    a borrowed one nothing where the other has started.
    """
    every = clocks[len(clocks) - 1]
    for m in range(len(out)):
        if every == NEVER:
            out[m] = clocks[m]
        elif clocks[m] == NEVER or borrowed[m]:
            out[m] = every
        else:
            out[m] = min(clocks[m], every)
