"""Seeded streams of 20 features with known truth, for measuring how detectors decide.

Every feature is a monotone function of a latent standard normal score, so what happens to the score (autocorrelation, a
daily cycle, a shift) happens to all shapes of distribution alike, in the feature's own normal scores: for a normal
feature "mean + 0.1 sd" is just that, for a skewed one it is the change that a rank test finds equally hard.

- ``independent``: rows are independent;
- ``ar``: each score is AR(1) from row to row with coefficient 0.9, marginals as before (a Gaussian copula);
- ``daily``: independent, the mean score follows a sine of one day with amplitude 0.3, each feature with its own phase;
- ``both``: autocorrelated and daily;
- ``weekly``: as daily, and on Saturdays and Sundays (UTC) the mean score is 0.3 higher;
- ``wandering``: the mean score is a random walk of hourly steps, 0.02 sd per square root of a day: no season repeats it.

Features are independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import lfilter
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import poisson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WORLDS = ("independent", "ar", "daily", "both", "weekly", "wandering")
"""Names of the worlds."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONDAY_MS = 4 * DAY_MS
"""A Monday, 00:00 UTC (1970-01-05): where streams begin unless told otherwise."""
AR = 0.9
"""Correlation of a row's score with the one before it (STATISTICS section 1)."""
CYCLE_SD = 0.3
"""Amplitude of the daily cycle, and height of the weekend, in sd of the score (STATISTICS section 1)."""
WANDER_SD = 0.02
"""Sd of the random walk after one day; after 28 days 0.1: what a window of 1,000 rows just sees."""
ZERO_SHARE = 0.9
"""Zeros of a zero-inflated feature."""
_ROWS = 20_000
"""Rows that are generated in one piece by ``stream``: 20 columns of them stay in the processor's cache."""


@dataclass(frozen=True)
class Feature:
    """A column: ``family`` is the shape, ``parameter`` its one number (sigma, mean of counts, number of classes)."""

    name: str
    family: str
    parameter: float = 1.0

    @property
    def categorical(self) -> bool:
        """Whether values are codes of categories (0, 1, ...), -1 when missing."""
        return self.family == "categorical"

    @cached_property
    def cumulated(self) -> NDArray[np.float64]:
        """P(value <= i) of a discrete feature, i = 0, 1, ...; ends where nothing is left."""
        if self.family == "counts":
            top = int(poisson.ppf(1 - 1e-12, self.parameter))
            return np.asarray(poisson.cdf(np.arange(top), self.parameter), np.float64)
        weights = 1 / (np.arange(int(self.parameter)) + self.parameter / 10)  # the commonest 10 times the rarest
        return np.asarray(np.cumsum(weights)[:-1] / weights.sum(), np.float64)

    def values(self, score: NDArray[np.float64]) -> NDArray[np.float64] | NDArray[np.int64]:
        """Return the values that belong to latent scores."""
        match self.family:
            case "normal":
                return score.copy()
            case "lognormal":
                return np.exp(self.parameter * score)
            case "exponential":
                return np.asarray(-log_ndtr(-score), np.float64)
            case "uniform":
                return np.asarray(ndtr(score), np.float64)
            case "zero_inflated":
                found = np.zeros(len(score))
                some = score > ndtri(ZERO_SHARE)
                found[some] = np.exp(self.parameter * _beyond(score[some]))
                return found
            case _:
                codes = np.searchsorted(ndtri(self.cumulated), score)
                return codes if self.categorical else codes.astype(np.float64)

    def scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score s of each value with P(feature <= value) = P(score <= s); infinities stay infinite."""
        with np.errstate(divide="ignore", invalid="ignore"):
            match self.family:
                case "normal":
                    return values.astype(np.float64)
                case "lognormal":
                    return np.log(np.maximum(values, 0.0)) / self.parameter
                case "exponential":
                    return np.asarray(-ndtri(np.exp(-np.maximum(values, 0.0))), np.float64)
                case "uniform":
                    return np.asarray(ndtri(np.clip(values, 0.0, 1.0)), np.float64)
                case "zero_inflated":
                    inner = ndtr(np.log(np.maximum(values, 0.0)) / self.parameter)
                    found = np.asarray(-ndtri((1 - ZERO_SHARE) * (1 - inner)), np.float64)
                    return np.where(values < 0, -np.inf, found)
                case _:
                    last = len(self.cumulated)
                    at = np.clip(np.floor(np.clip(values, -1, last)), -1, last).astype(np.int64)
                    return np.asarray(ndtri(np.concatenate(([0.0], self.cumulated, [1.0]))), np.float64)[at + 1]


def _beyond(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal scores of what lies above the zeros, itself taken as a whole."""
    return np.asarray(-ndtri(np.minimum(1.0, ndtr(-score) / (1 - ZERO_SHARE))), np.float64)


