"""From the rows and times of a table to the habits of a reference's subjects (`detectors.reference.ordinary`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.decisions.nulls import Dispersion, scores
from detectors.drift.cells import ANDERSON, CHI2, LEAST_N, Cells, combine
from detectors.drift.views import drift_matrix
from detectors.reference.ordinary import (
    DAY_MS,
    HOUR_MS,
    PERIOD_MS,
    SEASONS,
    Habit,
    Ordinary,
    Season,
    covered_ms,
    group_bounds,
    slots_at,
    slots_in,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.drift.cells import CellStatistics
    from detectors.reference.columns import Column
    from detectors.reference.subject import Subject

DEFAULT_WINDOW_MS = 600_000
"""The default of `windows.size` in monitor.yaml."""
LEAST_WINDOWS = 50
"""With fewer windows the moments of their statistics would be a guess: no habit."""
MOST_WINDOWS = 40_320
"""The latest windows that take part: 28 days of minutes, years of hours. It bounds time and size."""
SHORTEST: dict[Season, int] = {"none": 0, "day": 4 * DAY_MS, "week": 28 * DAY_MS}
"""The time that a reference must cover for a season: four turns of it, so that a slot is compared with three others."""
CLEARLY = 1.1
"""A finer season is chosen when the simpler one's mean statistic is larger by this factor: 10 % wider costs little power."""
SCALES = (1, 2, 4, 8, 16, 32)
"""Numbers of windows that are tested together."""
LEAST_BLOCKS = 20
"""A scale is used when the reference holds this many disjoint stretches of it: 32 hours in 28 days."""
ERRORS = 3.0
"""Standard errors by which phi may exceed 1 at a scale before it counts as overdispersion: 12 tests a subject are made."""


