"""From worlds to slot vectors: by counting rows, or by drawing counts where rows are independent (exact, and far faster).

A window of independent rows has multinomial slot counts. ``probabilities`` gives their law from the formulas of the
features, ``draw`` draws windows from it; ``count`` counts rows that a ``Stream`` made, for worlds with autocorrelation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from detectors.reference import Reference
from detectors.reference.bins import numeric_slots
from loadtest.quality.worlds import BY_INDEX, BY_NAME, HOUR_MS, MONDAY_MS, NO_DRIFT, Stream, labels, mean_score, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detectors.reference import Subject
    from loadtest.quality.worlds import Feature, Shift


def build_reference(
    name: str, rng: np.random.Generator, rows: int, *, features: Sequence[Feature], days: int = 28
) -> Reference:
    """Return the reference of ``rows`` rows of a world, evenly spread over ``days`` days that begin on a Monday, with event times."""
    times, columns = Stream(name, rng, features).take(rows, days * 24 * HOUR_MS)
    return Reference.build({"event_time": times.tolist(), **table(columns)}, types=_types(features))


def _types(features: Sequence[Feature]) -> dict[str, str]:
    return {f.name: "categorical" if f.categorical else "numeric" for f in features}


def count(
    subjects: Sequence[Subject], columns: Mapping[str, NDArray[np.float64] | NDArray[np.int64]], windows: int
) -> list[NDArray[np.int64]]:
    """Return each subject's slot vectors, int64[windows, width]: the rows cut into ``windows`` equal pieces in order."""
    found = []
    for subject in subjects:
        values = columns[subject.name]
        if subject.numeric:
            slots = numeric_slots(subject.edges, values.astype(np.float64, copy=False))
        else:
            slots = _code_slots(subject)[values]
        rows = len(slots) // windows
        keys = slots[: rows * windows].reshape(windows, rows) + subject.width * np.arange(windows)[:, None]
        found.append(np.bincount(keys.ravel(), minlength=windows * subject.width).reshape(windows, subject.width))
    return found


def _code_slots(subject: Subject) -> NDArray[np.int64]:
    """Return the slot of each code, the missing one (-1) last."""
    known = {name: min(i, subject.bins) for i, name in enumerate((*subject.categories, *subject.others))}
    names = labels(int(BY_NAME[subject.name].parameter))
    return np.array([*(known.get(n, subject.bins + 1) for n in names), subject.bins + 2], np.int64)


def probabilities(subject: Subject, shift: Shift = NO_DRIFT, mean: float = 0.0) -> NDArray[np.float64]:
    """Return the probability of each slot, float64[width], for independent rows with a mean score of ``mean``."""
    feature = BY_NAME[subject.name]
    changed = shift if shift.touches(feature) else NO_DRIFT
    found = np.zeros(subject.width)
    if feature.categorical:
        cumulated = ndtr((_score_bounds(feature) - changed.mean - changed.spread * mean) / changed.spread)
        share = np.diff(cumulated)
        share = (1 - changed.mix) * share + changed.mix * share[::-1]
        np.add.at(found, _code_slots(subject)[:-1], share)
    else:
        # Slot i + 1 holds edges[i] <= value < edges[i + 1]; the float before an edge makes the bound inclusive.
        bounds = np.nextafter(subject.edges, -np.inf)
        scores = feature.scores(bounds / changed.scale if feature.family == "zero_inflated" else bounds)
        cumulated = np.concatenate(
            ([0.0], ndtr((scores - changed.mean - changed.spread * mean) / changed.spread), [1.0])
        )
        found[: subject.bins + 2] = np.diff(cumulated)
    found *= 1 - changed.nulls
    found[subject.bins + 2] += changed.nulls
    found = np.maximum(found, 0.0)  # differences of a cumulated law can be a rounding error below zero
    found /= found.sum()
    return found


def _score_bounds(feature: Feature) -> NDArray[np.float64]:
    codes = np.arange(-1, int(feature.parameter), dtype=np.float64)
    return feature.scores(codes)


def draw(
    subject: Subject,
    rng: np.random.Generator,
    windows: int,
    rows: int,
    *,
    name: str = "independent",
    start_ms: int = MONDAY_MS,
    window_ms: int = HOUR_MS,
    shift: Shift = NO_DRIFT,
) -> NDArray[np.int64]:
    """Return slot vectors of ``windows`` windows of ``rows`` independent rows, int64[windows, width].

    In ``daily`` and ``weekly`` worlds the cycle stands still within an hour or, when it is shorter, a window.
    """
    middles = start_ms + window_ms * np.arange(windows) + min(window_ms, HOUR_MS) // 2
    parts = max(1, window_ms // HOUR_MS)
    found = np.zeros((windows, subject.width), np.int64)
    for part in range(parts):
        means = mean_score(name, BY_INDEX[subject.name], middles + part * HOUR_MS)
        distinct, which = np.unique(means.round(12), return_inverse=True)
        share = rows * (part + 1) // parts - rows * part // parts
        for i, mean in enumerate(distinct.tolist()):
            chosen = np.flatnonzero(which == i)
            found[chosen] += rng.multinomial(share, probabilities(subject, shift, mean), size=len(chosen))
    return found
