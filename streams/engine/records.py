"""A batch of raw records as the log hands it on: arrays, not message objects.

The seam between fetching and decoding. Today's Kafka edge fills it from confluent-kafka messages; a fetch that never makes
a Python object per message can fill the same arrays from native memory, because a decoder asks only for what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

Headers = list[tuple[str, bytes | None]]


def _no_key(_row: int) -> bytes | None:
    return None


def _no_headers(_row: int) -> Headers:
    return []


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records of one topic, sorted by (partition, offset).

    ``partition`` int32[n]; ``offset`` int64[n]; ``timestamp_ms`` int64[n], the record time in ms since epoch; ``values``
    the n values, None for a tombstone. ``key`` and ``headers`` are asked for by row, and only for dead letters.
    """

    topic: str
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    values: Sequence[bytes | None]
    key: Callable[[int], bytes | None] = _no_key
    headers: Callable[[int], Headers] = _no_headers

    def __len__(self) -> int:
        """The number of records."""
        return len(self.offset)

    def partitions(self) -> list[tuple[int, int, int]]:
        """The runs of equal partition: (partition, first row, last row + 1), in order."""
        if not len(self):
            return []
        cuts = np.flatnonzero(np.diff(self.partition)) + 1
        begin = [0, *cuts.tolist()]
        end = [*cuts.tolist(), len(self)]
        return [(int(self.partition[a]), a, b) for a, b in zip(begin, end, strict=True)]

    def without(self, places: Collection[tuple[str, int]]) -> list[RecordBatch]:
        """The batch without the records of some (topic, partition) pairs, in one part for each partition that is left."""
        gone = {partition for topic, partition in places if topic == self.topic}
        if not gone:
            return [self]
        return [self.part(first, last) for partition, first, last in self.partitions() if partition not in gone]

    def part(self, first: int, last: int) -> RecordBatch:
        """The rows first..last-1 as a batch of their own (views, no copy of the arrays)."""
        return RecordBatch(
            self.topic,
            self.partition[first:last],
            self.offset[first:last],
            self.timestamp_ms[first:last],
            self.values[first:last],
            lambda row: self.key(row + first),
            lambda row: self.headers(row + first),
        )


def batch_of(
    topic: str,
    rows: Sequence[tuple[int, int, int, bytes | None]],
    key: Callable[[int], bytes | None] = _no_key,
    headers: Callable[[int], Headers] = _no_headers,
) -> RecordBatch:
    """A batch from (partition, offset, timestamp_ms, value) rows that are already sorted by (partition, offset)."""
    partition, offset, timestamp, values = zip(*rows, strict=True) if rows else ((), (), (), ())
    return RecordBatch(
        topic,
        np.array(partition, np.int32),
        np.array(offset, np.int64),
        np.array(timestamp, np.int64),
        values,
        key,
        headers,
    )
