"""Subjects and baselines as the plain arrays that `kernels.measure` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.drift.kernels import CATEGORIES, CONSTANT, ORDERED, Baselines, Layout
from detectors.drift.views import drift_slots, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.reference.subject import Subject

_KINDS = {"constant": CONSTANT, "ordered": ORDERED, "categories": CATEGORIES}


def pack_subjects(subjects: Sequence[Subject]) -> Layout:
    """Return how the slots of each subject fall into the groups of its `view`."""
    views = [view(s) for s in subjects]
    widths = np.array([s.width for s in subjects], np.int64)
    fine_of, coarse_of, in_mode = [], [], []
    for subject, seen in zip(subjects, views, strict=True):
        element = drift_slots(subject)
        part = element >= 0
        fine_of.append(np.where(part, np.searchsorted(seen.fine, element, "right") - 1, -1))
        coarse_of.append(np.where(part, np.searchsorted(seen.coarse, element, "right") - 1, -1))
        in_mode.append(element == seen.mode)
    return Layout(
        np.array([_KINDS[v.kind] for v in views], np.int64),
        np.cumsum(widths) - widths,
        widths,
        np.array([len(v.fine) for v in views], np.int64),
        np.array([len(v.coarse) for v in views], np.int64),
        np.concatenate(fine_of).astype(np.int64),
        np.concatenate(coarse_of).astype(np.int64),
        np.concatenate(in_mode),
    )


def pack_baselines(layout: Layout, vectors: Sequence[NDArray[np.int64]]) -> Baselines:
    """Return the grouped counts of baselines: `vectors[s]` is int64[slots, width] of subject s, in order of subjects."""
    subject = np.repeat(np.arange(len(vectors)), [len(v) for v in vectors])
    fine = np.zeros((len(subject), int(layout.fines.max())))
    coarse = np.zeros((len(subject), int(layout.coarses.max())))
    others = np.zeros(len(subject))
    b = 0
    for s, rows in enumerate(vectors):
        own = slice(int(layout.table[s]), int(layout.table[s] + layout.width[s]))
        part = layout.coarse_of[own] >= 0
        for row in rows[:, part]:
            fine[b] = np.bincount(layout.fine_of[own][part], row, fine.shape[1])
            coarse[b] = np.bincount(layout.coarse_of[own][part], row, coarse.shape[1])
            others[b] = row[~layout.in_mode[own][part]].sum()
            b += 1
    return Baselines(subject, fine, coarse, others)
