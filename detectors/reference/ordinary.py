"""The ordinary variation of a model: what its reference's own windows look like when each is compared with the others.

Part of a reference whose table has event times. The rows are cut into windows of `window_ms`, aligned to the epoch as
live windows are, and each subject gets a `Habit`:

- `season`: whether a window is compared with all of the reference ("none"), with its rows of the same hour of day ("day",
  from 4 days on) or of the same hour of week ("week", from 28 days on). It is the simplest for which the mean statistic of the
  reference's own windows, each against the reference without it, is at most 1.1 times that of every finer one. Hours are
  UTC: where people change their clocks, the habits of a winter's reference are an hour off in summer.
- `baseline`: the counts of each slot of the season, on the groups of bins that the tests use.
- `dispersion`: how much wider than on independent rows the statistics spread (`detectors.decisions.nulls`).
- `scores`: -ln p of each window in order of time, so that any rule can be replayed on the reference.

Size as JSON, a subject with 28 days of hours: 3.4 KiB with a day's season, 5.7 KiB without one (six scales), 15 KiB with a
week's. Cost of building it from counts: 0.03 s, for 28 days of ten minutes 0.2 s.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from detectors.decisions.nulls import Dispersion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detectors.reference.subject import Subject

Season = Literal["none", "day", "week"]
"""What a window's baseline depends on."""
SEASONS: tuple[Season, ...] = ("none", "day", "week")
"""All seasons, the simplest first."""
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PERIOD_MS: dict[Season, int] = {"none": 0, "day": DAY_MS, "week": 7 * DAY_MS}
"""After how long a season begins again."""
STEP = 10
"""Scores are stored in tenths: a p-value is then known within 5 %, far below the noise of a tail fitted to 20 peaks."""
LARGEST_SCORE = 254
"""A score of 25.4, p = 1e-11, is stored for everything beyond."""
_MISSING = 255


