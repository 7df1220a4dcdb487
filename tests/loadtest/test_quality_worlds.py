"""The worlds are what they say: their marginals, their memory, their cycles, and the truth about a shift."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from detectors.reference import Reference
from loadtest.quality.interval import mean_interval, share_interval
from loadtest.quality.slots import build_reference, count, draw, probabilities
from loadtest.quality.worlds import (
    BY_NAME,
    DAY_MS,
    FEATURES,
    HOUR_MS,
    MONDAY_MS,
    NO_DRIFT,
    SHIFTS,
    WORLDS,
    Shift,
    Stream,
    features,
    mean_score,
    table,
)

N = 20_000
SMALL = 1e-4
"""Each p-value must be above it: some 60 fixed seeds, so a wrong law shows and chance does not."""
LAWS = {
    "normal_1": stats.norm(),
    "lognormal_1": stats.lognorm(0.5),
    "lognormal_3": stats.lognorm(1.5),
    "exponential_2": stats.expon(),
    "uniform_3": stats.uniform(),
}


@cache
def reference() -> Reference:
    return build_reference("independent", np.random.default_rng(0), 50_000, features=FEATURES)


@pytest.mark.parametrize("world", ["independent", "ar"])
@pytest.mark.parametrize("name", LAWS)
def test_continuous_features_have_their_law_with_and_without_memory(name: str, world: str) -> None:
    values = features(world, np.random.default_rng(1), 40 * N, only=[BY_NAME[name]])[name]
    assert stats.kstest(values[::40], LAWS[name].cdf).pvalue > SMALL  # rows 40 apart: 0.9 ** 40 is 0.015


@pytest.mark.parametrize("mean", [1.0, 5.0, 30.0])
def test_counts_are_poisson(mean: float) -> None:
    feature = next(f for f in FEATURES if f.family == "counts" and f.parameter == mean)
    values = features("independent", np.random.default_rng(2), N, only=[feature])[feature.name]
    low, high = int(stats.poisson.ppf(0.01, mean)), int(stats.poisson.ppf(0.99, mean))
    found = [np.sum(values <= low), *(np.sum(values == k) for k in range(low + 1, high)), np.sum(values >= high)]
    inner = stats.poisson.pmf(np.arange(low + 1, high), mean)
    expected = N * np.array([stats.poisson.cdf(low, mean), *inner, stats.poisson.sf(high - 1, mean)])
    assert stats.chisquare(found, expected).pvalue > SMALL


def test_zero_inflated_features_are_90_percent_zero_and_lognormal_beyond() -> None:
    values = features("independent", np.random.default_rng(3), N, only=[BY_NAME["zero_inflated_1"]])["zero_inflated_1"]
    assert stats.binomtest(int((values == 0).sum()), N, 0.9).pvalue > SMALL
    assert stats.kstest(values[values > 0], stats.lognorm(0.5).cdf).pvalue > SMALL


def test_categories_have_falling_shares_that_add_up() -> None:
    for name, classes in (("category_5", 5), ("category_200", 200)):
        codes = features("independent", np.random.default_rng(4), N, only=[BY_NAME[name]])[name]
        weights = np.array([1 / (i + classes / 10) for i in range(classes)])
        assert stats.chisquare(np.bincount(codes, minlength=classes), N * weights / weights.sum()).pvalue > SMALL


def test_autocorrelated_rows_remember_also_across_pieces() -> None:
    stream = Stream("ar", np.random.default_rng(5), [BY_NAME["normal_1"]])
    values = np.concatenate([stream.take(100, HOUR_MS)[1]["normal_1"] for _ in range(400)])
    assert np.corrcoef(values[:-1], values[1:])[0, 1] == pytest.approx(0.9, abs=0.01)
    seams = np.arange(100, len(values), 100)
    assert np.corrcoef(values[seams - 1], values[seams])[0, 1] == pytest.approx(0.9, abs=0.06)
    assert values.std() == pytest.approx(1.0, abs=0.06)


def test_days_repeat_and_weekends_are_higher() -> None:
    hours = MONDAY_MS + HOUR_MS * np.arange(24 * 14)
    daily, weekly = mean_score("daily", 0, hours), mean_score("weekly", 0, hours)
    assert daily[:24] == pytest.approx(daily[24:48])
    assert (daily.max(), daily.min()) == pytest.approx((0.3, -0.3), abs=0.001)
    raised = np.flatnonzero(np.abs(weekly - daily) > 0.1) // 24
    assert sorted(set(raised.tolist())) == [5, 6, 12, 13]  # the stream begins on a Monday


def test_a_wandering_level_moves_at_the_stated_speed_and_goes_on_across_pieces() -> None:
    ends, jumps = [], []
    for seed in range(200):
        stream = Stream("wandering", np.random.default_rng(seed), [BY_NAME["normal_1"]])
        level = np.array([stream.take(24, DAY_MS)[1]["normal_1"].mean() for _ in range(28)])
        ends.append(level[-7:].mean() - level[:7].mean())
        jumps.append(np.diff(level).std())
    # The means of two weeks, each of 168 rows, 21 days apart: sampling error, and a walk of 21 days less a smoothing of 2/3 week each.
    expected = (2 / 168 + 0.02**2 * (21 - 7 / 3)) ** 0.5
    assert np.std(ends) == pytest.approx(expected, rel=0.15)
    assert abs(np.mean(ends)) < 4 * expected / 200**0.5
    assert np.mean(jumps) == pytest.approx((2 / 24) ** 0.5, rel=0.05)  # no jump where a piece begins


@pytest.mark.parametrize("shift", [NO_DRIFT, *SHIFTS], ids=lambda s: s.name)
def test_rows_and_probabilities_agree_about_every_slot(shift: Shift) -> None:
    everywhere = Shift(shift.name, shift.mean, shift.spread, shift.scale, shift.mix, shift.nulls)
    columns = features("independent", np.random.default_rng(6), N, shift=everywhere)
    for subject in reference().features:
        expected = N * probabilities(subject, everywhere)
        found = count([subject], columns, 1)[0][0]
        rare = expected < 5
        groups = np.append(expected[~rare], expected[rare].sum() + 1e-12)
        counted = np.append(found[~rare], found[rare].sum())
        if groups[-1] < 5:  # what is left over is too little for chi-squared: look at it exactly
            assert stats.poisson.sf(counted[-1] - 1, groups[-1]) > SMALL, subject.name
            groups, counted = groups[:-1], counted[:-1]
        assert stats.chisquare(counted, groups * counted.sum() / groups.sum()).pvalue > SMALL, subject.name


@pytest.mark.parametrize("world", ["independent", "daily", "weekly"])
def test_drawn_windows_have_the_law_of_counted_rows(world: str) -> None:
    rows, windows = 200, 24 * 14
    stream = Stream(world, np.random.default_rng(7))
    counted = count(reference().features, stream.take(rows * windows, HOUR_MS * windows)[1], windows)
    for subject, vectors in zip(reference().features, counted, strict=True):
        drawn = draw(subject, np.random.default_rng(8), windows, rows, name=world)
        assert (drawn.sum(axis=1) == rows).all()
        half = subject.width // 2
        for day in (0, 5):  # Mondays and Saturdays, the first half of each day
            chosen = [day * 24 + h for h in range(12)] + [(day + 7) * 24 + h for h in range(12)]
            two = np.array([[v[chosen, :half].sum(), v[chosen, half:].sum()] for v in (drawn, vectors)])
            if (two.sum(axis=0) > 20).all():
                assert stats.chi2_contingency(two).pvalue > SMALL, (subject.name, day)


def test_counting_rows_is_what_a_reference_does() -> None:
    columns = features("independent", np.random.default_rng(9), 500, shift=Shift("nulls", nulls=0.1))
    named = table(columns)
    for subject in reference().features:
        assert count([subject], columns, 1)[0][0].tolist() == subject.slots_of(named[subject.name]).tolist()


@pytest.mark.parametrize("world", WORLDS)
def test_the_same_seed_is_the_same_world(world: str) -> None:
    one, other = (features(world, np.random.default_rng(10), 50) for _ in range(2))
    assert {k: v.tolist() for k, v in one.items()} == {k: v.tolist() for k, v in other.items()}


def test_an_unknown_world_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no world 'yearly': use one of independent, ar"):
        features("yearly", np.random.default_rng(0), 1)


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (1, 30), (15, 30), (30, 30)])
def test_a_share_has_the_exact_interval(hits: int, n: int) -> None:
    found = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert share_interval(hits, n) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("events", [0, 3, 40])
def test_a_mean_has_the_exact_interval(events: int) -> None:
    low, high = mean_interval(events, 20)
    assert high > 0
    assert stats.poisson.cdf(events, 20 * high) == pytest.approx(0.025)
    if events:
        assert stats.poisson.sf(events - 1, 20 * low) == pytest.approx(0.025)
    else:
        assert low == 0.0