def ordinary_of(
    subjects: Sequence[Subject],
    sources: Sequence[Column],
    times_ms: NDArray[np.float64],
    window_ms: int = DEFAULT_WINDOW_MS,
) -> Ordinary | None:
    """Return the ordinary variation of subjects with their columns; `times_ms` is float64[rows], NaN where missing.

    They begin and end with a window of `LEAST_N` rows, or the one beside it: a stray row with a wrong time must not stretch
    the reference over years. None when no subject has `LEAST_WINDOWS` windows with `LEAST_N` values.
    """
    known = np.flatnonzero(~np.isnan(times_ms))
    at = (times_ms[known] // window_ms).astype(np.int64)
    held, rows = np.unique(at, return_counts=True)
    full = held[rows >= LEAST_N]
    if len(full) < LEAST_WINDOWS:
        return None
    near = at[(at >= full[0] - 1) & (at <= full[-1] + 1)]
    last = int(near.max())
    first = max(int(near.min()), last - MOST_WINDOWS + 1)
    inside = (at >= first) & (at <= last)
    known, at = known[inside], at[inside] - first
    windows = last - first + 1
    starts = (np.arange(windows) + first) * window_ms
    habits = []
    for subject, source in zip(subjects, sources, strict=True):
        slot = subject.slot_of_each(source)[known]
        flat = np.bincount(at * subject.width + slot, minlength=windows * subject.width)
        habits.append(habit_of(subject, flat.reshape(windows, subject.width).astype(np.int64), starts, window_ms))
    if all(h is None for h in habits):
        return None
    return Ordinary(window_ms, first * window_ms, windows, tuple(habits))


def habit_of(
    subject: Subject, windows: NDArray[np.int64], starts_ms: NDArray[np.int64], window_ms: int
) -> Habit | None:
    """Return the habit of a subject whose windows' slot vectors are int64[T, width], in order and without gaps.

    None when fewer than `LEAST_WINDOWS` of them hold `LEAST_N` values.
    """
    rows = windows[:, :-2].sum(axis=1)
    enough = rows >= LEAST_N
    if int(enough.sum()) < LEAST_WINDOWS:
        return None
    slot_ms = max(HOUR_MS, window_ms)
    season, found, against = _season(subject, windows, starts_ms, window_ms, slot_ms)
    usual = float(np.round(rows[enough].mean(), 1))
    dispersion = Dispersion.fit(found, usual)
    scored = [scores(dispersion.p_values(found, usual))]
    spread = [_spread(found)]
    if season == "none" and _plain(found, 1, len(windows)):
        longer = _longer(subject, windows)
        spread += [s for s, _ in longer]
        if all(p is not None for _, p in longer):
            scored += [scores(p) for _, p in longer if p is not None]
    grouped = np.add.reduceat(drift_matrix(subject, against), group_bounds(subject), axis=1).astype(np.int64)
    slots = slots_at(season, slot_ms, starts_ms)
    steadiness = _steadiness(subject, windows, against, slots, window_ms)
    return Habit(season, grouped, usual, dispersion, tuple(spread), steadiness, np.array(scored))


def _season(
    subject: Subject, windows: NDArray[np.int64], starts_ms: NDArray[np.int64], window_ms: int, slot_ms: int
) -> tuple[Season, CellStatistics, NDArray[np.int64]]:
    """Return the simplest season that serves, the windows' tests under it, and its slot vectors."""
    covered = covered_ms(starts_ms[windows[:, :-2].sum(axis=1) >= LEAST_N], window_ms)
    tried: list[tuple[Season, CellStatistics, NDArray[np.int64]]] = []
    for season in SEASONS:
        if covered < SHORTEST[season] or (season != "none" and PERIOD_MS[season] <= slot_ms):
            continue
        slots = slots_at(season, slot_ms, starts_ms)
        against = np.zeros((slots_in(season, slot_ms), subject.width), np.int64)
        np.add.at(against, slots, windows)
        tried.append((season, Cells([subject], [against]).statistics(windows, slots, own=True), against))
    spreads = [_spread(found) for _, found, _ in tried]
    for i, spread in enumerate(spreads):
        if all(a <= CLEARLY * b for finer in spreads[i + 1 :] for a, b in zip(spread, finer, strict=True)):
            return tried[i]
    return tried[-1]


def _spread(found: CellStatistics) -> tuple[float, float]:
    """Return the unfloored phi of Anderson-Darling and chi-squared; 1 where a test never applies."""
    made = []
    for test in (ANDERSON, CHI2):
        known = np.isfinite(found.statistic[test])
        mean = float(found.mean[test, known].sum())
        made.append(round(float(found.statistic[test, known].sum()) / mean, 4) if mean else 1.0)
    return made[0], made[1]


def _plain(found: CellStatistics, scale: int, windows: int) -> bool:
    """Return whether windows of one scale spread no more than independent rows would, within sampling error."""
    blocks = windows / scale
    for test, phi in zip((ANDERSON, CHI2), _spread(found), strict=True):
        known = np.isfinite(found.statistic[test])
        if known.any():
            mean, variance = float(found.mean[test, known].mean()), float(found.variance[test, known].mean())
            if phi > 1 + ERRORS * np.sqrt(variance / blocks) / mean:
                return False
    return True


def _longer(
    subject: Subject, windows: NDArray[np.int64]
) -> list[tuple[tuple[float, float], NDArray[np.float64] | None]]:
    """Return (phi, p-values) of sliding sums at the further scales; None for p-values where they are overdispersed."""
    cells = Cells([subject], [windows.sum(axis=0)])
    total = np.concatenate((np.zeros((1, subject.width), np.int64), np.cumsum(windows, axis=0)))
    made: list[tuple[tuple[float, float], NDArray[np.float64] | None]] = []
    for scale in SCALES[1:]:
        if len(windows) < LEAST_BLOCKS * scale:
            break
        summed = total[scale:] - total[:-scale]
        found = cells.statistics(summed, own=True)
        p = np.concatenate((np.full(scale - 1, np.nan), combine(found)[0]))
        # A window without values is not judged live; the sum would be that of an earlier one.
        p[windows[:, :-2].sum(axis=1) == 0] = np.nan
        made.append((_spread(found), p if _plain(found, scale, len(windows)) else None))
    return made


def _steadiness(
    subject: Subject, windows: NDArray[np.int64], against: NDArray[np.int64], slots: NDArray[np.int64], window_ms: int
) -> float | None:
    """Return the variance of daily mean levels over what independent windows would give; None below 14 days.

    The level of a window is its mean mid-rank among the baseline's groups, minus the baseline's own.
    """
    a_day = DAY_MS // window_ms
    days = len(windows) // a_day if a_day > 1 else 0
    if days < 14:  # noqa: PLR2004  # in the docstring
        return None
    base = drift_matrix(subject, against)
    rank = np.cumsum(base.sum(axis=0)) - base.sum(axis=0) / 2
    rows = drift_matrix(subject, windows)
    n = rows.sum(axis=1)
    mean = rows @ rank / np.maximum(n, 1)
    usual = base @ rank / np.maximum(base.sum(axis=1), 1)
    level = np.where(n >= LEAST_N, mean - usual[slots], np.nan)[: days * a_day].reshape(days, a_day)
    known = np.isfinite(level)
    counts = known.sum(axis=1)
    use = counts >= max(2, a_day // 4)
    if int(use.sum()) < 14 or float(np.nanvar(level)) == 0:  # noqa: PLR2004  # as above
        return None
    daily = np.where(known, level, 0.0).sum(axis=1)[use] / counts[use]
    within = float(np.nanvar(level))
    return round(float(np.var(daily, ddof=1) * counts[use].mean() / within), 3)