@dataclass(frozen=True, slots=True, eq=False)
class Habit:
    """The ordinary variation of one subject.

    `baseline` is int64[slots, groups]; `n` the mean number of values in a window; `dispersion` that of single windows;
    `spread` the unfloored phi of (Anderson-Darling, chi-squared) at scales 1, 2, 4, ... as far as they were tested;
    `steadiness` the variance of daily means over what independent windows would give (1: the level does not wander), or None
    where it was not tested; `scores` float64[scales, windows], NaN where a window held too little: scale 1, and further
    scales where the subject shows no overdispersion at any.
    """

    season: Season
    baseline: NDArray[np.int64]
    n: float
    dispersion: Dispersion
    spread: tuple[tuple[float, float], ...]
    steadiness: float | None
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Round the scores to what is stored, so that a reference decides alike before and after it was saved."""
        object.__setattr__(self, "scores", np.clip(np.rint(self.scores * STEP), 0, LARGEST_SCORE) / STEP)

    def baselines(self, subject: Subject) -> NDArray[np.int64]:
        """Return a slot vector for each slot of the season, int64[slots, subject.width].

        Counts stand in the first bin of their group, so that every view of the tests sums up right.

        Raises:
            ValueError: the baseline does not fit the subject.
        """
        at = positions(subject)
        if self.baseline.shape[1] != len(at):
            message = f"{subject.name!r}: a baseline of {self.baseline.shape[1]} groups does not fit {len(at)}"
            raise ValueError(message)
        vectors = np.zeros((len(self.baseline), subject.width), np.int64)
        vectors[:, at] = self.baseline
        return vectors

    def to_dict(self) -> dict[str, Any]:
        """Return the content as JSON values."""
        stored = np.where(np.isnan(self.scores), _MISSING, np.rint(self.scores * STEP))
        return {
            "season": self.season,
            "baseline": self.baseline.tolist(),
            "n": self.n,
            "dispersion": self.dispersion.to_list(),
            "spread": [list(pair) for pair in self.spread],
            "steadiness": self.steadiness,
            "scores": [base64.b64encode(row.astype(np.uint8).tobytes()).decode() for row in stored],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], subject: Subject, windows: int) -> Habit:
        """Return the habit whose `to_dict` this was; raises KeyError, TypeError or ValueError when it is none."""
        rows = [np.frombuffer(base64.b64decode(text, validate=True), np.uint8) for text in content["scores"]]
        scores = np.array(rows, np.float64).reshape(len(rows), windows)
        baseline = np.array(content["baseline"], np.int64)
        season = content["season"]
        if season not in PERIOD_MS or baseline.ndim != 2 or baseline.min() < 0 or not rows:  # noqa: PLR2004  # slots, groups
            message = f"the ordinary variation of {subject.name!r} is damaged"
            raise ValueError(message)
        steadiness = content["steadiness"]
        made = cls(
            season,
            baseline,
            float(content["n"]),
            Dispersion.from_list(content["dispersion"]),
            tuple((float(a), float(b)) for a, b in content["spread"]),
            None if steadiness is None else float(steadiness),
            np.where(scores == _MISSING, np.nan, scores / STEP),
        )
        made.baselines(subject)
        return made


@dataclass(frozen=True, slots=True, eq=False)
class Ordinary:
    """The habits of a reference's subjects (None where windows held too few values of one), for windows of `window_ms`.

    `start_ms` is the start of the first of `windows` windows, gaps included.
    """

    window_ms: int
    start_ms: int
    windows: int
    subjects: tuple[Habit | None, ...]

    @property
    def span_ms(self) -> int:
        """How much time lies between the start of the first window and the end of the last, gaps included."""
        return self.windows * self.window_ms

    @property
    def covered_ms(self) -> int:
        """How much time the windows speak for: `covered_ms` of those in which a subject was tested, one window at least."""
        scored = [~np.isnan(habit.scores[0]) for habit in self.subjects if habit is not None]
        held = np.flatnonzero(np.logical_or.reduce(scored)) if scored else np.zeros(0, np.int64)
        return max(self.window_ms, covered_ms(self.start_ms + held * self.window_ms, self.window_ms))

    @property
    def slot_ms(self) -> int:
        """The length of a season's slots: an hour, or a window where that is longer."""
        return max(HOUR_MS, self.window_ms)

    def slots(self, habit: Habit, starts_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the slots of a habit's season in which windows start."""
        return slots_at(habit.season, self.slot_ms, starts_ms)

    def to_dict(self) -> dict[str, Any]:
        """Return the content as JSON values."""
        return {
            "window_ms": self.window_ms,
            "start_ms": self.start_ms,
            "windows": self.windows,
            "subjects": [None if h is None else h.to_dict() for h in self.subjects],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], subjects: tuple[Subject, ...]) -> Ordinary:
        """Return the ordinary variation whose `to_dict` this was; raises KeyError, TypeError or ValueError otherwise."""
        windows = int(content["windows"])
        habits = tuple(
            None if c is None else Habit.from_dict(c, s, windows)
            for c, s in zip(content["subjects"], subjects, strict=True)
        )
        made = cls(int(content["window_ms"]), int(content["start_ms"]), windows, habits)
        if made.window_ms <= 0 or windows <= 0:
            message = f"{windows} windows of {made.window_ms} ms are no ordinary variation"
            raise ValueError(message)
        return made


def covered_ms(starts_ms: NDArray[np.int64], window_ms: int) -> int:
    """Return how much time windows with these starts (ascending) speak for: the days, counted from the first, that hold one.

    A night without traffic is part of its day, a day without any is not covered. Below two days, and for windows of a day
    or more, it is the windows themselves, or the time between them.
    """
    if not len(starts_ms) or window_ms >= DAY_MS:
        return len(starts_ms) * window_ms
    span = int(starts_ms[-1] - starts_ms[0]) + window_ms
    return DAY_MS * len(np.unique((starts_ms - starts_ms[0]) // DAY_MS)) if span >= 2 * DAY_MS else span


def slots_in(season: Season, slot_ms: int) -> int:
    """Return how many slots of `slot_ms` a season has; 1 without a season."""
    return max(1, math.ceil(PERIOD_MS[season] / slot_ms))


def slots_at(season: Season, slot_ms: int, start_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the slots of windows that start at `start_ms`, int64 of the same shape."""
    return np.zeros_like(start_ms) if season == "none" else start_ms % PERIOD_MS[season] // slot_ms


def group_bounds(subject: Subject) -> NDArray[np.int64]:
    """Return the first indices, in the subject's drift vector, of the groups that all its tests can be summed from."""
    from detectors.drift.views import view  # noqa: PLC0415  # detectors.drift imports subjects

    seen = view(subject)
    return np.union1d(seen.fine, seen.coarse).astype(np.int64)


def positions(subject: Subject) -> NDArray[np.int64]:
    """Return where in the subject's slot vector the count of each group stands."""
    bounds = group_bounds(subject)
    if subject.numeric:
        return bounds + 1 if subject.bins > 1 else bounds
    bounds[-1] = subject.bins
    return bounds