FEATURES: tuple[Feature, ...] = (
    *(Feature(f"normal_{i}", "normal") for i in (1, 2, 3)),
    *(Feature(f"lognormal_{i}", "lognormal", s) for i, s in ((1, 0.5), (2, 1.0), (3, 1.5))),
    *(Feature(f"exponential_{i}", "exponential") for i in (1, 2, 3)),
    *(Feature(f"uniform_{i}", "uniform") for i in (1, 2, 3)),
    *(Feature(f"counts_{i}", "counts", mean) for i, mean in ((1, 1.0), (2, 5.0), (3, 30.0))),
    *(Feature(f"zero_inflated_{i}", "zero_inflated", s) for i, s in ((1, 0.5), (2, 1.0), (3, 1.0))),
    Feature("category_5", "categorical", 5),
    Feature("category_200", "categorical", 200),
)
"""The 20 features of STATISTICS section 1: 18 numeric and two categorical."""
BY_NAME = {feature.name: feature for feature in FEATURES}


@dataclass(frozen=True, slots=True)
class Shift:
    """What truly changed. ``mean`` and ``spread`` act on the score (z -> mean + spread * z).

    ``scale`` multiplies the non-zero values of zero-inflated features, ``mix`` is the share of categories drawn from the
    reversed order of commonness instead, ``nulls`` the share of missing values. ``only`` names the features that change;
    empty means all of them.
    """

    name: str = "no drift"
    mean: float = 0.0
    spread: float = 1.0
    scale: float = 1.0
    mix: float = 0.0
    nulls: float = 0.0
    only: tuple[str, ...] = ()

    def touches(self, feature: Feature) -> bool:
        """Whether it changes this feature."""
        return not self.only or feature.name in self.only


NO_DRIFT = Shift()
SHIFTS = (
    Shift("mean + 0.05 sd", mean=0.05, only=("normal_1",)),
    Shift("mean + 0.1 sd", mean=0.1, only=("normal_1",)),
    Shift("mean + 0.25 sd", mean=0.25, only=("normal_1",)),
    Shift("mean + 0.33 sd", mean=0.33, only=("normal_1",)),
    Shift("mean + 0.5 sd", mean=0.5, only=("normal_1",)),
    Shift("spread x 1.05", spread=1.05, only=("normal_1",)),
    Shift("spread x 1.2", spread=1.2, only=("normal_1",)),
    Shift("skewed, mean + 0.1 sd", mean=0.1, only=("lognormal_2",)),
    Shift("non-zero part + 50 %", scale=1.5, only=("zero_inflated_2",)),
    Shift("category mix, 10 % reversed", mix=0.1, only=("category_5",)),
    Shift("5 % nulls", nulls=0.05, only=("normal_1",)),
)
"""The shifts of STATISTICS, each in one feature of 20."""


