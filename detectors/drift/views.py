"""The coarser views of a subject that its tests use: 20 and 10 groups of neighbouring bins, top 20 categories.

Groups have about equal mass in the reference, except that a bin heavier than its share stands alone and the others get
the groups that are left: the zeros of a zero-inflated feature take one group, not nine of ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detectors.reference import Subject

FINE, COARSE = 20, 10
"""Groups for Anderson-Darling, and for Pearson's chi-squared and PSI."""
TOP_CATEGORIES = 20
"""Categories that are tested on their own; the rest, known or unseen, is one group."""


@dataclass(frozen=True, slots=True)
class View:
    """How a subject's slot vector is tested.

    `kind` is "constant", "ordered" or "categories". `fine` and `coarse` are the first bins of the groups, and
    `reference_fine`, `reference_coarse` the reference's counts in them, float64[groups]; both are the same unless
    ordered. `labels` name the coarse groups. `mode` is the drift vector's index of the commonest single bin, `others`
    the reference's count of all other values.
    """

    kind: str
    n: int
    fine: NDArray[np.int64]
    coarse: NDArray[np.int64]
    reference_fine: NDArray[np.float64]
    reference_coarse: NDArray[np.float64]
    labels: tuple[str, ...]
    mode: int
    others: int


def drift_slots(subject: Subject) -> NDArray[np.int64]:
    """Return which element of the drift vector each slot counts in, int64[width]; -1: missing and type errors, in none.

    Numeric: the bins, with below and above folded into the first and last; one bin only: [below, bin, above].
    Categorical: the top categories, then everything else (other categories, unseen ones) together.
    """
    element = np.arange(subject.width)
    if not subject.numeric:
        element = np.minimum(element, min(TOP_CATEGORIES, subject.bins))
    elif subject.bins > 1:
        element = np.clip(element - 1, 0, subject.bins - 1)
    element[-2:] = -1
    return element


def drift_matrix(subject: Subject, windows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the counts of slot vectors, int64[windows, width], that take part in drift, float64[windows, elements]."""
    element = drift_slots(subject)
    first = np.flatnonzero(np.diff(element[:-2], prepend=-1))
    matrix: NDArray[np.float64] = np.add.reduceat(windows[:, :-2], first, axis=1).astype(np.float64)
    return matrix


def drift_vector(subject: Subject, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the counts of one slot vector, int64[width], that take part in drift."""
    vector: NDArray[np.float64] = drift_matrix(subject, counts[None, :])[0]
    return vector


@lru_cache(maxsize=16_384)
def view(subject: Subject) -> View:
    """Return the view of a subject; cached by its content."""
    reference = drift_vector(subject, subject.counts)
    mode = int(np.argmax(reference))
    if subject.numeric and subject.bins > 1:
        fine, coarse = group_starts(reference, FINE), group_starts(reference, COARSE)
        kind, labels = "ordered", tuple(_between(subject, coarse.tolist()))
    else:
        fine = coarse = np.arange(len(reference))
        kind = "constant" if subject.bins == 1 else "categories"
        labels = _around(subject.edges[0]) if subject.numeric else (*subject.categories[: len(reference) - 1], "other")
    grouped = np.add.reduceat(reference, fine), np.add.reduceat(reference, coarse)
    return View(kind, subject.n, fine, coarse, *grouped, labels, mode, subject.n - int(reference[mode]))


def group_starts(counts: NDArray[np.float64], groups: int) -> NDArray[np.int64]:
    """Return the first bins of about `groups` groups of neighbours with about equal mass, heavy bins alone."""
    alone = np.zeros(len(counts), bool)
    while True:
        left = groups - int(alone.sum())
        share = float(counts[~alone].sum()) / max(1, left)
        heavy = ~alone & (counts > share)
        if not heavy.any() or left <= 1:
            break
        alone |= heavy
    starts = set(np.flatnonzero(alone).tolist())
    edges = np.flatnonzero(np.diff(np.concatenate(([True], alone, [True])).astype(np.int8)))
    for first, last in edges.reshape(-1, 2).tolist():
        mass = np.cumsum(counts[first:last])
        parts = max(1, round(float(mass[-1]) / share)) if share else 1
        middle = mass - counts[first:last] / 2
        group = np.minimum((middle * parts / max(mass[-1], 1.0)).astype(np.int64), parts - 1)
        starts.update((first + np.flatnonzero(np.diff(group, prepend=-1))).tolist())
    return np.array(sorted(starts), np.int64)


def _between(subject: Subject, starts: list[int]) -> list[str]:
    """Return "below b", "a to b", "from a" for groups of bins, and "= c" for an atom."""
    edges = subject.edges
    ends = [*starts[1:], subject.bins]
    labels = []
    for i, (first, last) in enumerate(zip(starts, ends, strict=True)):
        if edges[last] == np.nextafter(edges[first], np.inf) and 0 < i < len(starts) - 1:
            labels.append(f"= {edges[first]:.6g}")
        elif i == 0:
            labels.append(f"below {edges[last]:.6g}")
        else:
            labels.append(f"from {edges[first]:.6g}" + (f" to {edges[last]:.6g}" if i < len(starts) - 1 else ""))
    return labels


def _around(atom: float) -> tuple[str, str, str]:
    return f"below {atom:.6g}", f"= {atom:.6g}", f"above {atom:.6g}"
