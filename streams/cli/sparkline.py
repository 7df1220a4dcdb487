"""A distribution as a row of little bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detectors.reference.subject import Subject

CELLS = 24
"""Bars of a sparkline: fits beside the other columns on a terminal of 120."""
_BARS = " ▁▂▃▄▅▆▇█"


def sparkline(subject: Subject) -> str:
    """Return the counts of a subject as at most ``CELLS`` bars.

    A categorical subject has a bar per category, in order of count. The bins of a numeric one hold about equal counts, so
    their counts alone would say nothing: the mass is spread over cells of equal width between the 1 % and 99 % quantiles.
    """
    heights = _density(subject) if subject.numeric else subject.counts[: min(CELLS, subject.bins)].astype(np.float64)
    top = float(heights.max()) if len(heights) else 0.0
    if not top:
        return ""
    # What is there at all gets the lowest bar, so that a rare value is seen.
    levels = np.where(heights > 0, np.maximum(1, np.round(heights / top * (len(_BARS) - 1))), 0).astype(int)
    return "".join(_BARS[level] for level in levels.tolist())


def _density(subject: Subject) -> NDArray[np.float64]:
    """The mass of equal-width cells, each bin's mass spread evenly over its width."""
    mass = subject.counts[1 : subject.bins + 1].astype(np.float64)
    below = np.concatenate([[0.0], np.cumsum(mass)])
    if not below[-1]:
        return mass
    low, high = np.interp(np.array([0.01, 0.99]) * below[-1], below, subject.edges)
    if not low < high:
        return np.ones(1)
    cells = np.linspace(low, high, CELLS + 1)
    return np.diff(np.interp(cells, subject.edges, below))