class Stream:
    """An endless stream of a world: ``take`` continues where the last one ended (autocorrelation and level go on).

    Raises:
        ValueError: the world has no such name.
    """

    def __init__(
        self, name: str, rng: np.random.Generator, features: Sequence[Feature] = FEATURES, start_ms: int = MONDAY_MS
    ) -> None:
        """Begin at ``start_ms`` (event time)."""
        if name not in WORLDS:
            message = f"there is no world {name!r}: use one of {', '.join(WORLDS)}"
            raise ValueError(message)
        self.name, self.features, self.at_ms = name, tuple(features), start_ms
        self._rng = rng
        self._last = rng.standard_normal((len(self.features), 1))
        self._level, self._hour = np.zeros(len(self.features)), start_ms // HOUR_MS

    def take(
        self, rows: int, span_ms: int, shift: Shift = NO_DRIFT
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64] | NDArray[np.int64]]]:
        """Return the next ``rows`` rows, evenly spread over ``span_ms``: (event times int64[rows], columns by name).

        Numeric columns are float64 with NaN for missing, categorical ones int64 codes with -1 for missing.
        """
        times = self.at_ms + np.arange(rows, dtype=np.int64) * span_ms // rows
        self.at_ms += span_ms
        score = self._rng.standard_normal((len(self.features), rows))
        if self.name in {"ar", "both"}:
            start = AR * self._last
            score, _ = lfilter([np.sqrt(1 - AR * AR)], [1.0, -AR], score, axis=1, zi=start)
            self._last = score[:, -1:].copy()
        score += self._means(times)
        columns = {}
        for feature, row in zip(self.features, score, strict=True):
            columns[feature.name] = _shifted(feature, row, shift, self._rng)
        return times, columns

    def _means(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean score of each feature at each time, float64[features, rows]."""
        if self.name == "wandering":
            hours = times // HOUR_MS
            steps = (
                self._rng.standard_normal((len(self.features), int(hours[-1]) - self._hour + 1)) * WANDER_SD / 24**0.5
            )
            steps[:, 0] = 0.0  # the hour that the last piece ended in has had its step
            levels = self._level[:, None] + np.cumsum(steps, axis=1)
            found = levels[:, hours - self._hour]
            self._level, self._hour = levels[:, -1], int(hours[-1])
            return found
        return np.array([mean_score(self.name, BY_INDEX.get(f.name, 0), times) for f in self.features])


BY_INDEX = {feature.name: index for index, feature in enumerate(FEATURES)}
"""Where a feature stands: its phase in the daily cycle."""


def mean_score(name: str, index: int, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean score of feature ``index`` at event times (ms) in a world with a fixed course (not wandering)."""
    if name in {"independent", "ar", "wandering"}:
        return np.zeros(len(times))
    means = CYCLE_SD * np.sin(2 * np.pi * (times / DAY_MS + index / len(FEATURES)))
    if name == "weekly":
        means += CYCLE_SD * ((times // DAY_MS + 3) % 7 >= 5)  # noqa: PLR2004  # days since Monday, Saturday is the 5th
    return means


def _shifted(
    feature: Feature, score: NDArray[np.float64], shift: Shift, rng: np.random.Generator
) -> NDArray[np.float64] | NDArray[np.int64]:
    if not shift.touches(feature):
        return feature.values(score)
    found: NDArray[Any] = feature.values(shift.mean + shift.spread * score)
    if feature.family == "zero_inflated":
        found *= shift.scale
    if feature.categorical and shift.mix:
        other = rng.random(len(found)) < shift.mix
        found[other] = int(feature.parameter) - 1 - found[other]
    if shift.nulls:
        found[rng.random(len(found)) < shift.nulls] = -1 if feature.categorical else np.nan
    return found


def features(
    name: str,
    rng: np.random.Generator,
    rows: int,
    *,
    span_ms: int = HOUR_MS,
    start_ms: int = MONDAY_MS,
    shift: Shift = NO_DRIFT,
    only: Sequence[Feature] = FEATURES,
) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
    """Return one piece of a world, and its event times under ``event_time``: columns of ``rows`` values.

    Raises:
        ValueError: the world has no such name.
    """
    times, columns = Stream(name, rng, only, start_ms).take(rows, span_ms, shift)
    return {"event_time": times, **columns}


@lru_cache(maxsize=32)
def labels(classes: int) -> tuple[str, ...]:
    """Return the names of a categorical feature's classes, by code."""
    return tuple(f"c{i:03d}" for i in range(classes))


def table(columns: dict[str, NDArray[np.float64] | NDArray[np.int64]]) -> dict[str, list[object]]:
    """Return columns as ``Reference.build`` and other tools take them: categories as text, None where one is missing."""
    made: dict[str, list[object]] = {}
    for name, values in columns.items():
        feature = BY_NAME.get(name)
        if feature is not None and feature.categorical:
            names = (*labels(int(feature.parameter)), None)
            made[name] = [names[code] for code in values.tolist()]
        else:
            made[name] = values.tolist()
    return made
