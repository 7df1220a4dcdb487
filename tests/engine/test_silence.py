"""Silence: what is surprising to a stream, and how often it is when nothing is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.silence import FORGET, LEAST_WINDOWS, Past
from tests.oracle import silence as oracle

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 600_000
HOUR, DAY, WEEK = 6, 144, 1008
"""In windows."""
LEVEL = 0.1 / (30 * DAY * 5)
"""What the default budget leaves a window with five tests."""


def heard(counts: NDArray[np.int64]) -> tuple[Past, list[int]]:
    """A stream with these rows a window, and the silences that were surprising, by the window they were so at."""
    past, alarms, before = Past(), [], -1
    for i in np.flatnonzero(counts).tolist():
        if before >= 0 and i > before + 1:
            ends = (np.arange(before + 1, i) + 1) * WINDOW
            at = past.surprise(ends, WINDOW, LEVEL)
            if at is not None:
                alarms.append(before + 1 + at)
        past.add(i * WINDOW, (i + 1) * WINDOW, int(counts[i]))
        before = i
    return past, alarms


def delay(past: Past, longest: int = 4 * WEEK) -> int | None:
    """How many windows of silence it takes from now on."""
    at = past.surprise(past.last + WINDOW * np.arange(1, longest), WINDOW, LEVEL)
    return None if at is None else at + 1


def nights(rng: np.random.Generator, days: int, *, week: bool = False) -> NDArray[np.int64]:
    """60 rows a window from eight to eight, more or less; with ``week``, on five days of seven."""
    on = np.zeros(days * DAY, bool)
    for day in range(days):
        if not week or day % 7 < 5:
            on[day * DAY + round(rng.normal(8 * HOUR, 2)) : day * DAY + round(rng.normal(20 * HOUR, 2))] = True
    return rng.poisson(60, days * DAY) * on


@pytest.mark.parametrize("rate", [100.0, 14.0, 5.0, 0.5, 0.05])
def test_a_steady_stream_is_never_thought_silent_whatever_its_rate(rate: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(2):
        assert heard(rng.poisson(rate, 60 * DAY if rate != 0.5 else 20 * DAY))[1] == []


@pytest.mark.parametrize(("rate", "soonest", "latest"), [(100.0, 1, 1), (14.0, 1, 3), (5.0, 3, 12), (0.5, 25, 80)])
def test_the_more_rows_a_stream_has_the_sooner_its_silence_is_known(rate: float, soonest: int, latest: int) -> None:
    past, _ = heard(np.random.default_rng(2).poisson(rate, 20 * DAY))
    found = delay(past)
    assert found is not None
    assert soonest <= found <= latest


def test_the_first_night_is_an_alarm_and_no_night_after_it() -> None:
    rng = np.random.default_rng(3)
    for _ in range(4):
        _, alarms = heard(nights(rng, 42))
        assert [at // DAY for at in alarms] == [0]


def test_the_first_night_and_the_first_weekend_are_alarms_and_none_after_them() -> None:
    rng = np.random.default_rng(4)
    for _ in range(4):
        _, alarms = heard(nights(rng, 42, week=True))
        assert [at // DAY for at in alarms] == [0, 4] or [at // DAY for at in alarms] == [0, 5]


def test_a_stream_that_pauses_at_night_is_missed_at_once_in_the_morning() -> None:
    counts = nights(np.random.default_rng(5), 30)
    past, _ = heard(counts[: 29 * DAY + 12 * HOUR])
    assert delay(past) == 1


def test_one_long_outage_does_not_make_a_stream_deaf() -> None:
    counts = np.random.default_rng(6).poisson(100, 30 * DAY)
    counts[20 * DAY : 23 * DAY] = 0
    past, alarms = heard(counts[: 26 * DAY])
    assert alarms == [20 * DAY]
    assert delay(past) == 1


def test_an_outage_excuses_the_same_hours_a_week_later_and_no_longer() -> None:
    counts = np.random.default_rng(6).poisson(100, 30 * DAY)
    counts[20 * DAY : 20 * DAY + 6 * HOUR] = 0
    assert delay(heard(counts[: 27 * DAY])[0]) in range(5 * HOUR, 10 * HOUR)
    assert delay(heard(counts[: 28 * DAY])[0]) == 1


def test_silences_that_come_again_and_again_are_learnt() -> None:
    rng = np.random.default_rng(7)
    on = np.zeros(90 * DAY, bool)
    at = 0
    while at < len(on):
        run = 1 + int(rng.exponential(30))
        on[at : at + run] = True
        at += run + 1 + int(rng.exponential(12))
    past, alarms = heard(rng.poisson(50, len(on)) * on)
    assert [a for a in alarms if a > 14 * DAY] == []
    found = delay(past)
    assert found is not None
    assert found < 3 * DAY


def test_outages_of_hours_every_few_days_are_learnt_after_three_of_them() -> None:
    rng = np.random.default_rng(12)
    counts = rng.poisson(100, 120 * DAY)
    for day in range(5, 118, 4):
        at = day * DAY + int(rng.integers(0, DAY))
        counts[at : at + int(rng.integers(15, 22))] = 0
    past, alarms = heard(counts)
    assert len(alarms) in range(3, 6)
    assert max(alarms) < 30 * DAY
    assert delay(past) in range(15, 100)


def test_after_the_first_night_and_the_first_weekend_a_stream_is_missed_at_once_by_day() -> None:
    counts = nights(np.random.default_rng(13), 21, week=True)
    assert delay(heard(counts[: 9 * DAY + 14 * HOUR])[0]) in {1, 2}
    assert delay(heard(counts[: 16 * DAY + 12 * HOUR])[0]) == 1


def test_jobs_by_the_hour_and_every_six_hours_are_no_silence_between_them() -> None:
    rng = np.random.default_rng(8)
    for every in (HOUR, 6 * HOUR):
        counts = np.zeros(30 * DAY, np.int64)
        counts[::every] = rng.poisson(500, len(counts[::every]))
        past, alarms = heard(counts)
        assert alarms == []
        assert delay(past) is not None


def test_a_smoke_test_is_no_stream() -> None:
    past, _ = heard(np.full(LEAST_WINDOWS - 1, 10_000))
    assert delay(past) is None
    past, _ = heard(np.full(LEAST_WINDOWS, 10_000))
    assert delay(past) == 1


def test_what_is_remembered_is_bounded() -> None:
    rng = np.random.default_rng(9)
    past, _ = heard(rng.poisson(0.4, 40 * DAY))
    assert len(msgspec.msgpack.encode(past)) < 3_000
    assert past.silences[0][0] > past.last - FORGET


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 40)), min_size=1, max_size=60),
    start=st.integers(0, 2000),
    gap=st.integers(1, 700),
)
def test_a_score_is_what_the_definition_says(counts: list[tuple[int, int]], start: int, gap: int) -> None:
    past, rows, at = Past(), dict[int, int](), start
    for n, step in counts:
        if (at - start) >= WEEK - HOUR:  # a past of a week at most: all of it is kept
            break
        past.add(at * WINDOW, (at + 1) * WINDOW, n)
        rows[at * WINDOW] = n
        at += step
    end = past.last + gap * WINDOW
    expected = oracle.score(rows, WINDOW, end)
    assert past.scores([end], WINDOW)[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_windows_in_parts_are_the_windows_in_one() -> None:
    rng = np.random.default_rng(10)
    counts = rng.poisson(0.7, 10 * DAY)
    whole, parts = Past(), Past()
    for i in np.flatnonzero(counts).tolist():
        whole.add(i * WINDOW, (i + 1) * WINDOW, int(counts[i]))
        for _ in range(int(counts[i])):
            parts.add(i * WINDOW, (i + 1) * WINDOW, 1)
    assert parts == whole


@pytest.mark.parametrize("window", [60_000, 7 * 60_000, 3_600_000, 6 * 3_600_000, 86_400_000, 7 * 86_400_000])
def test_windows_of_any_length_are_heard(window: int) -> None:
    past = Past()
    for i in range(400):
        past.add(i * window, (i + 1) * window, 100)
    assert past.surprise(past.last + window * np.arange(1, 4), window, LEVEL) == 0
