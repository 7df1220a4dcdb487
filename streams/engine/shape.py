"""Where each count of a feature pane lies: the shape of one reference, laid out for the compiled fold.

A pane is one int64 vector: a header of three numbers (rows, lowest offset, highest offset), then the slot vectors of the
reference's subjects one after the other. Panes of one shape hash add up slot by slot; the header merges as (+, min, max).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streams.engine.dictionary import UNSEEN, Columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.reference import Reference, Subject

HEADER = 3
"""Rows, lowest offset, highest offset."""
NO_OFFSET = np.iinfo(np.int64).max
"""The lowest offset of an empty pane; its highest is -1."""


def empty(width: int) -> NDArray[np.int64]:
    """A vector with nothing counted yet."""
    vector = np.zeros(width, np.int64)
    vector[1], vector[2] = NO_OFFSET, -1
    return vector


def merge(vectors: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The sum of vectors of equal width; exact, associative and commutative."""
    stacked = np.stack(vectors)
    total: NDArray[np.int64] = stacked.sum(axis=0)
    total[1], total[2] = stacked[:, 1].min(), stacked[:, 2].max()
    return total


@dataclass(frozen=True, slots=True)
class Shape:
    """The layout of one reference over the columns of its model, as flat arrays for ``kernels.fold``.

    Arrays have one entry per subject: ``column`` (index into the decoded row), ``categorical`` (0 or 1), ``base`` (first
    slot in the vector), ``bins`` (number of bins or categories), ``table`` (start in ``edges`` or ``slots``).
    """

    hash: str
    subjects: tuple[Subject, ...]
    width: int
    column: NDArray[np.int64]
    categorical: NDArray[np.int64]
    base: NDArray[np.int64]
    bins: NDArray[np.int64]
    table: NDArray[np.int64]
    table_size: NDArray[np.int64]
    edges: NDArray[np.float64]
    slots: NDArray[np.int64]

    def counts(self, vector: NDArray[np.int64], subject: int) -> NDArray[np.int64]:
        """The slot vector of one subject inside a pane's vector."""
        first = int(self.base[subject])
        return vector[first : first + self.subjects[subject].width]


def lay_out(reference: Reference, columns: Columns) -> Shape:
    """The shape of a reference over a model's columns; adds the columns and categories that it brings."""
    subjects = reference.subjects
    column, categorical, base, bins, table, table_size = ([0] * len(subjects) for _ in range(6))
    edges: list[NDArray[np.float64]] = []
    slots: list[NDArray[np.int64]] = []
    at, edge_at, slot_at = HEADER, 0, 0
    for index, subject in enumerate(subjects):
        source = "feature" if index < len(reference.features) else subject.name
        column[index] = columns.add(source, subject.name, subject.kind)
        base[index] = at
        at += subject.width
        if subject.kind in {"numeric", "integer"}:
            bins[index] = len(subject.edges) - 1
            table[index], table_size[index] = edge_at, len(subject.edges)
            edges.append(subject.edges)
            edge_at += len(subject.edges)
        else:
            codes = columns.categories(column[index], (*subject.categories, *subject.others))
            slot_of_code = np.full(int(codes.max(initial=UNSEEN)) + 1, len(subject.categories) + 1, np.int64)
            slot_of_code[codes] = np.minimum(np.arange(len(codes)), len(subject.categories))
            categorical[index], bins[index] = 1, len(subject.categories)
            table[index], table_size[index] = slot_at, len(slot_of_code)
            slots.append(slot_of_code)
            slot_at += len(slot_of_code)
    return Shape(
        hash=reference.shape_hash,
        subjects=subjects,
        width=at,
        column=np.array(column, np.int64),
        categorical=np.array(categorical, np.int64),
        base=np.array(base, np.int64),
        bins=np.array(bins, np.int64),
        table=np.array(table, np.int64),
        table_size=np.array(table_size, np.int64),
        edges=np.concatenate(edges) if edges else np.zeros(0),
        slots=np.concatenate(slots) if slots else np.zeros(0, np.int64),
    )
